"""The cache `shared_memory` among processes: those that write, those that die, one that stops."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.api import ConfigurationError
from plugins.caches.shared_memory import SharedMemoryCache

SIZE = 1024 * 1024

COUNTING = """
import sys
from pathlib import Path
from plugins.caches.shared_memory import SharedMemoryCache
cache = SharedMemoryCache(Path(sys.argv[1]), int(sys.argv[2]), "", patience=30)
cache.open()
sys.stdin.readline()
print(*(cache.increment("counter", 600) for _ in range(1000)))
print(*(number for number in range(200) if cache.add(f"lease:{number}", b"", 600)))
"""

WRITING = """
import itertools, sys
from pathlib import Path
from plugins.caches.shared_memory import SharedMemoryCache
cache = SharedMemoryCache(Path(sys.argv[1]), int(sys.argv[2]), "")
cache.open()
for number in itertools.count():
    key = f"image:{number % 500}"
    cache.set(key, f"{key} {number} ".encode() * (number % 97), 600)
    cache.increment("counter", 600)
    if number == 200:
        print("writing", flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "cache.shared"


@pytest.fixture
def cache(path: Path) -> Iterator[SharedMemoryCache]:
    cache = SharedMemoryCache(path, SIZE, "")
    cache.open()
    yield cache
    cache.close()


def start(program: str, path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, str(path), str(SIZE)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_of_four_processes_each_is_told_numbers_and_leases_of_its_own(
    cache: SharedMemoryCache, path: Path
) -> None:
    processes = [start(COUNTING, path) for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate(timeout=60)[0].splitlines() for process in processes]
    counts = [int(count) for counts, _ in told for count in counts.split()]
    assert sorted(counts) == list(range(1, 4001))
    leases = [int(number) for _, leases in told for number in leases.split()]
    assert sorted(leases) == list(range(200))
    assert cache.get("counter") == b"4000"


def test_processes_that_are_killed_while_they_write_leave_nothing_wrong(
    cache: SharedMemoryCache, path: Path
) -> None:
    found = 0
    for round_ in range(8):
        with start(WRITING, path) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "writing\n"
            for look in range(500 + 37 * round_):
                key = f"image:{look % 500}"
                value = cache.get(key)
                if value:
                    found += 1
                    head, number, *_ = value.decode().split(" ")
                    assert value == f"{head} {number} ".encode() * (int(number) % 97)
                    assert head == key
            process.kill()
    assert found > 500
    before = cache.increment("counter", 600)
    assert before is not None
    assert cache.increment("counter", 600) == before + 1
    for number in range(5000):
        cache.set(f"image:{number}", b"x" * 500, 600)
        assert cache.get(f"image:{number}") == b"x" * 500
    assert cache.figures().errors == 0


def test_nobody_waits_for_a_process_that_was_stopped_while_it_wrote(
    cache: SharedMemoryCache, path: Path
) -> None:
    cache.set("image:kept", b"kept", 600)
    cache.set("image:changed", b"old", 600)
    cache.set("image:deleted", b"old", 600)
    holder = os.open(path, os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    began = time.monotonic()
    for _ in range(1000):
        cache.set("image:changed", b"new", 600)
        cache.delete("image:deleted")
        assert cache.add("lease:image", b"", 600) is True
        assert cache.increment("counter", 600) is None
    # 50 ms once, not 4,000 times.
    assert time.monotonic() - began < 20
    assert cache.get("image:kept") == b"kept"
    assert cache.get("image:changed") is None
    assert cache.get("image:deleted") is None
    assert cache.spaces()["image"].errors == 2000
    os.close(holder)
    cache.set("image:changed", b"newer", 600)
    assert cache.get("image:changed") == b"newer"
    assert cache.increment("counter", 600) == 1


def test_what_was_kept_is_there_at_the_next_start_and_only_the_owner_may_read_it(
    cache: SharedMemoryCache, path: Path
) -> None:
    cache.set("image:a", b"value", 600)
    cache.close()
    again = SharedMemoryCache(path, SIZE, "")
    again.open()
    assert again.get("image:a") == b"value"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again.close()


def test_another_size_or_version_takes_a_new_file_and_those_who_have_the_old_one_go_on(
    cache: SharedMemoryCache, path: Path
) -> None:
    cache.set("image:a", b"value", 600)
    larger = SharedMemoryCache(path, 2 * SIZE, "")
    larger.open()
    assert larger.get("image:a") is None
    larger.set("image:a", b"other", 600)
    assert cache.get("image:a") == b"value"
    assert path.stat().st_size == 2 * SIZE
    larger.close()
    path.write_bytes(b"of another program" * 1000)
    larger.open()
    larger.set("image:a", b"again", 600)
    assert larger.get("image:a") == b"again"
    larger.close()
    assert [file.name for file in path.parent.iterdir()] == ["cache.shared"]


def test_a_place_that_cannot_be_used_is_named_with_the_way_out(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.mkdir()
    path.mkdir()
    cache = SharedMemoryCache(path, SIZE, "")
    with pytest.raises(ConfigurationError, match=r"plugin\.shared_memory: .*choose another path"):
        cache.open()
    path.rmdir()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ConfigurationError, match=r"No space left on device.*lower max_bytes"):
        cache.open()
    assert [file.name for file in path.parent.iterdir()] == ["cache.shared"]
    monkeypatch.undo()
    cache.open()
    cache.set("image:a", b"value", 600)
    assert cache.get("image:a") == b"value"
    cache.close()
