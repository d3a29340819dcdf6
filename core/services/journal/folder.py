"""The journal's folder: what lies in it under which name, and how to make a change of it last."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

SUFFIX = ".scans"
"""What the names of journal files end with. What is before it is a UUID: no two machines have two
files of one name, so that the name alone tells the scan store which file it was."""

NEW = ".new"
"""What the names of files end with that are being made."""

LOCK = "drainer.lock"
"""Whose lock (`flock`) makes a process the node's drainer. The drainer sets its time (`mtime`)
whenever it has been through all files."""


class File(NamedTuple):
    """A file of the folder as it was listed: bytes, and the time of the last change of it (ns)."""

    path: Path
    size: int
    changed: int


def files(folder: Path, suffix: str) -> list[File]:
    """The files of the folder whose names end so, those that were changed longest ago first."""
    found = []
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(suffix):
                # The drainer may have removed it since it was listed.
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    found.append(File(Path(entry.path), status.st_size, status.st_mtime_ns))
    return sorted(found, key=lambda file: file.changed)


def make(folder: Path) -> None:
    """Make the folder, to stay, where it is not there."""
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_out(folder.parent)


def write_out(folder: Path) -> None:
    """Wait until the disk has what was made, renamed and removed in the folder."""
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def rounds(folder: Path) -> int:
    """Another number each time that the drainer has been through all files."""
    try:
        return os.stat(folder / LOCK).st_mtime_ns
    except OSError:
        return 0


def try_lock(file: int) -> bool:
    """Whether the file is locked by this process from now on; False where it is by another."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
