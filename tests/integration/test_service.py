"""The real service: gunicorn with its workers, started and stopped as an operator would."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from core.app import create_app
from core.domain.codes import MAX_LOCATION, location
from core.domain.scans import Scan
from core.services.exports import PAGE
from core.settings import load
from tests.integration.service import PATIENCE, ROOT, Answer, Service, children
from tests.servers import Postgres

PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile Safari/604.1"


VARIANTS = ["default", "production"]
"""The service on embedded defaults, and as `config/production.toml` has it."""


@contextmanager
def serving(variant: str, folder: Path, server: Postgres, template: str) -> Iterator[Service]:
    if variant == "default":
        with Service(folder) as service:
            yield service
        return
    database = server.create_database(template)
    environ = {
        "QUIETZONE_CONFIG": str(ROOT / "config" / "production.toml"),
        "QUIETZONE_DATABASE": server.dsn(database),
        "QUIETZONE_WORKERS": "2",
    }
    with Service(folder, **environ) as service:
        yield service
    server.drop_database(database)


@pytest.fixture(scope="module", params=VARIANTS)
def service(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: Postgres,
    migrated_template: str,
) -> Iterator[Service]:
    """A service that goes on after each test."""
    folder = tmp_path_factory.mktemp(request.param)
    with serving(request.param, folder, postgres_server, migrated_template) as service:
        yield service


@pytest.fixture(scope="module")
def me(service: Service) -> Callable[..., Answer]:
    """Asks as the first owner."""
    return service.sign_in()


@pytest.fixture(scope="module")
def codes(me: Callable[..., Answer]) -> str:
    """Where the codes of the first owner's organisation are."""
    organization = me("GET", "/api/session").json()["organizations"][0]["id"]
    return f"/api/organizations/{organization}/qr-codes"


def test_the_whole_job_over_a_real_socket(
    service: Service, me: Callable[..., Answer], codes: str
) -> None:
    body = {"destination": "https://example.com/menu", "slug": "menu"}
    created = me("POST", codes, body)
    assert created.status == 201
    image = me("GET", f"{codes}/{created.json()['id']}/image")
    assert image.body.startswith(b"\x89PNG")
    scan = service.request("GET", "/r/menu", headers={"User-Agent": PHONE})
    assert (scan.status, scan.headers["Location"]) == (302, "https://example.com/menu")
    address = f"{codes}/{created.json()['id']}/timeline?period=7d"
    code = f"{codes}/{created.json()['id']}"
    service.wait_until(lambda: me("GET", code).json()["scans_total"] > 0)
    timeline = me("GET", address).json()
    assert timeline["total"] == timeline["points"][-1]["scans"] == 1


def test_scans_of_many_clients_at_once_are_all_counted(
    service: Service, me: Callable[..., Answer], codes: str
) -> None:
    code = me("POST", codes, {"destination": "https://example.com", "slug": "busy"}).json()["id"]
    statuses: list[int] = []

    def scan() -> None:
        for _ in range(25):
            answer = service.request("GET", "/r/busy", headers={"User-Agent": PHONE})
            statuses.append(answer.status)

    threads = [threading.Thread(target=scan) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [302] * 200
    service.wait_until(lambda: me("GET", f"{codes}/{code}").json()["scans_total"] >= 200)
    stats = me("GET", f"{codes}/{code}/stats").json()
    assert (stats["scans"], stats["unique"]) == (200, 1)


def test_several_exports_at_once_are_whole_and_scans_are_answered_meanwhile(
    service: Service, me: Callable[..., Answer], codes: str
) -> None:
    org = codes.split("/")[3]
    code = me("POST", codes, {"destination": "https://example.com", "slug": "long"}).json()["id"]
    begin = datetime(2026, 5, 6, tzinfo=UTC)
    moments = [begin + timedelta(seconds=n) for n in range(5 * PAGE)]
    app = create_app(load(None, service.environ))
    app.services.open()
    try:
        app.services.scan_store.append(
            [Scan(UUID(code), UUID(org), at, None, False) for at in moments]
        )
    finally:
        app.services.close()
    token = me("POST", f"/api/organizations/{org}/api-keys", {"name": "Export", "role": "analyst"})
    headers = {"Accept": "text/csv", "Authorization": f"Bearer {token.json()['token']}"}
    times = [moment.isoformat(timespec="microseconds") for moment in reversed(moments)]

    def export(_: int) -> list[str]:
        rows = service.request("GET", f"{codes}/{code}/scans", None, headers).body.splitlines()
        return [row.partition(b",")[0].decode() for row in rows]

    with ThreadPoolExecutor(6) as pool:
        exported = pool.map(export, range(6))
        # Scans of another code: those of this one might come late, and be among the rows.
        me("POST", codes, {"destination": "https://example.com", "slug": "other"})
        answers = [service.request("GET", "/r/other").status for _ in range(20)]
    assert all(rows == ["at", *times] for rows in exported)
    assert answers == [302] * 20


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_stop_lets_a_request_in_flight_finish(
    variant: str, tmp_path: Path, postgres_server: Postgres, migrated_template: str
) -> None:
    with serving(variant, tmp_path, postgres_server, migrated_template) as service:
        body = json.dumps({"email": service.email, "password": service.password}).encode()
        head = (
            f"POST /api/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
        ).encode()
        with socket.create_connection(service.address, timeout=30) as connection:
            connection.sendall(head)
            # Once this comes, the request is in a worker's hands.
            assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
            connection.sendall(body[:10])
            service.process.send_signal(signal.SIGTERM)
            service.wait_until(lambda: not service.accepts())
            connection.sendall(body[10:])
            answer = connection.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 201 "), answer[:200]
        assert service.process.wait(30) == 0


MALFORMED = (
    b"GET /r/menu?utm=\xc3\xa9PECULIAR HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /r/PECULIAR\r\n\r\n",
    b"peculiar /r/menu HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /r/menu HTTP/PECULIAR\r\nHost: x\r\n\r\n",
    b"GET /r/menu HTTP/1.1\r\nHost: x\r\nUser-Agent: PECULIAR\x01\r\n\r\n",
    b"GET /r/menu HTTP/1.1\r\nHost: x\r\nPECULIAR HEADER: a\r\n\r\n",
    b"GET /r/menu HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: PECULIAR\r\n\r\n",
    b"GET /r/PECULIAR?" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /r/menu HTTP/1.1\r\nHost: x\r\nX-PECULIAR: " + b"x" * 9000 + b"\r\n\r\n",
)


def test_the_log_tells_of_malformed_requests_and_not_who_sent_them(tmp_path: Path) -> None:
    config = tmp_path / "debug.toml"
    config.write_text('[log]\nlevel = "debug"\n')
    client = ("127.0.0.9", 0)
    cut_off = b"GET /r/PECULIAR HTTP/1.1\r\nHost:"
    with Service(tmp_path, QUIETZONE_CONFIG=str(config)) as service:
        begin = len(service.log)

        def send() -> None:
            for request in (*MALFORMED, cut_off):
                with socket.create_connection(service.address, 30, client) as connection:
                    connection.sendall(request)
                    connection.shutdown(socket.SHUT_WR)
                    answer = connection.makefile("rb").read()
                assert answer[9:10] in ((b"4", b"5") if request != cut_off else (b"",)), request

        send()
        # One filter is enough for all that follows a reload.
        service.process.send_signal(signal.SIGHUP)
        service.wait_until(lambda: "Hang up" in service.log)
        service.wait_until(lambda: service.request("GET", "/health/ready").status == 200)
        send()
        service.wait_until(lambda: service.log.count("premature client disconnection") == 2)
        told = service.log[begin:]
    assert "PECULIAR" not in told.upper()
    assert client[0] not in told
    assert told.count("Invalid request: ") == 2 * len(MALFORMED)
    assert told.count("Invalid request: Invalid HTTP request line") == 4


def test_the_head_of_the_longest_redirect_fits_into_the_buffer_of_a_proxy(
    service: Service, me: Callable[..., Answer], codes: str
) -> None:
    link = "https://example.com/"
    link += "é" * ((MAX_LOCATION - len(link)) // len("%C3%A9"))
    link += "a" * (MAX_LOCATION - len(location(link)))
    assert me("POST", codes, {"destination": link, "slug": "longest"}).status == 201
    assert me("POST", codes, {"destination": f"{link}a", "slug": "longer"}).status == 422
    with socket.create_connection(service.address, timeout=30) as connection:
        connection.sendall(
            b"GET /r/longest HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"X-Request-ID: " + b"x" * 64 + b"\r\n\r\n"
        )
        head = connection.makefile("rb").read()
    assert head.startswith(b"HTTP/1.1 302 ")
    assert location(link).encode() in head
    assert len(head) < 4096


def test_a_refused_image_leaves_no_traceback_in_the_log(
    service: Service, me: Callable[..., Answer], codes: str
) -> None:
    begin = len(service.log)
    org = codes.removesuffix("/qr-codes")
    me("PUT", f"{org}/qr-business", {"content": "x" * 1200})
    assert me("GET", f"{org}/qr-business/image?size=100").status == 422
    assert me("GET", f"{org}/qr-business/image?size=500").status == 200
    assert "Traceback" not in service.log[begin:]


def test_a_body_that_is_framed_wrongly_is_the_clients_fault(service: Service) -> None:
    begin = len(service.log)
    head = (
        b"POST /api/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    for body in (b"zz\r\n{}", b"-2\r\n{}", b"2\r\n{}xx\r\n", b"5\r\n{}"):
        with socket.create_connection(service.address, timeout=30) as connection:
            connection.sendall(head + body)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 400 "), (body, answer[:200])
    assert "Traceback" not in service.log[begin:]


def test_slow_clients_do_not_stop_the_others(service: Service) -> None:
    slow = []
    for _ in range(40):
        connection = socket.create_connection(service.address, timeout=10)
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        slow.append(connection)
    try:
        for _ in range(20):
            assert service.request("GET", "/health/live", timeout=10).status == 200
            for connection in slow:
                connection.sendall(b"a")
    finally:
        for connection in slow:
            connection.close()


def test_a_worker_that_is_killed_is_replaced_and_nothing_that_was_answered_is_lost(
    service: Service, me: Callable[..., Answer], codes: str
) -> None:
    code = me("POST", codes, {"destination": "https://example.com", "slug": "tough"}).json()["id"]
    answered = 0
    for round_ in range(6):
        if round_ % 2:
            service.kill_one_worker()
        for _ in range(10):
            try:
                answer = service.request("GET", "/r/tough", headers={"User-Agent": PHONE})
            except OSError:
                continue
            answered += answer.status == 302
    service.wait_until(lambda: service.request("GET", "/health/ready").status == 200)
    service.wait_until(lambda: me("GET", f"{codes}/{code}").json()["scans_total"] >= answered)
    counted = me("GET", f"{codes}/{code}/stats").json()["scans"]
    # A scan may be counted whose answer the kill cut off; none may be answered and not counted.
    assert answered <= counted <= 60
    assert answered > 30


def test_on_defaults_all_that_is_kept_lies_in_the_data_folder(tmp_path: Path) -> None:
    before = set(ROOT.iterdir())
    with Service(tmp_path) as service:
        service.sign_in()
        names = {path.name.partition(".db")[0] for path in service.data.iterdir()}
    assert names == {"quietzone", "image-signing.key", "journal", "cache.meters", "cache.shared"}
    assert set(ROOT.iterdir()) == before


@pytest.mark.parametrize("edited", ["this is [ no TOML", '[scans]\njournal = "{elsewhere}"\n'])
def test_a_settings_file_that_was_edited_changes_nothing_for_the_next_drainer(
    tmp_path: Path, edited: str
) -> None:
    config = tmp_path / "settings.toml"
    config.write_text("")
    with Service(tmp_path, QUIETZONE_CONFIG=str(config)) as service:
        me = service.sign_in()
        org = me("GET", "/api/session").json()["organizations"][0]["id"]
        codes = f"/api/organizations/{org}/qr-codes"
        body = {"destination": "https://example.com", "slug": "edited"}
        code = me("POST", codes, body).json()["id"]
        config.write_text(edited.replace("{elsewhere}", str(tmp_path / "elsewhere")))
        service.wait_until(lambda: bool(service.drainers()))
        killed = service.drainers()
        for drainer in killed:
            os.kill(drainer, signal.SIGKILL)
        service.wait_until(lambda: bool(set(service.drainers()) - set(killed)))
        assert service.request("GET", "/r/edited", headers={"User-Agent": PHONE}).status == 302
        service.wait_until(lambda: me("GET", f"{codes}/{code}").json()["scans_total"] == 1)
    assert not (tmp_path / "elsewhere").exists()


def test_scans_that_wait_for_the_disk_do_not_wait_for_other_work(tmp_path: Path) -> None:
    config = tmp_path / "settings.toml"
    config.write_text(
        """
[service]
workers = 1
threads = 1
[scans]
sync = "always"
[accounts]
argon2_memory_kib = 16384
argon2_time_cost = 30
"""
    )
    with Service(tmp_path, QUIETZONE_CONFIG=str(config)) as service, ThreadPoolExecutor() as pool:
        me = service.sign_in()
        org = me("GET", "/api/session").json()["organizations"][0]["id"]
        body = {"destination": "https://example.com", "slug": "safe"}
        me("POST", f"/api/organizations/{org}/qr-codes", body)
        # A password that takes seconds to hash has the one thread for work all to itself.
        signed_in = pool.submit(service.sign_in)
        answered = 0
        while not signed_in.done():
            assert service.request("GET", "/r/safe").status == 302
            answered += not signed_in.done()
        assert answered > 5


def test_gunicorn_does_what_else_it_is_told(tmp_path: Path) -> None:
    told = "--max-requests 10 --access-logfile - --access-logformat 'answered %(m)s %(U)s %(s)s'"
    with Service(tmp_path, GUNICORN_CMD_ARGS=told) as service:
        before = set(service.workers())

        def all_are_new() -> bool:
            service.request("GET", "/health/live")
            return len(service.workers()) == len(before) and not before & set(service.workers())

        service.wait_until(all_are_new)
        assert "answered GET /health/live 200" in service.log


def test_a_worker_that_is_told_to_end_before_it_listens_does_so(service: Service) -> None:
    before = set(service.workers())
    os.kill(min(before), signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    # Not a moment later than it is there.
    while not (new := set(service.workers()) - before):
        assert time.monotonic() < deadline
    early = min(new)
    os.kill(early, signal.SIGTERM)
    service.wait_until(lambda: early not in service.workers())


def test_another_master_takes_over(tmp_path: Path) -> None:
    with Service(tmp_path) as service:
        os.kill(service.process.pid, signal.SIGUSR2)

        def masters() -> list[int]:
            """What the first one has started that has workers of its own: no worker has so many."""
            return [pid for pid in service.workers() if len(children(pid)) > 1]

        service.wait_until(lambda: bool(masters()))
        (new,) = masters()
        try:
            service.process.send_signal(signal.SIGTERM)
            assert service.process.wait(PATIENCE) == 0
            assert service.request("GET", "/health/ready").status == 200
        finally:
            os.kill(new, signal.SIGTERM)
        service.wait_until(lambda: not service.accepts())
        assert "Traceback" not in service.log


def test_a_drainer_that_is_told_to_end_does_so_and_is_replaced(service: Service) -> None:
    begin = len(service.log)
    service.wait_until(lambda: bool(service.drainers()))
    (drainer,) = service.drainers()
    os.kill(drainer, signal.SIGTERM)
    service.wait_until(lambda: drainer not in service.drainers())
    service.wait_until(lambda: bool(service.drainers()))
    assert "Traceback" not in service.log[begin:]
