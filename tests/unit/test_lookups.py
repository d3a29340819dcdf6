"""What is remembered of codes: never older than a second, unless the storage does not answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from core.domain.codes import Code, slug_key
from core.errors import StorageUnavailable
from core.services import lookups
from core.services.lookups import Lookups
from core.services.meters import Meters, Namespace
from core.services.recent import Recall
from core.settings import CacheSettings
from tests.samples import make_code

MENU = slug_key("menu")
METER = Meters(Path("/nowhere"))[Namespace.CODE]
PLANS: Recall[Any, Any] = Recall(0.8, 100, METER)


class Shelf:
    """A storage of codes by slug that counts who asks, and may be away or slow."""

    def __init__(self) -> None:
        self.codes = self
        self.stored: dict[str, Code] = {}
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.gate: threading.Event | None = None

    def put(self, slug: str, **values: Any) -> Code:
        self.stored[slug_key(slug)] = code = make_code(uuid4(), slug=slug, **values)
        return code

    def by_slug(self, slug: str) -> Code | None:
        self.asked.append(slug_key(slug))
        found = self.stored.get(slug_key(slug))
        if self.gate is not None:
            assert self.gate.wait(60)
        if self.error is not None:
            raise self.error
        return found


class Desk:
    """A shelf, what is remembered of it, and the time; answers are waited for unless told so."""

    def __init__(self, patience: float = 60.0, **values: Any) -> None:
        self.now = 100.0
        self.shelf = Shelf()
        storage: Any = self.shelf
        self.lookups = Lookups(
            storage, CacheSettings(**values), METER, PLANS, lambda: self.now, patience
        )
        self.find = self.lookups.find


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_code_is_asked_for_again_after_its_time(desk: Desk) -> None:
    first = desk.shelf.put("menu")
    assert desk.find("menu") == desk.find("MENU") == first
    assert desk.shelf.asked == [MENU]
    second = desk.shelf.put("menu")
    desk.now += 0.79
    assert desk.find("menu") == first
    desk.now += 0.02
    assert desk.find("menu") == second
    assert desk.shelf.asked == [MENU] * 2


def test_what_is_no_code_is_remembered_as_briefly(desk: Desk) -> None:
    assert desk.find("menu") is None
    code = desk.shelf.put("menu")
    assert desk.find("menu") is None
    desk.now += 0.81
    assert desk.find("menu") == code
    del desk.shelf.stored[MENU]
    desk.now += 0.81
    assert desk.find("menu") is None


def test_a_code_with_max_scans_is_always_asked_for(desk: Desk) -> None:
    desk.shelf.put("menu", max_scans=3)
    for scans in range(3):
        desk.shelf.stored[MENU] = replace(desk.shelf.stored[MENU], scans_total=scans)
        found = desk.find("menu")
        assert found is not None
        assert found.scans_total == scans


def test_what_this_process_changes_is_in_force_at_once(desk: Desk) -> None:
    desk.shelf.put("menu")
    assert desk.find("other") is None
    desk.find("menu")
    changed, made = desk.shelf.put("menu"), desk.shelf.put("other")
    desk.lookups.forget(changed, made)
    assert desk.find("menu") == changed
    assert desk.find("other") == made
    desk.shelf.stored.clear()
    desk.lookups.clear()
    assert desk.find("menu") is None


def test_an_answer_from_before_a_change_is_not_kept(desk: Desk) -> None:
    desk.shelf.put("menu")
    desk.shelf.gate = threading.Event()
    asking = threading.Thread(target=desk.find, args=("menu",))
    asking.start()
    while not desk.shelf.asked:
        pass
    changed = desk.shelf.put("menu")
    desk.lookups.forget(changed)
    desk.shelf.gate.set()
    asking.join(60)
    assert desk.find("menu") == changed


def test_codes_lead_on_while_the_storage_is_away_and_it_is_left_alone(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    code = desk.shelf.put("menu")
    desk.find("menu")
    desk.shelf.error = StorageUnavailable("away")
    for _ in range(10):
        desk.now += 0.9
        assert desk.find("menu") == code
    # Once a second somebody asks; whoever asks for an unknown code is told at once.
    assert len(desk.shelf.asked) <= 6
    with pytest.raises(StorageUnavailable):
        desk.find("other")
    desk.shelf.error = None
    changed = desk.shelf.put("menu")
    desk.now += 1.0
    assert desk.find("menu") == changed
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2


def test_what_is_older_than_the_grace_is_not_followed() -> None:
    desk = Desk(code_grace=10.0)
    desk.shelf.put("menu")
    desk.find("menu")
    desk.shelf.error = StorageUnavailable("away")
    desk.now += 10.0
    with pytest.raises(StorageUnavailable):
        desk.find("menu")


def test_nobody_waits_for_a_slow_storage_where_the_code_is_known() -> None:
    desk = Desk(patience=0.0)
    code = desk.shelf.put("menu")
    desk.find("menu")
    desk.shelf.gate = threading.Event()
    changed = desk.shelf.put("menu")
    desk.now += 5.0
    # One asks; all of them, that one too, are answered with what is known.
    assert [desk.find("menu") for _ in range(3)] == [code] * 3
    assert len(desk.shelf.asked) == 2
    # Nor does anybody wait who comes a little later, for whatever code.
    desk.now += 4.9
    assert desk.find("menu") == code
    # Slow is not away: what is not known is asked for.
    other = desk.shelf.put("other")
    found: list[Code | None] = []
    asking = threading.Thread(target=lambda: found.append(desk.find("other")))
    asking.start()
    desk.shelf.gate.set()
    asking.join(60)
    assert found == [other]
    while desk.find("menu") != changed:
        pass


def test_many_who_ask_for_an_unknown_code_at_once_ask_once(desk: Desk) -> None:
    code = desk.shelf.put("menu")
    desk.shelf.gate = threading.Event()
    found: list[Code | None] = []
    threads = [threading.Thread(target=lambda: found.append(desk.find("menu"))) for _ in range(20)]
    for thread in threads:
        thread.start()
    desk.shelf.gate.set()
    for thread in threads:
        thread.join(60)
    assert found == [code] * 20
    # Who came late found it remembered.
    assert desk.shelf.asked == [MENU]


def test_an_error_in_the_storage_reaches_whoever_cannot_be_answered(desk: Desk) -> None:
    desk.shelf.error = RuntimeError("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        desk.find("menu")
    desk.shelf.error = None
    assert desk.find("menu") is None


def test_the_codes_that_were_scanned_last_stay_and_misses_push_none_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lookups, "_MAX_MISSES", 5)
    desk = Desk(max_codes=3)
    for slug in "abc":
        desk.shelf.put(slug)
        desk.find(slug)
    for n in range(50):
        assert desk.find(f"unknown-{n}") is None
    desk.now += 0.81
    desk.find("a")
    desk.shelf.put("d")
    desk.find("d")
    desk.shelf.asked.clear()
    for slug in "ad":
        desk.find(slug)
    desk.now -= 0.81
    desk.find("c")
    assert desk.shelf.asked == []
    desk.find("b")
    assert desk.shelf.asked == [slug_key("b")]


class TwoProcesses(RuleBasedStateMachine):
    """Edits, deletions and scans in two processes: no answer is older than what is promised."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.shelf = Shelf()
        storage: Any = self.shelf
        self.processes = [
            Lookups(storage, CacheSettings(), METER, PLANS, lambda: self.now, patience=60.0)
            for _ in range(2)
        ]
        self.history: dict[str, list[tuple[float, Code | None]]] = {
            slug: [(0.0, None)] for slug in "xyz"
        }

    slugs = st.sampled_from("xyz")
    process = st.integers(0, 1)

    @rule(slug=slugs, process=process, delete=st.booleans())
    def change(self, slug: str, process: int, delete: bool) -> None:
        before = self.shelf.stored.pop(slug_key(slug), None)
        code = None if delete else self.shelf.put(slug)
        self.history[slug].append((self.now, code))
        self.processes[process].forget(*(known for known in (before, code) if known))

    @rule(seconds=st.sampled_from([0.01, 0.3, 0.5, 0.8, 5.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(slug=slugs, process=process)
    def scan(self, slug: str, process: int) -> None:
        found = self.processes[process].find(slug)
        changes = self.history[slug]
        in_force = [
            code
            for (_, code), following in zip(changes, [*changes[1:], None], strict=True)
            if following is None or self.now - following[0] < 1.0
        ]
        assert found in in_force

    @invariant()
    def is_bounded(self) -> None:
        assert len(self.shelf.asked) < 10_000


TestTwoProcesses: Callable[..., Any] = TwoProcesses.TestCase
TwoProcesses.TestCase.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
