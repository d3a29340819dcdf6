"""The benchmark beside others: what else could answer the same, and how much of it is left.

Redirects, images from a cache, 304 and timelines are asked of Quietzone, of a Falcon application
that does nothing but answer the same, under gunicorn's own worker class for gevent and under ours
(the limit of this stack), and of nginx with files (the outer limit). Images that nobody has asked
for before are asked of Quietzone and of Falcon applications that draw each with segno or with
qrcode and Pillow, as a script would.
Each has one worker, is asked by turns over the same number of connections, and is judged by how
many requests it answers in a second of its worker's processor time, since whoever asks may be
slower than it. It prints the table of `docs/performance.md`. Run it from the root of the
repository:

    .venv/bin/python -m loadtests.peers
"""

from __future__ import annotations

import argparse
import io
import json
import os
import secrets
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import falcon
import qrcode
import segno

from loadtests.connections import Answer, Connection, request
from loadtests.programs import Program
from loadtests.report import machine
from loadtests.service import Client, found, service
from loadtests.settings import environment
from loadtests.shares import (
    EMAIL,
    PHONE,
    Account,
    Asked,
    Bare,
    BareFile,
    BareRedirect,
    Server,
    bare_program,
)
from loadtests.slow_clients import free_port

CODES = 50
FRESH = 400
"""So many images that nobody has asked for before are drawn in a turn."""

SIZE = 300
QUIETZONE, BARE, NGINX = "Quietzone", "bare Falcon", "nginx, files"
WITHIN = "bare Falcon within core.wire"
SEGNO, QRCODE = "Falcon + segno", "Falcon + qrcode"

_NGINX = """
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    types {{ image/png png; application/json json; }}
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/files;
        location /r/ {{ return 302 https://example.com$uri; }}
    }}
}}
"""


class _Drawing:
    """Draws what is asked for, and keeps nothing."""

    def __init__(self, draw: Callable[[str], bytes]) -> None:
        self._draw = draw

    def on_get(self, _: falcon.Request, resp: falcon.Response, slug: str) -> None:
        resp.data = self._draw(f"http://127.0.0.1:8000/r/{slug}")
        resp.content_type = "image/png"


def bare(folder: str) -> Bare:
    """What gunicorn serves to compare with: the files of a folder, redirects, and drawings."""
    app, files = Bare(), {file.name: file.read_bytes() for file in Path(folder).iterdir()}
    app.add_route("/r/{slug}", BareRedirect())
    app.add_route("/{file}", BareFile(files))
    app.add_route("/told/{file}", BareFile(files, "application/json"))
    app.add_route("/segno/{slug}", _Drawing(_by_segno))
    app.add_route("/qrcode/{slug}", _Drawing(_by_qrcode))
    return app


def _by_segno(link: str) -> bytes:
    code, file = segno.make(link, micro=False), io.BytesIO()
    # As large as fits into the size, like ours.
    code.save(file, kind="png", scale=SIZE // code.symbol_size()[0])
    return file.getvalue()


def _by_qrcode(link: str) -> bytes:
    code, file = qrcode.QRCode(error_correction=qrcode.constants.ERROR_CORRECT_L), io.BytesIO()
    code.add_data(link)
    code.make()
    code.box_size = SIZE // (code.modules_count + 2 * code.border)
    code.make_image().save(file)
    return file.getvalue()


class Right(NamedTuple):
    """A request, and the status that it has to be answered with; the rest is nobody's business."""

    request: bytes
    status: bytes

    def check(self, answer: Answer) -> None:
        """End the test where the answer is wrong."""
        if answer.status != self.status:
            sys.exit(f"{self.request!r} was answered with {answer!r}")


class Contestant(NamedTuple):
    """A server, and what it is asked for in each row; what is asked for depends on the round."""

    name: str
    server: Server
    asked: dict[str, Callable[[int], Sequence[Right]]]


REDIRECT, IMAGE, UNCHANGED = "redirect", "cached image", "image, unchanged (304)"
TIMELINE, DRAWN = "timeline, unchanged data", "image, never asked for before"
ROWS = (REDIRECT, IMAGE, UNCHANGED, TIMELINE, DRAWN)


def _all(number: int, ask: Callable[[int], Right]) -> Callable[[int], Sequence[Right]]:
    """The same in every round."""
    questions = [ask(n) for n in range(number)]
    return lambda _: questions


def _size(round_: int, number: int) -> int:
    """Another one for each drawing of a code, near to what the others draw."""
    return SIZE + round_ * FRESH // CODES + number // CODES


def ours(port: int, master: int, codes: Sequence[Asked], account: Account) -> Contestant:
    """The service, which counts scans, and knows whose codes and timelines these are."""
    key = f"Authorization: Bearer {codes[0].key}"
    address = f"/api/organizations/{account.organization}/qr-codes"

    def timeline(n: int) -> Right:
        path = f"{address}/{codes[n].keyed.split('/')[-2]}/timeline?period=7d"
        return Right(request("GET", path, key), b"200")

    def drawn(round_: int) -> Sequence[Right]:
        return [
            Right(request("GET", f"{codes[n % CODES].keyed}?size={_size(round_, n)}", key), b"200")
            for n in range(FRESH)
        ]

    return Contestant(
        QUIETZONE,
        Server(port, master),
        {
            REDIRECT: _all(1, lambda n: Right(codes[n].scan().request, b"302")),
            IMAGE: _all(CODES, lambda n: Right(codes[n].page_image().request, b"200")),
            UNCHANGED: _all(CODES, lambda n: Right(codes[n].page_unchanged().request, b"304")),
            TIMELINE: _all(CODES, timeline),
            DRAWN: drawn,
        },
    )


def of_files(name: str, server: Server, tags: dict[str, str], timeline: str) -> Contestant:
    """One that knows nothing but files, by their names with their entity tags, and redirects."""
    files = list(tags)

    def image(n: int, *headers: str) -> bytes:
        return request("GET", f"/{files[n]}", *PHONE, *headers)

    return Contestant(
        name,
        server,
        {
            REDIRECT: _all(1, lambda n: Right(request("GET", f"/r/{n}", *PHONE), b"302")),
            IMAGE: _all(CODES, lambda n: Right(image(n), b"200")),
            UNCHANGED: _all(
                CODES, lambda n: Right(image(n, f"If-None-Match: {tags[files[n]]}"), b"304")
            ),
            TIMELINE: _all(1, lambda _: Right(request("GET", f"/{timeline}"), b"200")),
        },
    )


def script(name: str, server: Server, path: str) -> Contestant:
    """One that draws whatever is asked for."""

    def drawn(round_: int) -> Sequence[Right]:
        numbers = range(round_ * FRESH, (round_ + 1) * FRESH)
        return [Right(request("GET", f"/{path}/load-{n}"), b"200") for n in numbers]

    return Contestant(name, server, {DRAWN: drawn})


def _answer(port: int, path: str) -> Answer:
    connection = Connection(port)
    with connection.socket:
        connection.ask(request("GET", path))
        while (answer := connection.answer()) is None:
            pass
    return answer


@contextmanager
def contestants(folder: Path) -> Iterator[list[Contestant]]:
    """Everybody, with the same images and the same timeline."""
    port, password = free_port(), secrets.token_urlsafe(16)
    environ = environment(folder, port, 1)
    files = folder / "files"
    files.mkdir()
    with ExitStack() as stack:
        account = Account(port, found(environ, {"owner": EMAIL}, password), password)
        master = stack.enter_context(service(environ, folder / "service.log"))
        codes = account.codes()
        names = []
        for code in codes:
            name = f"{code.slug}.png"
            (files / name).write_bytes(code.image)
            names.append(name)
        own = ours(port, master, codes, account)
        with Client(port, codes[0].key) as client:
            told = client.ask("GET", own.asked[TIMELINE](0)[0].request.split()[1].decode())
        (files / "timeline.json").write_text(json.dumps(told), encoding="utf-8")
        application = f"loadtests.peers:bare({str(files)!r})"
        gunicorn = stack.enter_context(bare_program(application))
        within = stack.enter_context(bare_program(application, "core.wire.Worker"))
        bare_server = Server(gunicorn.port, gunicorn.pid)
        # It finds every copy the right one, whatever its tag.
        tagged, told_at = dict.fromkeys(names, '"x"'), "told/timeline.json"
        everybody = [
            own,
            of_files(BARE, bare_server, tagged, told_at),
            of_files(WITHIN, Server(within.port, within.pid), tagged, told_at),
            script(SEGNO, bare_server, "segno"),
            script(QRCODE, bare_server, "qrcode"),
        ]
        program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            print("skipped: nginx, which is not installed", file=sys.stderr)
        else:
            nginx = stack.enter_context(_nginx(program, folder))
            tags = {name: _answer(nginx.port, f"/{name}").header("etag") for name in names}
            server = Server(nginx.port, nginx.pid)
            everybody.append(of_files(NGINX, server, tags, "timeline.json"))
        yield everybody


def _nginx(program: str, folder: Path) -> Program:
    port = free_port()
    config = folder / "nginx.conf"
    user = "user root;\n" if os.geteuid() == 0 else ""
    config.write_text(user + _NGINX.format(folder=folder, port=port), encoding="utf-8")
    return Program(port, program, "-c", str(config), "-g", "daemon off;")


def measure(everybody: Sequence[Contestant], rounds: int) -> dict[str, dict[str, float]]:
    """By row and contestant, how many requests were answered in a second of the worker's time."""
    speeds: dict[str, dict[str, list[float]]] = {}
    for row in ROWS:
        for round_ in range(rounds + 1):
            for one in everybody:
                if row not in one.asked:
                    continue
                questions = one.asked[row](round_)
                # What nobody has asked for before can be asked for once.
                turn = one.server.turn(questions, once=row == DRAWN)
                # The first round warms up.
                if round_:
                    speeds.setdefault(row, {}).setdefault(one.name, []).append(turn.speed)
    return {
        row: {name: statistics.median(all_) for name, all_ in by_name.items()}
        for row, by_name in speeds.items()
    }


def table(measured: dict[str, dict[str, float]]) -> Iterator[str]:
    """The rows as Markdown: requests in a second of a worker's processor time, and shares."""
    names = (BARE, WITHIN, NGINX, SEGNO, QRCODE)
    yield f"| | {QUIETZONE} | " + " | ".join(f"{name} (share)" for name in names) + " |"
    yield "| --- |" + " ---: |" * (len(names) + 1)
    for row, speeds in measured.items():
        own = speeds[QUIETZONE]
        cells = [
            f"{speeds[name]:,.0f} ({own / speeds[name]:.2f})" if name in speeds else ""
            for name in names
        ]
        yield f"| {row} | {own:,.0f} | " + " | ".join(cells) + " |"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=9, help="how often it is everybody's turn")
    options = parser.parse_args()
    print(f"{machine()}:\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="quietzone-load-") as name:
        folder = Path(name)
        # nginx' worker may be somebody else.
        folder.chmod(0o755)
        with contestants(folder) as everybody:
            print("\n".join(table(measure(everybody, options.rounds))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
