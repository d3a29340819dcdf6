"""Timelines and totals over HTTP, exact in the zone of whoever asks."""

from __future__ import annotations

import random
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from falcon.testing import create_environ

from core.app import Application
from core.domain.accounts import Role
from core.domain.audit import OPERATOR
from core.domain.codes import CodeDraft
from core.domain.periods import Interval
from core.domain.scans import Scan
from core.errors import StorageUnavailable
from core.services import exports
from core.services.statistics import Selection
from tests.http.conftest import Api, Clock, Tenant


@pytest.fixture
def analyst(app: Application, acme: Tenant) -> Api:
    return Api(app, {"Cookie": acme.cookies[Role.ANALYST]})


def record(app: Application, tenant: Tenant, *moments: str, bot: bool = False) -> None:
    app.services.scan_store.append(
        [
            Scan(tenant.code.id, tenant.id, datetime.fromisoformat(at), bytes([n] * 16), bot)
            for n, at in enumerate(moments)
        ]
    )


def test_a_timeline_has_every_bucket_zeros_included(
    app: Application, analyst: Api, acme: Tenant
) -> None:
    record(app, acme, "2026-05-06T00:00:00Z", "2026-05-06T11:59:59Z", "2026-04-30T00:00:00Z",
           "2026-04-29T23:59:59.999999Z")  # fmt: skip
    answer = analyst.get(f"{acme.code_url}/timeline").json
    assert {key: value for key, value in answer.items() if key != "points"} == {
        "code": str(acme.code.id),
        "period": "7d",
        "interval": "day",
        "timezone": "UTC",
        "start": "2026-04-30T00:00:00Z",
        "end": "2026-05-07T00:00:00Z",
        "total": 3,
        "unique": 3,
        "previous": None,
        "updated_at": answer["updated_at"],
    }
    assert [point["scans"] for point in answer["points"]] == [1, 0, 0, 0, 0, 0, 2]
    assert answer["points"][0]["start"] == "2026-04-30T00:00:00Z"


@pytest.mark.parametrize(("period", "points"), [("7d", 7), ("30d", 30), ("90d", 90), ("1y", 365)])
def test_the_periods_have_as_many_points_as_they_have_days(
    analyst: Api, acme: Tenant, period: str, points: int
) -> None:
    answer = analyst.get(f"{acme.code_url}/timeline", params={"period": period}).json
    assert len(answer["points"]) == points
    assert sum(point["scans"] for point in answer["points"]) == answer["total"] == 0


def test_a_zone_moves_scans_to_its_own_days(app: Application, analyst: Api, acme: Tenant) -> None:
    record(app, acme, "2026-05-05T18:14:59Z", "2026-05-05T18:15:00Z")

    def days(zone: str) -> list[int]:
        query = {"timezone": zone}
        answer = analyst.get(f"{acme.code_url}/timeline", params=query).json
        return [point["scans"] for point in answer["points"]][-2:]

    assert days("UTC") == [2, 0]
    assert days("Asia/Kathmandu") == [1, 1]
    assert days("Asia/Tokyo") == [0, 2]


def test_days_of_23_and_25_hours_are_whole_days(
    app: Application, analyst: Api, acme: Tenant, clock: Clock
) -> None:
    clock.now = datetime(2026, 3, 30, 12, tzinfo=UTC)
    record(app, acme, "2026-03-28T22:59:59Z", "2026-03-28T23:00:00Z", "2026-03-29T21:59:59Z",
           "2026-03-29T22:00:00Z")  # fmt: skip
    query = {"timezone": "Europe/Berlin"}
    answer = analyst.get(f"{acme.code_url}/timeline", params=query).json
    assert [point["scans"] for point in answer["points"]][-3:] == [1, 2, 1]
    assert [point["start"] for point in answer["points"]][-2:] == [
        "2026-03-29T00:00:00+01:00",
        "2026-03-30T00:00:00+02:00",
    ]


def test_a_timeline_comes_in_any_interval_of_its_period(
    app: Application, analyst: Api, acme: Tenant, clock: Clock
) -> None:
    record(app, acme, "2026-03-28T23:30:00Z", "2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z")
    clock.now = datetime(2026, 3, 29, 12, tzinfo=UTC)

    def ask(**asked: str) -> Any:
        return analyst.get(f"{acme.code_url}/timeline", params=asked).json

    berlin = {"period": "today", "timezone": "Europe/Berlin"}
    answer = ask(**berlin)
    assert (answer["interval"], len(answer["points"]), answer["total"]) == ("hour", 23, 3)
    assert [point["scans"] for point in answer["points"][:3]] == [1, 1, 1]
    assert [point["scans"] for point in ask(**berlin, interval="day")["points"]] == [3]
    # The first scan was on Saturday evening there, and on Sunday in Berlin.
    assert [p["scans"] for p in ask(period="all", interval="day")["points"]] == [1, 2]
    refused = ask(period="today", interval="week")["errors"]
    assert refused == [
        {"field": "interval", "message": "'today' has no points of 'week'; write one of: hour, day"}
    ]


def test_within_a_quarter_hour_counts_belong_to_the_day_that_begins_in_it(
    app: Application, acme: Tenant, clock: Clock
) -> None:
    # Monrovia was 44 minutes and 30 seconds behind UTC until 1972.
    record(app, acme, "1971-05-06T00:44:00Z", "1971-05-06T00:46:00Z", "1971-05-07T00:20:00Z",
           "1971-05-07T00:31:00Z")  # fmt: skip
    clock.now = datetime(1971, 5, 6, 12, tzinfo=UTC)
    answer = app.services.statistics.timeline(
        acme.id,
        None,
        Selection(period="today", timezone="Africa/Monrovia", interval=Interval.DAY),
    )
    assert [point.scans for point in answer.points] == [3]


def test_bots_are_left_out_unless_asked_for(app: Application, analyst: Api, acme: Tenant) -> None:
    record(app, acme, "2026-05-06T08:00:00Z", "2026-05-06T09:00:00Z")
    record(app, acme, "2026-05-06T10:00:00Z", bot=True)
    totals = [
        analyst.get(f"{acme.code_url}/timeline", params={"bots": bots}).json["total"]
        for bots in ("exclude", "include", "only")
    ]
    assert totals == [2, 3, 1]


def test_a_visitor_is_unique_once_a_code_and_day(
    app: Application, anonymous: Api, analyst: Api, acme: Tenant, clock: Clock
) -> None:
    phone = {"User-Agent": "Mozilla/5.0 (Android 15; Mobile; rv:130.0) Firefox/130.0"}
    for _ in range(3):
        anonymous.get("/r/acme-menu", headers=phone)
    anonymous.get("/r/acme-menu", headers={"User-Agent": phone["User-Agent"] + " other"})
    clock.forward(days=1)
    anonymous.get("/r/acme-menu", headers=phone)
    points = analyst.get(f"{acme.code_url}/timeline").json["points"]
    assert [(p["scans"], p["unique"]) for p in points[-2:]] == [(4, 2), (1, 1)]
    stats = analyst.get(f"{acme.code_url}/stats").json
    assert (stats["scans"], stats["unique"], stats["bots"]) == (5, 3, 0)
    assert stats["first_scan_at"] == "2026-05-06T12:00:00Z"
    assert stats["last_scan_at"] == "2026-05-07T12:00:00Z"


def test_the_organization_has_the_sum_of_its_codes_and_nobody_elses(
    app: Application, analyst: Api, acme: Tenant, globex: Tenant
) -> None:
    second = app.services.codes.create(
        acme.id, CodeDraft(destination="https://b.example"), by=OPERATOR
    )
    record(app, acme, "2026-05-06T08:00:00Z")
    record(app, globex, "2026-05-06T08:00:00Z", "2026-05-06T09:00:00Z")
    at = datetime(2026, 5, 5, 8, tzinfo=UTC)
    app.services.scan_store.append([Scan(second.id, acme.id, at, None, False)])
    answer = analyst.get(f"{acme.url}/timeline").json
    assert (answer["code"], answer["total"], answer["unique"]) == (None, 2, 1)
    assert analyst.get(f"{acme.url}/stats").json["scans"] == 2


def test_a_timeline_comes_as_csv_too(app: Application, analyst: Api, acme: Tenant) -> None:
    record(app, acme, "2026-05-06T08:00:00Z")
    answer = analyst.get(f"{acme.code_url}/timeline", headers={"Accept": "text/csv"})
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert "Accept" in answer.headers["Vary"]
    lines = answer.text.splitlines()
    assert lines[0] == "start,scans,unique"
    assert lines[-1] == "2026-05-06T00:00:00+00:00,1,1"
    assert len(lines) == 8


def test_a_timeline_comes_as_a_chart_too(app: Application, analyst: Api, acme: Tenant) -> None:
    record(app, acme, "2026-05-06T08:00:00Z")
    accept = {"Accept": "image/svg+xml"}
    query = "width=900&compare=previous"
    answer = analyst.get(f"{acme.code_url}/timeline", headers=accept, query_string=query)
    assert answer.headers["Content-Type"] == "image/svg+xml"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert "Accept" in answer.headers["Vary"]
    assert answer.text.startswith('<svg xmlns="http://www.w3.org/2000/svg" width="900"')
    assert "1 scan, 1 of them unique, by day, " in answer.text
    whole = analyst.get(f"{acme.url}/timeline", headers=accept)
    assert ">Acme</title>" in whole.text
    narrow = analyst.get(f"{acme.code_url}/timeline", headers=accept, query_string="width=299")
    assert narrow.status_code == 422
    assert narrow.json["errors"][0]["field"] == "width"


@pytest.mark.parametrize(
    ("field", "value"),
    [("period", "8d"), ("period", ""), ("timezone", "Mars/Olympus"), ("timezone", "../../etc"),
     ("timezone", ""), ("bots", "some"), ("zone", "UTC")],
)  # fmt: skip
def test_an_unknown_period_or_zone_is_refused_naming_what_there_is(
    analyst: Api, acme: Tenant, field: str, value: str
) -> None:
    answer = analyst.get(f"{acme.code_url}/timeline", query_string=f"{field}={value}")
    assert answer.status_code == 422
    assert answer.json["errors"][0]["field"] == field
    if value == "8d":
        assert "7d, 30d, 90d, 1y" in answer.json["errors"][0]["message"]


def test_scans_come_newest_first_page_by_page(app: Application, analyst: Api, acme: Tenant) -> None:
    record(app, acme, *(f"2026-05-06T08:00:0{second}Z" for second in (0, 1, 2, 2, 2)))
    record(app, acme, "2026-05-06T09:00:00Z", bot=True)
    url, seen, query = f"{acme.code_url}/scans", [], {"per_page": 2}
    for _ in range(3):
        page = analyst.get(url, params=query).json
        seen += page["items"]
        query = {"per_page": 2, "cursor": page["next"]}
    assert page["next"] is None
    assert [scan["at"][14:19] for scan in seen] == ["00:00", "00:02", "00:02", "00:02", "00:01",
                                                    "00:00"]  # fmt: skip
    unknown = dict.fromkeys(("country", "device", "os", "browser", "language", "referrer"), "")
    assert seen[0] == {"at": "2026-05-06T09:00:00Z", "bot": True, "unique": False, **unknown}
    assert sum(scan["unique"] for scan in seen) == 5


@pytest.mark.parametrize(
    "query",
    ["cursor=", "cursor=x", "cursor=1-", "cursor=-1-1", "cursor=99999999999999999999-1",
     "per_page=0", "per_page=1001", "page=2"],
)  # fmt: skip
def test_a_bad_cursor_is_refused(analyst: Api, acme: Tenant, query: str) -> None:
    answer = analyst.get(f"{acme.code_url}/scans", query_string=query)
    assert answer.status_code == 422
    assert answer.json["errors"][0]["field"] == query.partition("=")[0]


CSV = {"Accept": "text/csv"}
HEAD = "at,bot,unique,country,device,os,browser,language,referrer"


def lines(body: bytes) -> list[str]:
    """The lines of a CSV file without its head; each of them ends as RFC 4180 has it."""
    head, *rows, end = body.decode().split("\r\n")
    assert (head, end) == (HEAD, "")
    return rows


def exported(app: Application, tenant: Tenant) -> Iterator[bytes]:
    """The body of an export as a server takes it: a piece at a time."""
    headers = {**CSV, "Cookie": tenant.cookies[Role.ANALYST]}
    environ = create_environ(f"{tenant.code_url}/scans", headers=headers)
    return iter(app(environ, lambda *_: None))


def test_all_scans_come_as_csv_newest_first(app: Application, analyst: Api, acme: Tenant) -> None:
    at = datetime(2026, 5, 6, 8, tzinfo=UTC)
    known = ("DE", "mobile", "iOS", "Safari", "de", "example.com")
    later = at + timedelta(microseconds=1)
    app.services.scan_store.append(
        [
            Scan(acme.code.id, acme.id, at, b"a" * 16, False, *known),
            Scan(acme.code.id, acme.id, later, None, True, browser='Odd, "quoted"'),
        ]
    )
    answer = analyst.get(f"{acme.code_url}/scans", headers=CSV)
    assert answer.content == (
        b"at,bot,unique,country,device,os,browser,language,referrer\r\n"
        b'2026-05-06T08:00:00.000001+00:00,true,false,,,,"Odd, ""quoted""",,\r\n'
        b"2026-05-06T08:00:00.000000+00:00,false,true,DE,mobile,iOS,Safari,de,example.com\r\n"
    )
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="acme-menu-scans.csv"'
    assert answer.headers["Vary"] == "Authorization, Cookie, Accept"
    listed = analyst.get(f"{acme.code_url}/scans")
    assert list(listed.json["items"][0]) == HEAD.split(",")
    assert listed.headers["Vary"] == "Authorization, Cookie, Accept"
    assert "Content-Disposition" not in listed.headers


def test_a_code_without_scans_has_an_export_of_a_head(analyst: Api, acme: Tenant) -> None:
    assert lines(analyst.get(f"{acme.code_url}/scans", headers=CSV).content) == []
    head = analyst("HEAD", f"{acme.code_url}/scans", headers=CSV)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Type"].startswith("text/csv")


@pytest.mark.parametrize("number", [1, 2, 3, 4, 6, 7])
def test_an_export_of_many_pages_is_whole(
    app: Application,
    analyst: Api,
    acme: Tenant,
    globex: Tenant,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    monkeypatch.setattr(exports, "PAGE", 3)
    moments = [f"2026-05-06T08:00:0{n // 2}.{n:06}Z" for n in range(number)]
    record(app, acme, *moments)
    record(app, globex, "2026-05-06T08:00:00Z")
    rows = lines(analyst.get(f"{acme.code_url}/scans", headers=CSV).content)
    assert [row[:26] for row in rows] == [moment[:26] for moment in reversed(moments)]


def test_an_export_goes_on_from_the_cursor_of_a_page(
    app: Application, analyst: Api, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "PAGE", 2)
    record(app, acme, *(f"2026-05-06T08:00:0{n // 3}Z" for n in range(8)))
    url = f"{acme.code_url}/scans"
    cursor = analyst.get(url, params={"per_page": 3}).json["next"]
    rest = analyst.get(url, params={"cursor": cursor}, headers=CSV).content
    assert lines(rest) == lines(analyst.get(url, headers=CSV).content)[3:]


@pytest.mark.parametrize("query", ["per_page=50", "cursor=x", "page=2", "start=2026-05-01"])
def test_an_export_is_refused_where_the_query_cannot_be(
    analyst: Api, acme: Tenant, query: str
) -> None:
    answer = analyst.get(f"{acme.code_url}/scans", query_string=query, headers=CSV)
    assert answer.status_code == 422
    assert [e["field"] for e in answer.json["errors"]] == [query.partition("=")[0]]
    assert "Content-Disposition" not in answer.headers


def test_scans_that_arrive_during_an_export_neither_hide_nor_repeat_others(
    app: Application, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "PAGE", 2)
    there = [f"2026-05-06T08:00:0{n}Z" for n in (0, 0, 0, 1, 2, 2, 2)]
    record(app, acme, *there)
    pieces = exported(app, acme)
    body = next(pieces)
    for piece in pieces:
        body += piece
        # One from now, one that is late, and one of the very moment at which the page ended.
        last = body.decode().splitlines()[-1].partition(",")[0]
        if len(lines(body)) < 9:
            record(app, acme, "2026-05-06T12:00:00Z", "2026-05-05T08:00:00Z", last)
    found = Counter(row[:19] for row in lines(body))
    assert not found.keys() & {"2026-05-06T12:00:00"}
    late = found.pop("2026-05-05T08:00:00")
    assert late >= 1
    # The others of the same moments were stored later, and come before those that were there.
    assert found == Counter(moment[:19] for moment in there)


def test_no_cell_of_an_export_is_a_formula(app: Application, analyst: Api, acme: Tenant) -> None:
    at = datetime(2026, 5, 6, 8, tzinfo=UTC)
    evil = ("=1", "+1", "-1", "@SUM(A1)", "\tx", '=HYPERLINK("https://evil.example")')
    app.services.scan_store.append([Scan(acme.code.id, acme.id, at, None, False, *evil)])
    (row,) = lines(analyst.get(f"{acme.code_url}/scans", headers=CSV).content)
    assert row == (
        "2026-05-06T08:00:00.000000+00:00,false,false,'=1,'+1,'-1,'@SUM(A1),'\tx,"
        '"\'=HYPERLINK(""https://evil.example"")"'
    )


def test_a_client_that_leaves_ends_the_export(
    app: Application, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "PAGE", 2)
    record(app, acme, *(f"2026-05-06T08:00:0{n}Z" for n in range(9)))
    latest, pages = app.services.scan_store.latest, 0

    def counted(*arguments: Any) -> Any:
        nonlocal pages
        pages += 1
        return latest(*arguments)

    monkeypatch.setattr(app.services.scan_store, "latest", counted)
    pieces: Any = exported(app, acme)
    next(pieces)
    next(pieces)
    pieces.close()
    assert list(pieces) == []
    assert pages == 2


def test_an_export_takes_its_pages_to_where_they_hold_nobody_up(
    app: Application, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "PAGE", 2)
    record(app, acme, *(f"2026-05-06T08:00:0{n}Z" for n in range(5)))
    trips = 0

    def offload(function: Any, *arguments: object) -> Any:
        nonlocal trips
        trips += 1
        return function(*arguments)

    app.services.exports.open(offload)
    assert len(lines(b"".join(exported(app, acme)))) == 5
    assert trips == 3


def test_an_export_from_a_database_that_is_away_is_503(
    app: Application, analyst: Api, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StorageUnavailable("The database is away.")

    monkeypatch.setattr(app.services.scan_store, "latest", away)
    answer = analyst.get(f"{acme.code_url}/scans", headers=CSV)
    assert answer.status_code == 503
    assert "Content-Disposition" not in answer.headers


def test_an_export_takes_the_same_memory_for_many_scans_as_for_few(
    app: Application, acme: Tenant
) -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)

    def peak(first: int, last: int) -> int:
        app.services.scan_store.append(
            [
                Scan(acme.code.id, acme.id, begin + timedelta(seconds=n), None, False, "DE")
                for n in range(first, last)
            ]
        )
        tracemalloc.start()
        try:
            rows = sum(piece.count(b"\r\n") for piece in app.services.exports.scans(acme.code.id))
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert rows == last + 1
        return most

    few, many = peak(0, 10_000), peak(10_000, 50_000)
    assert many < 1.2 * few, (few, many)


def test_a_span_of_ones_own_is_answered(app: Application, analyst: Api, acme: Tenant) -> None:
    record(app, acme, "2026-02-28T23:00:00Z", "2026-03-01T22:59:59Z", "2026-03-01T23:00:00Z")
    query = {"start": "2026-03-01", "end": "2026-03-02", "timezone": "Europe/Berlin"}
    answer = analyst.get(f"{acme.code_url}/timeline", params=query).json
    assert (answer["period"], answer["interval"], answer["total"]) == (None, "hour", 2)
    assert len(answer["points"]) == 24
    exact = {"start": "2026-03-01T22:45:00Z", "end": "2026-03-01T23:15:00Z", "interval": "hour"}
    assert analyst.get(f"{acme.code_url}/timeline", params=exact).json["total"] == 2


def test_a_timeline_is_compared_with_the_one_before(
    app: Application, analyst: Api, acme: Tenant
) -> None:
    record(app, acme, "2026-05-06T08:00:00Z", "2026-05-05T08:00:00Z", "2026-05-04T08:00:00Z",
           "2026-04-23T08:00:00Z", "2026-04-29T08:00:00Z")  # fmt: skip
    query = {"compare": "previous"}
    answer = analyst.get(f"{acme.code_url}/timeline", params=query).json
    before = answer["previous"]
    assert (answer["total"], before["total"], before["change"]) == (3, 2, 0.5)
    assert [point["scans"] for point in before["points"]] == [1, 0, 0, 0, 0, 0, 1]
    assert before["end"] == answer["start"]
    everything = {**query, "period": "all"}
    assert analyst.get(f"{acme.code_url}/timeline", params=everything).json["previous"] is None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"start": "2026-03-01"}, "end"),
        ({"end": "2026-03-01"}, "start"),
        ({"start": "2026-03-02", "end": "2026-03-01"}, "end"),
        ({"start": "yesterday", "end": "2026-03-01"}, "start"),
        ({"start": "2026-03-01T10:00:00", "end": "2026-03-02"}, "start"),
        ({"start": "2026-03-01T10:01:00Z", "end": "2026-03-02"}, "start"),
        ({"start": "1970-01-01", "end": "2070-01-01"}, "end"),
        ({"start": "0001-01-01", "end": "9999-12-31"}, "start"),
        ({"start": "2025-01-01", "end": "2026-01-01", "interval": "hour"}, "interval"),
        ({"start": "2026-03-01", "end": "2026-03-02", "period": "7d"}, "period"),
        ({"period": "1y", "interval": "hour"}, "interval"),
        ({"interval": "minute"}, "interval"),
        ({"compare": "next"}, "compare"),
    ],
)
@pytest.mark.parametrize("resource", ["timeline", "stats"])
def test_a_window_that_cannot_be_is_refused(
    analyst: Api, acme: Tenant, query: dict[str, str], field: str, resource: str
) -> None:
    answer = analyst.get(f"{acme.code_url}/{resource}", params=query)
    assert answer.status_code == 422
    assert field in [error["field"] for error in answer.json["errors"]]


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ({"period": "8d", "timezone": "Mars/X"}, ["timezone", "period"]),
        ({"period": "today", "interval": "week", "timezone": "Mars/X"}, ["timezone", "interval"]),
        ({"start": "x", "end": "y"}, ["start", "end"]),
        (
            {"start": "x", "timezone": "Mars/X", "period": "7d"},
            ["timezone", "period", "start", "end"],
        ),
        ({"start": "2026-03-01T10:00:00", "end": "2026-03-02T10:01:00Z"}, ["start", "end"]),
    ],
)
def test_everything_that_is_wrong_with_a_window_is_named(
    analyst: Api, acme: Tenant, query: dict[str, str], fields: list[str]
) -> None:
    answer = analyst.get(f"{acme.code_url}/timeline", params=query)
    assert [error["field"] for error in answer.json["errors"]] == fields


def test_a_time_without_an_offset_is_told_how_to_have_one(analyst: Api, acme: Tenant) -> None:
    query = {"start": "2026-01-01T00:00:00", "end": "2026-01-02"}
    (error,) = analyst.get(f"{acme.code_url}/timeline", params=query).json["errors"]
    assert error["message"] == (
        "2026-01-01T00:00:00 has no offset; write 2026-01-01T00:00:00Z for UTC, "
        "or a date for a whole day"
    )


@pytest.mark.parametrize("plus", ["+", "%2B", "%20"])
def test_an_offset_is_understood_with_a_plus_sign_that_became_a_blank(
    analyst: Api, acme: Tenant, plus: str
) -> None:
    query = f"start=2026-03-01T00:00:00{plus}05:45&end=2026-03-02&timezone=Asia/Kathmandu"
    answer = analyst.get(f"{acme.code_url}/timeline", query_string=query)
    assert answer.json["start"] == "2026-03-01T00:00:00+05:45"


def test_too_many_points_name_only_the_intervals_that_fit(
    app: Application, analyst: Api, acme: Tenant
) -> None:
    record(app, acme, "2015-05-06T08:00:00Z")
    query = {"period": "all", "interval": "day"}
    (error,) = analyst.get(f"{acme.code_url}/timeline", params=query).json["errors"]
    assert error == {
        "field": "interval",
        "message": "'day' gives more than 1000 points (setting scans.max_points); "
        "write month or week",
    }


def test_stats_have_no_interval(analyst: Api, acme: Tenant) -> None:
    for url in (acme.code_url, acme.url):
        answer = analyst.get(f"{url}/stats", params={"period": "7d", "interval": "hour"})
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json["errors"]] == ["interval"]


@pytest.mark.parametrize(
    ("accept", "query", "others"),
    [
        ("text/csv", "compare=previous", "application/json or image/svg+xml"),
        ("text/csv", "width=640", "image/svg+xml"),
        ("application/json", "width=640", "image/svg+xml"),
    ],
)
def test_what_means_nothing_to_a_representation_is_refused(
    analyst: Api, acme: Tenant, accept: str, query: str, others: str
) -> None:
    headers = {"Accept": accept}
    url = f"{acme.code_url}/timeline"
    answer = analyst.get(url, query_string=query, headers=headers)
    assert answer.status_code == 422
    assert answer.json["errors"] == [
        {
            "field": query.partition("=")[0],
            "message": f"means nothing to {accept}; leave it out, or accept {others}",
        }
    ]
    assert answer.headers["Vary"] == "Authorization, Cookie, Accept"
    both = analyst.get(url, query_string=f"{query}&period=8d", headers=headers)
    assert len(both.json["errors"]) == 2


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("TEXT/CSV", "text/csv"),
        ("Image/SVG+xml;Q=0.9, Application/JSON;q=0.1", "image/svg+xml"),
        ("nonsense", "application/json"),
        ("image/png", "application/json"),
    ],
)
def test_media_types_are_named_in_any_case(
    analyst: Api, acme: Tenant, accept: str, media_type: str
) -> None:
    answer = analyst.get(f"{acme.code_url}/timeline", headers={"Accept": accept})
    assert answer.headers["Content-Type"].partition(";")[0] == media_type


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe"])
@pytest.mark.parametrize("bots", ["exclude", "include", "only"])
def test_the_parts_of_the_stats_add_up(
    app: Application, analyst: Api, acme: Tenant, zone: str, bots: str
) -> None:
    chance = random.Random(3)
    scans = [
        Scan(
            acme.code.id,
            acme.id,
            datetime(2026, 4, 1, tzinfo=UTC) + timedelta(minutes=chance.randrange(36 * 24 * 60)),
            chance.randbytes(2),
            chance.random() < 0.2,
            chance.choice(["DE", "FR", ""]),
            chance.choice(["mobile", "desktop"]),
            os=chance.choice(["iOS", "Android", ""]),
        )
        for _ in range(800)
    ]
    app.services.scan_store.append(scans)
    query = {"period": "30d", "timezone": zone, "bots": bots}
    timeline = analyst.get(f"{acme.code_url}/timeline", params=query).json
    for url in (acme.code_url, acme.url):
        window = analyst.get(f"{url}/stats", params=query).json["window"]
        assert (window["start"], window["end"]) == (timeline["start"], timeline["end"])
        assert (window["total"], window["unique"]) == (timeline["total"], timeline["unique"])
        start, end = map(datetime.fromisoformat, (window["start"], window["end"]))
        wanted = {"exclude": (False,), "include": (False, True), "only": (True,)}[bots]
        inside = [s for s in scans if start <= s.at < end and s.bot in wanted]
        assert window["total"] == len(inside) > 50
        for name in ("country", "device", "os", "browser", "language", "referrer"):
            parts = {share["value"]: share["scans"] for share in window["by"][name]}
            assert parts == Counter(getattr(s, name) for s in inside)
            assert sum(share["unique"] for share in window["by"][name]) == window["unique"]
        local = [s.at.astimezone(ZoneInfo(zone)) for s in inside]
        grid = Counter((moment.weekday(), moment.hour) for moment in local)
        assert window["weekdays"] == [[grid[day, hour] for hour in range(24)] for day in range(7)]


def test_the_stats_tell_what_happened_lately(app: Application, analyst: Api, acme: Tenant) -> None:
    record(app, acme, "2026-05-06T01:00:00Z", "2026-05-05T01:00:00Z", "2026-04-29T01:00:00Z",
           "2026-04-07T01:00:00Z", "2026-04-06T01:00:00Z")  # fmt: skip
    recent = analyst.get(f"{acme.code_url}/stats").json["recent"]
    assert {name: (r["scans"], r["change"]) for name, r in recent.items()} == {
        "today": (1, 0.0),
        "7d": (2, 1.0),
        "30d": (4, 3.0),
    }
