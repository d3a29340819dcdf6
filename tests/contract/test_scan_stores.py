"""What every scan store promises; each test runs on all of them."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import msgspec
import pytest
from msgspec.structs import replace

from core.api import (
    OTHER,
    SLOT,
    Bots,
    Code,
    CodeQuery,
    Conflict,
    Count,
    Dimension,
    Drained,
    Generation,
    Organization,
    Scan,
    ScanStore,
    StorageUnavailable,
    Totals,
    slot_of,
)
from plugins.storage import recount, repositories
from plugins.storage.days import unpacked
from tests.samples import NOON, make_code
from tests.servers import Backend

DAY = timedelta(days=1)


@pytest.fixture
def scans(backend: Backend) -> ScanStore:
    return backend.scans


@pytest.fixture
def code(backend: Backend) -> Code:
    return add_code(backend, add_organization(backend).id)


def add_organization(backend: Backend) -> Organization:
    organization = Organization(id=uuid4(), name="Harbour", slug=uuid4().hex, created_at=NOON)
    backend.storage.organizations.add(organization)
    return organization


def add_code(backend: Backend, organization_id: UUID) -> Code:
    code = make_code(organization_id)
    backend.storage.codes.add([code])
    return code


def scan(
    code: Code, at: datetime = NOON, visitor: bytes | None = None, *, bot: bool = False
) -> Scan:
    return Scan(code.id, code.organization_id, at, visitor, bot)


def totals(scans: ScanStore, code: Code) -> Totals:
    return scans.totals(code.organization_id, code.id)


class SlotCount(NamedTuple):
    """The scans of one quarter hour."""

    slot: int
    scans: int
    unique: int


def slots(scans: ScanStore, code: Code, bots: Bots = Bots.EXCLUDE) -> list[SlotCount]:
    window = (NOON - DAY, NOON + DAY)
    return quarters(scans, code.organization_id, code.id, *window, bots)


def quarters(
    scans: ScanStore,
    organization_id: UUID,
    code_id: UUID | None,
    start: datetime,
    end: datetime,
    bots: Bots = Bots.EXCLUDE,
) -> list[SlotCount]:
    span = (slot_of(start), slot_of(end))
    found = scans.days(organization_id, code_id, span)
    assert [day.slot for day in found] == sorted({day.slot // 96 * 96 for day in found})
    return [
        SlotCount(slot, *Count(*numbers).of(bots))
        for day in found
        for slot, *numbers in zip(
            range(day.slot, day.slot + 96), day.scans, day.unique, day.bots, strict=True
        )
        if Count(*numbers).of(bots)[0]
    ]


def at_the_same_time(*calls: Callable[[], Any]) -> list[Any]:
    """Run the calls in a thread each, let loose together; their results, in order."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_without_scans_there_is_nothing(scans: ScanStore, code: Code) -> None:
    assert totals(scans, code) == Totals()
    assert scans.totals(code.organization_id, None) == Totals()
    assert slots(scans, code) == []


def test_an_empty_batch_changes_nothing(scans: ScanStore, code: Code) -> None:
    scans.append([])

    assert totals(scans, code) == Totals()


def test_scans_are_counted_bots_apart(scans: ScanStore, code: Code) -> None:
    later = NOON + timedelta(microseconds=1)
    scans.append([scan(code, later, b"a"), scan(code, NOON, b"b"), scan(code, NOON, bot=True)])
    scans.append([scan(code, later, b"a"), scan(code, later, b"c", bot=True)])

    assert totals(scans, code) == Totals(
        scans=3, unique=2, bots=2, first_scan_at=NOON, last_scan_at=later, since=NOON
    )


def test_the_first_and_last_scan_are_found_in_any_order_of_arrival(
    scans: ScanStore, code: Code
) -> None:
    scans.append([scan(code, NOON - DAY, bot=True)])
    assert totals(scans, code) == Totals(bots=1, since=NOON - DAY)

    scans.append([scan(code, NOON)])
    scans.append([scan(code, NOON + DAY), scan(code, NOON - timedelta(hours=1))])
    scans.append([scan(code, NOON + 2 * DAY, bot=True)])

    found = totals(scans, code)
    assert found.first_scan_at == NOON - timedelta(hours=1)
    assert found.last_scan_at == NOON + DAY
    assert found.last_scan_at.tzinfo is UTC


def test_a_visitor_is_unique_once_for_each_code(backend: Backend, code: Code) -> None:
    other = add_code(backend, code.organization_id)
    backend.scans.append([scan(code, visitor=b"\x00a"), scan(code, visitor=b"\x00a")])
    backend.scans.append([scan(code, visitor=b"\x00a"), scan(code, visitor=b"\x00b")])
    backend.scans.append([scan(other, visitor=b"\x00a")])

    assert totals(backend.scans, code).unique == 2
    assert totals(backend.scans, other).unique == 1
    assert backend.scans.totals(code.organization_id, None).unique == 3


def test_within_a_batch_the_earliest_scan_of_a_visitor_is_the_unique_one(
    scans: ScanStore, code: Code
) -> None:
    scans.append([scan(code, NOON + SLOT, b"a"), scan(code, NOON, b"a")])

    slot = slot_of(NOON)
    assert slots(scans, code) == [SlotCount(slot, 1, 1), SlotCount(slot + 1, 1, 0)]


def test_a_scan_without_a_visitor_is_never_unique(scans: ScanStore, code: Code) -> None:
    scans.append([scan(code), scan(code)])

    assert totals(scans, code) == Totals(
        scans=2, unique=0, first_scan_at=NOON, last_scan_at=NOON, since=NOON
    )


def test_slots_are_quarter_hours_in_order(scans: ScanStore, code: Code) -> None:
    end_of_slot = NOON + SLOT - timedelta(microseconds=1)
    scans.append([scan(code, NOON + SLOT), scan(code, NOON, b"a"), scan(code, end_of_slot, b"b")])

    slot = slot_of(NOON)
    assert slots(scans, code) == [SlotCount(slot, 2, 2), SlotCount(slot + 1, 1, 0)]


def test_a_window_is_half_open(scans: ScanStore, code: Code) -> None:
    scans.append(
        [scan(code, NOON - timedelta(microseconds=1)), scan(code), scan(code, NOON + SLOT)]
    )

    found = quarters(scans, code.organization_id, code.id, NOON, NOON + SLOT)

    assert list(found) == [SlotCount(slot_of(NOON), 1, 0)]


@pytest.mark.parametrize(
    ("bots", "scanned", "unique"), [(Bots.EXCLUDE, 2, 1), (Bots.INCLUDE, 5, 1), (Bots.ONLY, 3, 0)]
)
def test_bots_belong_to_a_number_or_not(
    scans: ScanStore, code: Code, bots: Bots, scanned: int, unique: int
) -> None:
    people = [scan(code, visitor=b"a"), scan(code)]
    machines = [scan(code, visitor=b"m", bot=True)] * 2 + [scan(code, bot=True)]
    scans.append([*people, *machines])

    assert slots(scans, code, bots) == [SlotCount(slot_of(NOON), scanned, unique)]


def test_only_bots_outside_the_window_leave_no_empty_slot(scans: ScanStore, code: Code) -> None:
    scans.append([scan(code, bot=True)])

    assert slots(scans, code, Bots.EXCLUDE) == []


def test_an_organizations_numbers_are_those_of_its_codes(backend: Backend, code: Code) -> None:
    second = add_code(backend, code.organization_id)
    foreign = add_code(backend, add_organization(backend).id)
    scans = backend.scans
    scans.append([scan(code), scan(second, NOON + DAY / 2), scan(foreign), scan(foreign)])

    window = (NOON, NOON + DAY)
    found = quarters(scans, code.organization_id, None, *window)

    assert [(count.slot, count.scans) for count in found] == [
        (slot_of(NOON), 1),
        (slot_of(NOON + DAY / 2), 1),
    ]
    assert scans.totals(code.organization_id, None) == Totals(
        scans=2, first_scan_at=NOON, last_scan_at=NOON + DAY / 2, since=NOON
    )


def test_another_organization_sees_nothing_of_a_code(backend: Backend, code: Code) -> None:
    backend.scans.append([scan(code)])
    stranger = replace(code, organization_id=add_organization(backend).id)

    assert totals(backend.scans, stranger) == Totals()
    assert slots(backend.scans, stranger) == []


def test_scans_of_deleted_codes_are_dropped_and_the_others_kept(
    backend: Backend, code: Code
) -> None:
    gone = add_code(backend, code.organization_id)
    backend.scans.append([scan(gone), scan(code)])
    backend.storage.codes.delete(gone.organization_id, gone.id)

    backend.scans.append([scan(gone), scan(code)])

    assert totals(backend.scans, gone) == Totals()
    assert slots(backend.scans, gone) == []
    assert totals(backend.scans, code).scans == 2
    assert backend.scans.totals(code.organization_id, None).scans == 2


def test_codes_may_be_deleted_while_their_scans_arrive(backend: Backend, code: Code) -> None:
    doomed = [add_code(backend, code.organization_id) for _ in range(8)]
    batch = [scan(one, visitor=b"a") for one in (*doomed, code)]

    def append() -> None:
        for _ in range(6):
            backend.scans.append(batch)

    def delete() -> None:
        for one in reversed(doomed):
            assert backend.storage.codes.delete(one.organization_id, one.id)

    at_the_same_time(append, append, delete)

    assert totals(backend.scans, code).scans == 12
    assert backend.scans.totals(code.organization_id, None).scans == 12


def test_an_organization_may_be_deleted_while_its_scans_arrive(
    backend: Backend, code: Code
) -> None:
    doomed = add_organization(backend).id
    codes = [add_code(backend, doomed) for _ in range(30)]
    batch = [scan(one, visitor=b"a") for one in (*codes, code)]

    def append() -> None:
        for _ in range(6):
            backend.scans.append(batch)

    at_the_same_time(append, append, lambda: backend.storage.organizations.delete(doomed))

    assert totals(backend.scans, code).scans == 12
    assert backend.scans.totals(doomed, None) == Totals()


def test_a_visitor_who_arrives_in_many_batches_at_once_is_unique_once(
    backend: Backend, code: Code
) -> None:
    other = add_code(backend, code.organization_id)
    visitors = [f"{n}".encode() for n in range(40)]
    batch = [scan(one, visitor=visitor) for visitor in visitors for one in (code, other)]

    # Opposite orders would make two transactions wait for each other.
    at_the_same_time(
        *(lambda order=order: backend.scans.append(order) for order in (batch, batch[::-1]) * 3)
    )

    for one in (code, other):
        found = totals(backend.scans, one)
        assert (found.scans, found.unique) == (240, 40)
        assert sum(count.unique for count in slots(backend.scans, one)) == 40


def test_first_scans_that_arrive_at_once_are_all_counted(backend: Backend, code: Code) -> None:
    at_the_same_time(*[lambda: backend.scans.append([scan(code, visitor=b"a")])] * 6)

    found = totals(backend.scans, code)
    assert (found.scans, found.unique) == (6, 1)


def test_a_large_batch_over_many_codes_is_counted_exactly(backend: Backend, code: Code) -> None:
    codes = [code, *(add_code(backend, code.organization_id) for _ in range(20))]
    batch = [
        scan(codes[n % 21], NOON + timedelta(seconds=n), str(n % 63).encode()) for n in range(5000)
    ]

    backend.scans.append(batch)

    found = backend.scans.totals(code.organization_id, None)
    assert (found.scans, found.unique) == (5000, 63)
    assert found.last_scan_at == NOON + timedelta(seconds=4999)
    per_slot = quarters(backend.scans, code.organization_id, None, NOON, NOON + DAY)
    assert [count.scans for count in per_slot] == [900] * 5 + [500]


def test_a_batch_that_cannot_be_counted_is_not_stored(backend: Backend, code: Code) -> None:
    connections: Any = backend.storage._connections  # type: ignore[attr-defined]
    with connections.transaction() as database:
        database.execute_sql("ALTER TABLE code_counts RENAME COLUMN bots TO machines")

    with pytest.raises(StorageUnavailable):
        backend.scans.append([scan(code)])

    with connections.transaction() as database:
        database.execute_sql("ALTER TABLE code_counts RENAME COLUMN machines TO bots")
    assert slots(backend.scans, code) == []
    backend.scans.append([scan(code)])
    assert totals(backend.scans, code).scans == 1


def test_the_first_proposal_is_the_salt_of_the_day(scans: ScanStore) -> None:
    day = date(2026, 3, 29)

    assert scans.salt(day, b"\x00first") == b"\x00first"
    assert scans.salt(day, b"second") == b"\x00first"
    assert scans.salt(day + DAY, b"third") == b"third"
    assert scans.salt(day, b"fourth") == b"\x00first"


def test_salts_older_than_the_day_before_are_deleted(scans: ScanStore) -> None:
    day = date(2026, 3, 29)
    for age in (3, 2, 1, 0):
        scans.salt(day - age * DAY, f"{age}".encode())

    assert scans.salt(day - DAY, b"new") == b"1"
    assert scans.salt(day - 2 * DAY, b"new") == b"new"
    assert scans.salt(day, b"other") == b"0"
    assert scans.salt(day - 2 * DAY, b"newer") == b"newer"


def test_processes_that_ask_at_once_get_the_same_salt(backend: Backend) -> None:
    others = [backend.again().scans for _ in range(4)]
    for other in others:
        other.open()
    day = date(2026, 3, 29)

    salts = at_the_same_time(
        *(
            lambda n=n, other=other: other.salt(day, f"{n}".encode())
            for n, other in enumerate(others)
        )
    )
    for other in others:
        other.close()

    assert len(set(salts)) == 1
    assert backend.scans.salt(day, b"late") == salts[0]


def test_the_latest_come_first_and_pages_join_without_gap_or_repetition(
    scans: ScanStore, backend: Backend, code: Code
) -> None:
    other = add_code(backend, code.organization_id)
    moments = [NOON + timedelta(seconds=n // 3) for n in range(10)]
    scans.append([scan(code, at, bytes([n]), bot=n == 9) for n, at in enumerate(moments)])
    scans.append([scan(other, NOON + DAY)])

    seen = list(scans.latest(code.id, None, 4))
    for _ in range(2):
        seen += scans.latest(code.id, (seen[-1].at, seen[-1].id), 4)

    assert [one.at for one in seen] == sorted(moments, reverse=True)
    assert len({one.id for one in seen}) == 10
    assert [one.bot for one in seen] == [True] + [False] * 9
    assert scans.latest(code.id, (seen[-1].at, seen[-1].id), 4) == []


def test_a_part_of_the_journal_is_stored_once(scans: ScanStore, code: Code) -> None:
    first = Drained("node/file", 8, 500, {NOON.date(): 2}, {NOON.date(): 1})
    assert scans.position("node/file") is None
    scans.append([scan(code)], first)
    for again in (first, replace(first, start=0), replace(first, start=501, end=600)):
        with pytest.raises(Conflict):
            scans.append([scan(code)], again)
    scans.append([scan(code)], Drained("node/file", 500, 700, {NOON.date(): 3}))

    assert scans.position("node/file") == 700
    assert totals(scans, code).scans == 2
    assert scans.tallies(NOON.date()) == {NOON.date(): (5, 1)}
    assert scans.tallies(NOON.date() + DAY) == {}


def test_positions_are_forgotten_by_name(scans: ScanStore) -> None:
    for source in ("a", "b"):
        scans.append([], Drained(source, 8, 9))

    scans.forget(["a", "c"])

    assert scans.position("a") is None
    assert scans.position("b") == 9


def test_of_drainers_that_store_the_same_part_at_once_one_does(
    backend: Backend, code: Code
) -> None:
    def drain() -> bool:
        try:
            backend.scans.append([scan(code)], Drained("node/file", 8, 100))
        except Conflict:
            return False
        return True

    assert sorted(at_the_same_time(*[drain] * 6)) == [False] * 5 + [True]
    assert totals(backend.scans, code).scans == 1


def test_the_scans_of_a_deleted_code_leave_its_organization(backend: Backend, code: Code) -> None:
    gone = add_code(backend, code.organization_id)
    seen = [replace(scan(one, visitor=b"a"), country=c) for one, c in ((gone, "DE"), (code, "FR"))]
    backend.scans.append([*seen, scan(gone, bot=True)])
    backend.storage.codes.delete(gone.organization_id, gone.id)

    day = slot_of(NOON) // 96 * 96
    span = (day, day + 96)
    assert backend.scans.counts(code.organization_id, None, [span]) == [Count(1, 1, 0)]
    found = backend.scans.breakdowns(code.organization_id, None, span)
    assert found[Dimension.COUNTRY] == {"FR": Count(1, 1, 0)}


def test_any_spans_are_counted_exactly(backend: Backend, code: Code) -> None:
    chance = random.Random(11)
    other = add_code(backend, code.organization_id)
    scanned = [
        replace(
            scan(
                chance.choice((code, other)),
                NOON + timedelta(minutes=chance.randrange(-4 * 24 * 60, 4 * 24 * 60)),
                chance.randbytes(1),
                bot=chance.random() < 0.2,
            ),
            browser=chance.choice(("Safari", "Chrome", "")),
        )
        for _ in range(600)
    ]
    for start in range(0, 600, 150):
        backend.scans.append(scanned[start : start + 150])
    middle = slot_of(NOON)
    spans = [
        tuple(sorted(middle + chance.randrange(-400, 400) for _ in range(2))) for _ in range(60)
    ]

    for code_id in (code.id, None):
        found = backend.scans.counts(code.organization_id, code_id, spans)
        for (first, past), count in zip(spans, found, strict=True):
            inside = [
                one
                for one in scanned
                if code_id in (None, one.code_id) and first <= slot_of(one.at) < past
            ]
            people = [one for one in inside if not one.bot]
            assert (count.scans, count.bots) == (len(people), len(inside) - len(people))
            found_parts = backend.scans.breakdowns(code.organization_id, code_id, (first, past))
            parts = found_parts[Dimension.BROWSER]
            assert {value: part.scans for value, part in parts.items() if part.scans} == Counter(
                one.browser for one in people
            )
            assert sum(part.unique for part in parts.values()) == count.unique


def test_rare_values_are_told_together(scans: ScanStore, code: Code) -> None:
    day = slot_of(NOON) // 96 * 96
    for start in (0, 150):
        batch = [replace(scan(code), referrer=f"{n}.example") for n in range(start, start + 150)]
        scans.append(batch)

    breakdowns = scans.breakdowns(code.organization_id, code.id, (day, day + 96))
    found = breakdowns[Dimension.REFERRER]

    assert len(found) == 101
    assert found[OTHER].scans == 200
    assert sum(count.scans for count in found.values()) == 300


def test_the_rare_values_of_one_code_leave_room_for_those_of_others(
    backend: Backend, code: Code
) -> None:
    other = add_code(backend, code.organization_id)
    day = slot_of(NOON) // 96 * 96
    for n in range(3):
        made_up = [replace(scan(code), referrer=f"{n}-{m}.example") for m in range(200)]
        backend.scans.append(made_up)
    backend.scans.append([replace(scan(other), referrer="search.example")])

    for code_id in (other.id, None):
        found = backend.scans.breakdowns(code.organization_id, code_id, (day, day + 96))
        assert found[Dimension.REFERRER]["search.example"].scans == 1


def test_what_must_not_stay_is_removed_and_the_numbers_stay(scans: ScanStore, code: Code) -> None:
    for age in (3, 2, 1, 0):
        at = NOON - age * DAY
        scans.salt(at.date(), b"salt")
        scans.append([scan(code, at, f"{age}-{n}".encode()) for n in range(3)])
    today = NOON.date()

    assert scans.tidy(today, None, 2) == 2
    while scans.tidy(today, NOON - DAY, 2):
        pass

    assert [one.at for one in scans.latest(code.id, None, 20)] == [NOON] * 3 + [NOON - DAY] * 3
    assert totals(scans, code).scans == 12
    # Yesterday's visitors are still known, those of the day before are not.
    scans.append([scan(code, NOON - DAY, b"1-0"), scan(code, NOON - 2 * DAY, b"2-0")])
    assert totals(scans, code).unique == 13
    assert scans.salt(today - DAY, b"new") == b"salt"


def test_scans_are_removed_by_their_age_in_whatever_order_they_came(
    scans: ScanStore, code: Code
) -> None:
    scans.append([scan(code, NOON + 3650 * DAY)] * 5)
    scans.append([scan(code, NOON - 100 * DAY)] * 3)

    assert scans.tidy(NOON.date(), NOON - 30 * DAY, 2) == 2
    assert scans.tidy(NOON.date(), NOON - 30 * DAY, 2) == 1
    assert scans.tidy(NOON.date(), NOON - 30 * DAY, 2) == 0
    assert len(scans.latest(code.id, None, 20)) == 5


def test_what_is_asked_within_a_snapshot_is_of_one_moment(scans: ScanStore, code: Code) -> None:
    day = slot_of(NOON) // 96 * 96
    span = (day, day + 96)

    def asked() -> tuple[Any, ...]:
        place = (code.organization_id, code.id)
        return (
            scans.totals(*place),
            scans.counts(*place, [span]),
            scans.days(*place, span),
            scans.breakdowns(*place, span),
        )

    scans.append([scan(code, visitor=b"a")])
    with scans.snapshot():
        before = asked()
        with ThreadPoolExecutor(1) as other:
            other.submit(scans.append, [scan(code, visitor=b"b")]).result()
        with scans.snapshot():
            assert asked() == before
    assert asked() != before


def test_a_generation_tells_when_it_began(backend: Backend, code: Code) -> None:
    subject = (code.organization_id, code.id)
    assert backend.scans.generation(*subject) == Generation(0, None)
    before = datetime.now(UTC)
    backend.scans.append([scan(code)])
    first = backend.scans.generation(*subject)
    after = datetime.now(UTC)
    assert first.at is not None
    assert before - timedelta(milliseconds=1) <= first.at <= after
    backend.scans.append([scan(code)])
    second = backend.scans.generation(*subject)
    assert second.number > first.number
    assert second.at is not None
    assert second.at >= first.at
    backend.scans.append([])
    assert backend.scans.generation(*subject) == second


def test_a_generation_ends_where_a_number_changes(backend: Backend, code: Code) -> None:
    other = add_code(backend, code.organization_id)
    stranger = add_code(backend, add_organization(backend).id)

    def generations() -> list[int]:
        subjects = [(code.organization_id, code.id), (code.organization_id, other.id)]
        subjects += [(code.organization_id, None), (stranger.organization_id, None)]  # type: ignore[list-item]
        return [backend.scans.generation(*subject).number for subject in subjects]

    def changed() -> list[bool]:
        nonlocal before
        now = generations()
        found = [one > earlier for one, earlier in zip(now, before, strict=True)]
        before = now
        return found

    before = generations()
    backend.scans.append([scan(code)])
    assert changed() == [True, False, True, False]
    backend.scans.append([scan(other, bot=True)])
    assert changed() == [False, True, True, False]
    backend.scans.append([])
    backend.scans.tidy(NOON.date(), NOON + DAY, 100)
    assert changed() == [False] * 4
    backend.scans.rebuild(lambda done, whole: None)
    assert changed()[0]
    backend.storage.codes.delete(other.organization_id, other.id)
    assert changed()[2]


def test_a_batch_is_on_the_disk_before_it_is_taken_for_stored(backend: Backend, code: Code) -> None:
    connections: Any = backend.scans._connections  # type: ignore[attr-defined]
    setting = {"sqlite": "PRAGMA synchronous", "postgres": "SHOW synchronous_commit"}[backend.name]
    found: list[Any] = []

    def look(event: Any) -> None:
        if "INTO visitors" in event.sql:
            found.append(connections.database.execute_sql(setting).fetchone()[0])

    connections.database.query_hooks.append(look)
    backend.scans.append([scan(code, visitor=b"a")])
    connections.database.query_hooks.remove(look)

    # SQLite calls it FULL.
    assert found == [{"sqlite": 2, "postgres": "on"}[backend.name]]


def test_a_code_with_many_scans_goes_a_little_at_a_time(
    backend: Backend, code: Code, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repositories, "_REMOVED_AT_ONCE", 50)
    other = add_code(backend, code.organization_id)
    mine, others = (
        some_scans([code], random.Random(1), 40),
        some_scans([other], random.Random(2), 40),
    )
    backend.scans.append(others)
    wanted = everything(backend, code.organization_id)
    backend.scans.append(mine)

    assert backend.storage.codes.delete(code.organization_id, code.id)

    assert backend.storage.codes.by_slug(code.slug) is None
    assert backend.storage.codes.get(code.organization_id, code.id) is None
    assert not backend.storage.codes.delete(code.organization_id, code.id)
    backend.storage.codes.add([make_code(code.organization_id, slug=code.slug)])
    # Itself it is not counted any more, and its slug is another code's by now.
    assert backend.storage.codes.list(code.organization_id, CodeQuery()).total == 2
    assert backend.storage.codes.list(uuid4(), CodeQuery()).total == 0
    backend.scans.append([scan(code)])
    assert totals(backend.scans, code) == Totals()
    steps, left = 0, len(backend.scans.latest(code.id, None, 1000))
    assert left == 600
    while backend.scans.tidy(NOON.date() - 60 * DAY, None, 100) == 100:
        steps += 1
        before, left = left, len(backend.scans.latest(code.id, None, 1000))
        assert 0 <= before - left <= 100
        # Whatever is left of it, what is counted of the others is right.
        backend.scans.rebuild(lambda done, whole: None)
    assert steps > 8
    assert everything(backend, code.organization_id) == wanted


def everything(backend: Backend, organization_id: UUID) -> list[Any]:
    """All rows of counts of an organisation and its codes."""
    connections = backend.scans._connections  # type: ignore[attr-defined]
    found: list[Any] = []
    with connections.connection() as database:
        for table in ("code_values", "organization_values", "code_counts"):
            found += database.execute_sql(f"SELECT * FROM {table}").fetchall()
        for table in ("code_days", "organization_days"):
            rows = database.execute_sql(f"SELECT * FROM {table}").fetchall()
            found += [(*row, unpacked(packed)) for *row, packed in rows]
        for table in ("code_quarters", "organization_quarters"):
            rows = database.execute_sql(f"SELECT * FROM {table}").fetchall()
            found += [
                (subject, slot, msgspec.msgpack.decode(parts)) for subject, slot, parts in rows
            ]
    return sorted(found, key=repr)


def some_scans(codes: Sequence[Code], chance: random.Random, days: int) -> list[Scan]:
    return [
        replace(
            scan(
                chance.choice(codes),
                NOON + timedelta(minutes=chance.randrange(-days * 24 * 60, 0)),
                chance.randbytes(1),
                bot=chance.random() < 0.2,
            ),
            browser=chance.choice(("Safari", "Chrome", "")),
            country=chance.choice(("DE", "FR", "")),
        )
        for _ in range(600)
    ]


@pytest.mark.parametrize("at_once", [40, 50_000])
def test_a_recount_gives_the_same_numbers(
    backend: Backend, code: Code, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(recount, "_SCANS", at_once)
    codes = [code, add_code(backend, code.organization_id), add_code(backend, code.organization_id)]
    backend.scans.append(some_scans(codes[:2], random.Random(5), 40))
    backend.scans.append([scan(codes[2], bot=True)])
    before = everything(backend, code.organization_id)
    told: list[tuple[int, int]] = []

    backend.scans.rebuild(lambda done, whole: told.append((done, whole)))

    assert everything(backend, code.organization_id) == before
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1] >= 601


def test_a_recount_mends_numbers_that_are_wrong(backend: Backend, code: Code) -> None:
    backend.scans.append(some_scans([code], random.Random(6), 3))
    before = everything(backend, code.organization_id)
    connections = backend.scans._connections  # type: ignore[attr-defined]
    with connections.transaction() as database:
        for statement in (
            "UPDATE code_values SET scans = scans + 7",
            "DELETE FROM organization_values",
            "UPDATE organization_days SET scans = scans + 7",
            "DELETE FROM code_days",
            "DELETE FROM code_counts",
            "DELETE FROM code_quarters",
        ):
            database.execute_sql(statement)
    backend.scans.rebuild(lambda done, whole: None)

    assert everything(backend, code.organization_id) == before


def test_a_recount_keeps_the_numbers_of_days_whose_scans_were_removed(
    backend: Backend, code: Code
) -> None:
    backend.scans.append(some_scans([code], random.Random(7), 20))
    before = everything(backend, code.organization_id)
    while backend.scans.tidy(NOON.date(), NOON - 10 * DAY, 1000):
        pass
    backend.scans.rebuild(lambda done, whole: None)

    assert everything(backend, code.organization_id) == before


def test_scans_that_arrive_while_it_recounts_are_counted(
    backend: Backend, code: Code, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recount, "_SCANS", 20)
    backend.scans.append(some_scans([code], random.Random(8), 30))
    late = iter(some_scans([code], random.Random(9), 30))

    backend.scans.rebuild(lambda done, whole: backend.scans.append([next(late)]))
    arrived = 600 - len(list(late))
    after = everything(backend, code.organization_id)
    backend.scans.rebuild(lambda done, whole: None)

    assert arrived > 20
    assert everything(backend, code.organization_id) == after
    days = (slot_of(NOON) // 96 - 40) * 96, slot_of(NOON) + 96
    (count,) = backend.scans.counts(code.organization_id, None, [days])
    assert count.scans + count.bots == 600 + arrived
