"""What the hot paths cost inside of a worker: microseconds a request, and where they go.

Calls the application as gunicorn does, in this process and without a socket, by turns with a bare
Falcon that answers the same; so what is measured is Falcon and Quietzone alone, and a few
microseconds show. `loadtests.shares` measures the whole, `--profile PATH` tells for one path what
each function took. Run it from the root of the repository:

    .venv/bin/python -m loadtests.paths
"""

# ruff: noqa: E402

from __future__ import annotations

# NOTE: as under gunicorn, and first of all: the locks of greenlets take longer than those of
# threads.
from gevent import monkey

monkey.patch_all()

import argparse
import cProfile
import io
import pstats
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import falcon
import falcon.testing

from core.app import create_app
from core.domain.accounts import ApiKeyDraft, Role
from core.domain.audit import OPERATOR
from core.settings import load
from loadtests.sample import Sample
from loadtests.seed import seed
from loadtests.settings import environment
from loadtests.shares import PHONE, Bare, BareFile, BareRedirect
from loadtests.slow_clients import free_port

ROUNDS, CALLS, PROFILED = 15, 1000, 5000

Application = falcon.App[Any, Any]


class Answered(NamedTuple):
    """What came back; the names of the headers are in lower case."""

    headers: dict[str, str]
    body: bytes


class Asked(NamedTuple):
    """A request, as WSGI has it (PEP 3333), and the status of its answer."""

    name: str
    environ: Mapping[str, Any]
    status: str

    def __call__(self, app: Application) -> Answered:
        """Ask. Ends the measurement where the status is another."""
        started: list[Any] = []

        def start(*told: Any) -> Any:
            started.extend(told)

        body = b"".join(app(dict(self.environ), start))
        if not started[0].startswith(self.status):
            sys.exit(f"{self.name} was answered {started[0]}: {body!r}")
        return Answered(dict(started[1]), body)


def asked(name: str, url: str, status: str, *headers: tuple[str, str]) -> Asked:
    """A request as gunicorn hands it over."""
    path, _, query = url.partition("?")
    phone = dict(line.split(": ", 1) for line in PHONE)
    environ = falcon.testing.create_environ(
        path, query_string=query, headers={**phone, **dict(headers)}
    )
    # What Falcon's own tests leave out, and gunicorn gives.
    return Asked(name, {**environ, "RAW_URI": url, "wsgi.errors": io.StringIO()}, status)


def paths(app: Application, sample: Sample, key: str) -> Iterator[Asked]:
    """The hot paths: redirects, images from a cache, and timelines, each with its 304."""
    code = sample.codes[0]
    own = f"/api/organizations/{sample.organization}/qr-codes/{code.id}"
    bearer = ("Authorization", f"Bearer {key}")
    yield asked("redirect", f"/r/{code.slug}", "302")
    for name, url, headers in (
        ("signed image", code.image, ()),
        ("image", f"{own}/image", (bearer,)),
        ("timeline", f"{own}/timeline?period=7d", (bearer,)),
    ):
        whole = asked(name, url, "200", *headers)
        yield whole
        copy = ("If-None-Match", whole(app).headers["etag"])
        yield asked(f"{name}, unchanged", url, "304", *headers, copy)


def bare(answers: Mapping[str, bytes], sample: Sample) -> Bare:
    """Falcon alone, which has the same answers."""
    app, own = Bare(), "/api/organizations/{organization}/qr-codes/{file}"
    app.add_route("/r/{slug}", BareRedirect())
    file = sample.codes[0].image.rpartition("/")[2]
    app.add_route("/i/{signature}/{file}", BareFile({file: answers["signed image"]}))
    for name in ("image", "timeline"):
        app.add_route(f"{own}/{name}", BareFile({sample.codes[0].id: answers[name]}))
    return app


def microseconds(request: Asked, app: Application) -> float:
    """What one takes."""
    began = time.perf_counter()
    for _ in range(CALLS):
        request(app)
    return (time.perf_counter() - began) / CALLS * 1e6


def profile(request: Asked, app: Application) -> str:
    """What each function took, the most expensive first."""
    profiler, told = cProfile.Profile(), io.StringIO()
    profiler.enable()
    for _ in range(PROFILED):
        request(app)
    profiler.disable()
    pstats.Stats(profiler, stream=told).strip_dirs().sort_stats("tottime").print_stats(40)
    return told.getvalue()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--profile", default="", help="one of the paths, by its name")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="quietzone-load-") as folder:
        app = create_app(load(environ=environment(Path(folder), free_port(), 1)))
        services = app.services
        services.open()
        try:
            sample = seed(services, 20, 1000, "a quiet phrase of mine")
            draft = ApiKeyDraft("Paths", Role.ANALYST)
            key, _ = services.organizations.add_key(UUID(sample.organization), draft, by=OPERATOR)
            requests = list(paths(app, sample, key))
            other = bare({request.name: request(app).body for request in requests}, sample)
            if options.profile:
                (chosen,) = [one for one in requests if one.name == options.profile]
                print(profile(chosen, app))
                return 0
            print("Microseconds in the process, without gunicorn and the network:")
            print(f"{'path':<24}   bare   ours   more")
            for request in requests:
                theirs, ours = [], []
                for _ in range(ROUNDS):
                    theirs.append(microseconds(request, other))
                    ours.append(microseconds(request, app))
                # The fastest round is the one in which nobody else ran.
                least, own = min(theirs), min(ours)
                print(f"{request.name:<24}  {least:5.1f}  {own:5.1f}  {own - least:5.1f}")
        finally:
            services.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
