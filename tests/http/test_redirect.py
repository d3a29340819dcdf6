"""The scan: where it leads, what is counted, and what people and programs see where it does not."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from falcon.testing import create_environ

from core.app import Application, create_app
from core.errors import StorageUnavailable
from core.http.client import Clients
from core.http.request import Request
from core.services.journal.folder import SUFFIX
from core.settings import Http
from tests.http.conftest import Api, Clock, Seed, Tenant, settings_in

PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1"
)
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "User-Agent": PHONE}


def total(editor: Api, tenant: Tenant) -> int:
    return editor.get(tenant.code_url).json["scans_total"]


@pytest.mark.parametrize("path", ["/r/acme-menu", "/R/ACME-MENU", "/r/Acme-Menu"])
def test_a_scan_is_sent_on_counted_and_never_kept(
    anonymous: Api, editor: Api, acme: Tenant, path: str
) -> None:
    answer = anonymous.get(path, headers=BROWSER)
    assert answer.status_code == 302
    assert answer.headers["Location"] == "https://acme.example/menu"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.text == ""
    assert total(editor, acme) == 1


def test_head_is_answered_but_not_counted(anonymous: Api, editor: Api, acme: Tenant) -> None:
    answer = anonymous("HEAD", "/r/acme-menu", headers=BROWSER)
    assert (answer.status_code, answer.headers["Location"]) == (302, "https://acme.example/menu")
    assert total(editor, acme) == 0


def test_an_edit_works_at_once(anonymous: Api, editor: Api, acme: Tenant) -> None:
    anonymous.get("/r/acme-menu", headers=BROWSER)
    editor.patch(acme.code_url, {"destination": "https://new.example"})
    assert anonymous.get("/r/acme-menu").headers["Location"] == "https://new.example"


@pytest.mark.parametrize("path", ["/r/unknown", "/r/x", "/r/..", "/r/a'--"])
def test_an_unknown_code_is_404_a_page_for_people_a_problem_for_programs(
    anonymous: Api, path: str
) -> None:
    page = anonymous.get(path, headers=BROWSER)
    assert page.status_code == 404
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "<h1>This code is unknown</h1>" in page.text
    problem = anonymous.get(path, headers={"Accept": "*/*"})
    assert problem.status_code == 404
    assert problem.headers["Content-Type"] == "application/problem+json"
    assert problem.json["request_id"] == problem.headers["X-Request-ID"]


@pytest.mark.parametrize("path", ["/r/", "/r", "/R/", "/r/a/b", "/r/..%2F..%2Fetc%2Fpasswd"])
def test_an_address_without_a_slug_is_404(anonymous: Api, path: str) -> None:
    assert anonymous.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/r/acme-menu/", "/r/", "/r", "/R", "/R/a/b", "/r/acme-menu//"])
@pytest.mark.parametrize("accept", ["text/html,*/*;q=0.8", "TEXT/HTML"])
def test_a_short_link_that_was_mistyped_is_a_page_for_people(
    anonymous: Api, path: str, accept: str
) -> None:
    page = anonymous.get(path, headers={**BROWSER, "Accept": accept})
    assert page.status_code == 404
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Cache-Control"] == "no-store"
    assert "<h1>This code is unknown</h1>" in page.text
    problem = anonymous.get(path)
    assert (problem.status_code, problem.headers["Content-Type"]) == (
        404,
        "application/problem+json",
    )
    assert problem.json["request_id"] == problem.headers["X-Request-ID"]


def test_what_only_begins_like_a_short_link_is_none(anonymous: Api) -> None:
    assert "<h1>" not in anonymous.get("/robots.txt", headers=BROWSER).text


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"active": False}, "switched off"),
        ({"valid_from": "2026-05-06T12:00:01Z"}, "not valid yet"),
        ({"valid_until": "2026-05-06T12:00:00Z"}, "no longer valid"),
    ],
)
def test_a_code_that_is_off_or_outside_its_validity_is_410_and_not_counted(
    anonymous: Api, editor: Api, acme: Tenant, change: dict[str, Any], reason: str
) -> None:
    assert editor.patch(acme.code_url, change).status_code == 200
    page = anonymous.get("/r/acme-menu", headers=BROWSER)
    assert page.status_code == 410
    assert reason in page.text
    assert "Location" not in page.headers
    assert anonymous.get("/r/acme-menu").json["detail"] == f"This code is {reason}."
    assert total(editor, acme) == 0


def test_a_code_is_valid_from_its_first_to_before_its_last_instant(
    anonymous: Api, editor: Api, acme: Tenant, clock: Clock
) -> None:
    editor.patch(
        acme.code_url,
        {"valid_from": "2026-05-06T12:00:00Z", "valid_until": "2026-05-06T13:00:00Z"},
    )
    assert anonymous.get("/r/acme-menu").status_code == 302
    clock.forward(minutes=59, seconds=59)
    assert anonymous.get("/r/acme-menu").status_code == 302
    clock.forward(seconds=1)
    assert anonymous.get("/r/acme-menu").status_code == 410


def test_max_scans_ends_a_code_and_bots_do_not_use_it_up(
    anonymous: Api, editor: Api, acme: Tenant
) -> None:
    editor.patch(acme.code_url, {"max_scans": 2})
    robot = {"User-Agent": "Googlebot/2.1 (+http://www.google.com/bot.html)"}
    for _ in range(3):
        assert anonymous.get("/r/acme-menu", headers=robot).status_code == 302
    for _ in range(2):
        assert anonymous.get("/r/acme-menu", headers=BROWSER).status_code == 302
    assert anonymous.get("/r/acme-menu", headers=BROWSER).status_code == 410
    editor.patch(acme.code_url, {"max_scans": 3})
    assert anonymous.get("/r/acme-menu", headers=BROWSER).status_code == 302


@pytest.mark.parametrize(
    ("destination", "query", "location"),
    [
        ("https://a.example", "utm=x", "https://a.example?utm=x"),
        (
            "https://a.example/p?b=1#top",
            "utm=x&y=%C3%A4",
            "https://a.example/p?b=1&utm=x&y=%C3%A4#top",
        ),
        ("https://a.example/?", "utm=x", "https://a.example/?utm=x"),
        ("https://a.example/", "", "https://a.example/"),
        ("https://a.example/", "x=%0d%0aSet-Cookie:a", "https://a.example/?x=%0d%0aSet-Cookie:a"),
        ("https://a.example/", 'x="<>', "https://a.example/?x=%22%3C%3E"),
    ],
)
def test_the_query_is_forwarded_where_the_code_says_so(
    anonymous: Api, editor: Api, acme: Tenant, destination: str, query: str, location: str
) -> None:
    editor.patch(acme.code_url, {"destination": destination})
    answer = anonymous.get("/r/acme-menu", query_string=query)
    assert answer.headers["Location"] == destination
    editor.patch(acme.code_url, {"forward_query": True})
    answer = anonymous.get("/r/acme-menu", query_string=query)
    assert answer.headers["Location"] == location


def test_a_query_that_is_too_long_for_proxies_is_not_forwarded(
    anonymous: Api, editor: Api, acme: Tenant
) -> None:
    editor.patch(acme.code_url, {"forward_query": True})
    for length, forwarded in ((3000, True), (4000, False)):
        answer = anonymous.get("/r/acme-menu", query_string="q=" + "x" * length)
        assert answer.status_code == 302
        location = answer.headers["Location"]
        assert location.startswith("https://acme.example/menu")
        assert ("q=xxx" in location) is forwarded
    answer = editor.patch(acme.code_url, {"destination": f"https://a.example/{'é' * 2000}"})
    assert answer.status_code == 422
    assert "at most 3072" in answer.json["errors"][0]["message"]


def test_a_destination_in_any_script_becomes_an_ascii_location(
    anonymous: Api, editor: Api, acme: Tenant
) -> None:
    editor.patch(acme.code_url, {"destination": "https://müller.example/straße?q=größe#ä"})
    location = anonymous.get("/r/acme-menu").headers["Location"]
    assert location == ("https://xn--mller-kva.example/stra%C3%9Fe?q=gr%C3%B6%C3%9Fe#%C3%A4")


def test_an_unsafe_destination_that_got_into_the_database_never_reaches_a_header(
    app: Application, anonymous: Api, acme: Tenant
) -> None:
    from msgspec.structs import replace

    unsafe = replace(acme.code, destination="https://a.example/\r\nSet-Cookie: a=b", revision=2)
    assert app.services.storage.codes.update(unsafe, expected_revision=1)
    answer = anonymous.get("/r/acme-menu")
    assert answer.status_code == 410
    assert "Location" not in answer.headers
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"User-Agent": "Googlebot/2.1"},
        {"User-Agent": "WhatsApp/2.24.1 A"},
        {"User-Agent": "facebookexternalhit/1.1"},
        {"User-Agent": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"},
        {"User-Agent": ""},
        {"User-Agent": PHONE, "Sec-Purpose": "prefetch;prerender"},
        {"User-Agent": PHONE, "Purpose": "prefetch"},
    ],
)
def test_bots_previews_and_prefetches_are_kept_apart(
    anonymous: Api, owner: Api, acme: Tenant, headers: dict[str, str]
) -> None:
    assert anonymous.get("/r/acme-menu", headers=headers).status_code == 302
    stats = owner.get(f"{acme.code_url}/stats").json
    assert (stats["scans"], stats["bots"]) == (0, 1)


def test_a_prefetch_does_not_use_up_the_uniqueness_of_the_visit_that_follows(
    anonymous: Api, owner: Api, acme: Tenant
) -> None:
    anonymous.get("/r/acme-menu", headers={**BROWSER, "Sec-Purpose": "prefetch"})
    anonymous.get("/r/acme-menu", headers=BROWSER)
    stats = owner.get(f"{acme.code_url}/stats").json
    assert (stats["scans"], stats["unique"], stats["bots"]) == (1, 1, 1)


def test_a_scan_by_hand_with_curl_counts(anonymous: Api, owner: Api, acme: Tenant) -> None:
    anonymous.get("/r/acme-menu", headers={"User-Agent": "curl/7.88.1"})
    anonymous.get("/r/acme-menu", headers={"User-Agent": "python-requests/2.32"})
    stats = owner.get(f"{acme.code_url}/stats").json
    assert (stats["scans"], stats["bots"]) == (1, 1)


def test_no_address_and_no_user_agent_is_stored(
    app: Application, anonymous: Api, acme: Tenant
) -> None:
    anonymous.get("/r/acme-menu", headers={**BROWSER, "User-Agent": "Peculiar/9 (Phone)"})
    app.services.close()
    stored = b"".join(path.read_bytes() for path in app.settings.data.iterdir() if path.is_file())
    assert b"acme-menu" in stored
    assert b"Peculiar" not in stored
    assert b"127.0.0.1" not in stored


def test_do_not_track_is_counted_without_a_visitor(
    anonymous: Api, owner: Api, acme: Tenant
) -> None:
    for header in ({"DNT": "1"}, {"Sec-GPC": "1"}, {}):
        anonymous.get("/r/acme-menu", headers={**BROWSER, **header})
        anonymous.get("/r/acme-menu", headers={**BROWSER, **header})
    stats = owner.get(f"{acme.code_url}/stats").json
    assert (stats["scans"], stats["unique"]) == (6, 1)


@pytest.mark.parametrize("headers", [BROWSER, {"User-Agent": PHONE}])
def test_a_scan_that_cannot_be_recorded_is_not_sent_on(
    app: Application,
    anonymous: Api,
    monkeypatch: pytest.MonkeyPatch,
    headers: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def away(*_: object) -> None:
        raise StorageUnavailable("the disk is full")

    monkeypatch.setattr(app.services.journal, "record", away)
    answer = anonymous.get("/r/acme-menu", headers=headers)
    assert answer.status_code == 503
    assert "Location" not in answer.headers
    assert answer.headers["Retry-After"] == "5"
    assert ("<h1>" in answer.text) is ("Accept" in headers)
    assert "the disk is full" in caplog.text
    assert "the disk is full" not in answer.text


@pytest.mark.parametrize(
    ("peer", "header", "client"),
    [
        ("192.0.2.1", "203.0.113.9", "192.0.2.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.9, 10.0.0.7", "203.0.113.9"),
        ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9:5678", "203.0.113.9"),
        ("10.0.0.1", "[2001:db8::1]:443", "2001:db8::1"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.2, 10.0.0.3", "10.0.0.2"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_trusted_proxy(
    peer: str, header: str | None, client: str
) -> None:
    clients = Clients(Http(trusted_proxies=("10.0.0.0/8",)))
    headers = {} if header is None else {"X-Forwarded-For": header}
    env = create_environ("/", remote_addr=peer, headers=headers)
    assert clients.address(Request(env)) == client


OPT_OUT = {"scans": {"opt_out": ["203.0.113.0/24", "198.51.100.7", "2001:db8:7::/48"]}}
BEHIND_PROXY = OPT_OUT | {"http": {"trusted_proxies": ["10.0.0.0/8"]}}


@pytest.mark.parametrize(
    ("sections", "peer", "header", "counted"),
    [
        ({}, "203.0.113.9", None, 1),
        (OPT_OUT, "203.0.113.9", None, 0),
        (OPT_OUT, "203.0.114.9", None, 1),
        (OPT_OUT, "198.51.100.7", None, 0),
        (OPT_OUT, "198.51.100.8", None, 1),
        (OPT_OUT, "::ffff:203.0.113.9", None, 0),
        (OPT_OUT, "2001:db8:7:1::5", None, 0),
        (OPT_OUT, "2001:db8:8::5", None, 1),
        (OPT_OUT, "", None, 1),
        (OPT_OUT, "192.0.2.1", "203.0.113.9", 1),
        (OPT_OUT, "203.0.113.9", "192.0.2.1", 0),
        (BEHIND_PROXY, "10.0.0.1", "203.0.113.9", 0),
        (BEHIND_PROXY, "10.0.0.1", "::ffff:203.0.113.9", 0),
        (BEHIND_PROXY, "10.0.0.1", "203.0.113.9, 192.0.2.1", 1),
        (BEHIND_PROXY, "10.0.0.1", "192.0.2.1", 1),
        (BEHIND_PROXY, "10.0.0.1", None, 1),
    ],
)
def test_scans_from_networks_that_are_opted_out_lead_on_and_are_not_counted(
    app: Application,
    anonymous: Api,
    owner: Api,
    acme: Tenant,
    peer: str,
    header: str | None,
    counted: int,
) -> None:
    headers = {**BROWSER, **({"X-Forwarded-For": header} if header else {})}
    # The second time the decision is remembered.
    for _ in range(2):
        answer = anonymous.get("/r/acme-menu", headers=headers, remote_addr=peer)
        assert answer.headers["Location"] == "https://acme.example/menu"
        assert answer.status_code == 302
    stats = owner.get(f"{acme.code_url}/stats").json
    assert (stats["scans"], stats["unique"]) == (2 * counted, counted)
    assert len(app.services.scan_store.latest(acme.code.id, None, 5)) == 2 * counted
    assert total(owner, acme) == 2 * counted


@pytest.mark.parametrize("sections", [OPT_OUT])
def test_scans_that_are_opted_out_leave_max_scans_and_the_journal_alone(
    app: Application, anonymous: Api, editor: Api, acme: Tenant
) -> None:
    editor.patch(acme.code_url, {"max_scans": 1})
    own = {"remote_addr": "203.0.113.9", "headers": BROWSER}
    for _ in range(3):
        assert anonymous.get("/r/acme-menu", **own).status_code == 302
    assert anonymous.get("/r/unknown", **own).status_code == 404
    app.services.journal.flush()
    assert list(app.settings.journal.glob(f"*{SUFFIX}")) == []
    assert anonymous.get("/r/acme-menu", headers=BROWSER).status_code == 302
    # Where the limit is reached, it holds for everybody.
    assert anonymous.get("/r/acme-menu", headers=BROWSER).status_code == 410
    assert anonymous.get("/r/acme-menu", **own).status_code == 410


@pytest.mark.parametrize(
    ("sections", "sent", "country"),
    [
        ({"country_header": "CF-IPCountry", "trusted_proxies": ["127.0.0.0/8"]}, "de", "DE"),
        ({"country_header": "CF-IPCountry", "trusted_proxies": ["127.0.0.0/8"]}, "DEU", ""),
        ({"country_header": "CF-IPCountry", "trusted_proxies": ["127.0.0.0/8"]}, "T1", ""),
        ({"country_header": "CF-IPCountry", "trusted_proxies": ["127.0.0.0/8"]}, "D", ""),
        ({"country_header": "CF-IPCountry"}, "de", ""),
        ({"trusted_proxies": ["127.0.0.0/8"]}, "de", ""),
    ],
)
def test_a_country_is_believed_from_trusted_proxies_alone(
    tmp_path: Path, prepared: tuple[Path, Seed], sections: dict[str, Any], sent: str, country: str
) -> None:
    folder, seed = prepared
    shutil.copytree(folder, tmp_path / "data")
    app = create_app(settings_in(tmp_path / "data", http=sections))
    app.services.open()
    headers = {**BROWSER, "CF-IPCountry": sent}
    assert Api(app, {}).get("/r/acme-menu", headers=headers).status_code == 302
    (scan,) = app.services.scan_store.latest(seed.acme.code.id, None, 5)
    app.services.close()
    assert (scan.country, scan.os, scan.browser, scan.device) == (
        country,
        "iOS",
        "Safari",
        "mobile",
    )


def test_readiness_tells_what_happens_to_scans_and_stays_ready(
    app: Application, anonymous: Api, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    def scans() -> str:
        answer = anonymous.get("/health/ready")
        assert answer.status_code == 200
        return answer.json["checks"]["scans"]

    def run_once() -> None:
        turns = iter([True])
        app.services.drainer.run(threading.Event(), lambda: next(turns, False))

    assert scans() == "ok"
    run_once()
    assert scans() == "ok"
    clock.forward(minutes=1)
    assert scans() == "the drainer was last seen at 2026-05-06 12:00:00 UTC"
    monkeypatch.setattr(app.services.scan_store, "append", _away)
    anonymous.get("/r/acme-menu", headers=BROWSER)
    run_once()
    assert "bytes wait in the journal: The database is away." in scans()
    monkeypatch.undo()
    app.services.drainer.drain()
    (app.settings.journal / f"strange{SUFFIX}").mkdir()
    run_once()
    assert scans() == (
        "of the files of the journal 1 cannot be stored, such as strange.scans: Is a directory"
    )
    (app.settings.journal / f"strange{SUFFIX}").rmdir()
    run_once()
    assert scans() == "ok"
    app.services.begin()
    monkeypatch.setattr(app.services.journal, "_append", lambda *_, **__: False)
    clock.forward(seconds=5)
    anonymous.get("/r/acme-menu", headers=BROWSER)
    assert scans() == (
        "1 not recorded since 2026-05-06 12:01:00 UTC, the last one at 2026-05-06 12:01:05 UTC: "
        "the journal or its disk was full"
    )


def _away(*_: object) -> None:
    raise StorageUnavailable("The database is away.")
