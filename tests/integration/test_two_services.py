"""Two services of two workers over one database and one cache: a change reaches all of them.

Each worker is asked over a connection of its own, all at once and without a pause. What a worker
tells after a second is what is so, measured from the answer to whoever has made the change; and the
worker that has made it never tells anything else.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from core.app import create_app
from core.services.allowance import Allowance
from core.services.meters import Namespace
from core.services.spaces import Epochs, Spaces
from core.settings import load
from tests.integration.service import PATIENCE, Answer, Service
from tests.servers import Memcached, Postgres

IN_FORCE = 1.0
"""So many seconds after a change, everybody tells what is so since then."""

ATTEMPTS = 3

PASSWORD = "correct horse battery"

SETTINGS = """
[service]
base_url = { env = "QUIETZONE_BASE_URL" }

[plugins]
enabled = ["segno", "png", "svg", "postgres", "memory", "memcached", "rolling", "calendar", "log"]

[storage]
backend = "postgres"

[cache]
backend = "memcached"

[limits]
# Whoever watches asks all the time, and everybody is at one address.
reads = []
unknown_slugs = []
sign_in_address = []
sign_in_account = [{ requests = 40, seconds = 600 }]

[accounts]
argon2_memory_kib = 8192
argon2_time_cost = 1

[log]
requests = false

[plugin.postgres]
dsn = { env = "QUIETZONE_DATABASE" }

[plugin.memcached]
servers = [{ env = "MEMCACHED" }]
# Nothing is given up on a busy machine, where each look is to be counted.
timeout_ms = 10000
connect_timeout_ms = 10000
"""


class Worker:
    """A connection to one worker of a service, which stays with it."""

    def __init__(self, service: Service) -> None:
        self._connection = http.client.HTTPConnection(*service.address, timeout=PATIENCE)
        self._connection.connect()
        self.pid = _holder(self._connection, service)

    def ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json", **(headers or {})}
        self._connection.request(method, path, data, headers)
        return Answer(self._connection.getresponse())

    def close(self) -> None:
        self._connection.close()


def _holder(connection: http.client.HTTPConnection, service: Service) -> int:
    """The worker that holds the other end: a connection to it may still wait to be accepted."""
    # Only what was answered was accepted.
    connection.request("GET", "/health/live")
    connection.getresponse().read()
    ends = [f":{service.address[1]:04X}", f":{connection.sock.getsockname()[1]:04X}"]
    for worker in service.workers():
        held = {file.readlink().name for file in Path(f"/proc/{worker}/fd").iterdir()}
        for line in Path(f"/proc/{worker}/net/tcp").read_text().splitlines():
            # Number, both ends, seven more columns, and the inode (proc_pid_net(5)).
            _, *both, _, _, _, _, _, _, inode = line.split()[:10]
            if [end[-5:] for end in both] == ends and f"socket:[{inode}]" in held:
                return worker
    raise AssertionError(f"no worker of {service.workers()} holds the connection {ends}")


class Installation(NamedTuple):
    """Both services, the headers of the first owner, and the address of his organisation."""

    services: tuple[Service, Service]
    owner: dict[str, str]
    url: str

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """What the first owner is answered by the first service."""
        answer = self.services[0].request(method, path, body, self.owner)
        assert answer.status < 300, answer.body
        return answer.json()

    @contextmanager
    def workers(self) -> Iterator[list[Worker]]:
        """All workers, those of the first service first."""
        with ExitStack() as stack:
            found = []
            for service in self.services:
                connected: set[int] = set()
                service.wait_until(lambda service=service: len(service.workers()) == 2)  # type: ignore[misc]
                deadline = time.monotonic() + PATIENCE
                while len(connected) < 2:
                    assert time.monotonic() < deadline, "one worker takes all connections"
                    worker = Worker(service)
                    stack.callback(worker.close)
                    if worker.pid not in connected:
                        connected.add(worker.pid)
                        found.append(worker)
            yield found


@pytest.fixture(scope="module")
def memcached() -> Iterator[Memcached]:
    server = Memcached()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def installation(
    postgres_server: Postgres,
    migrated_template: str,
    memcached: Memcached,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("services")
    database = postgres_server.create_database(migrated_template)
    config = folder / "settings.toml"
    config.write_text(SETTINGS)
    environ = {
        "QUIETZONE_CONFIG": str(config),
        "QUIETZONE_DATABASE": postgres_server.dsn(database),
        "MEMCACHED": memcached.name,
    }
    with ExitStack() as stack:
        stack.callback(postgres_server.drop_database, database)
        for name in ("first", "second"):
            (folder / name).mkdir()
        first = stack.enter_context(Service(folder / "first", **environ))
        environ["QUIETZONE_BASE_URL"] = first.url
        second = Service(folder / "second", **environ)
        second.start()
        stack.callback(second.__exit__)
        owner, session = _sign_in(first, first.email, first.password)
        (organization,) = session["organizations"]
        yield Installation((first, second), owner, f"/api/organizations/{organization['id']}")


def _sign_in(service: Service, email: str, password: str) -> tuple[dict[str, str], Any]:
    """The headers of a new session, and its document."""
    answer = service.request("POST", "/api/session", {"email": email, "password": password})
    assert answer.status == 201, answer.body
    return {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}, answer.json()


def _member(installation: Installation, name: str) -> tuple[str, dict[str, str]]:
    """The id of a new member, who is an editor, and the headers of a session."""
    service, email = installation.services[0], f"{name}@example.com"
    membership = ("--organization", "main", "--role", "editor")
    service.command("user", "add", email, *membership, "--password-stdin", stdin=f"{PASSWORD}\n")
    headers, session = _sign_in(service, email, PASSWORD)
    return session["user"]["id"], headers


class Told(NamedTuple):
    """What a worker has told, and when it was asked."""

    worker: int
    question: str
    asked_at: float
    answer: object


Question = Callable[[Worker], object]


class Watch:
    """Asks all workers all questions, again and again."""

    def __init__(self, workers: list[Worker], questions: Mapping[str, Question]) -> None:
        self._workers = workers
        self._questions = questions
        self._told: list[Told] = []
        self._rounds = [0] * len(workers)
        self._stop = threading.Event()

    def wait_for_a_round(self) -> None:
        """Wait until every worker has been asked everything once more."""
        before = list(self._rounds)
        deadline = time.monotonic() + PATIENCE
        while any(now < then + 2 for now, then in zip(self._rounds, before, strict=True)):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def told_since(self, moment: float, question: str) -> list[Told]:
        """What was told to those who asked later."""
        return [told for told in self._told if told.question == question and told.asked_at > moment]

    @contextmanager
    def watching(self) -> Iterator[None]:
        failures: list[BaseException] = []

        def ask(number: int) -> None:
            try:
                while not self._stop.is_set():
                    for name, question in self._questions.items():
                        asked_at = time.monotonic()
                        answer = question(self._workers[number])
                        self._told.append(Told(number, name, asked_at, answer))
                    self._rounds[number] += 1
            except BaseException as error:  # noqa: BLE001 - raised again below.
                failures.append(error)

        threads = [
            threading.Thread(target=ask, args=(number,)) for number in range(len(self._workers))
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(PATIENCE)
            if failures:
                raise failures[0]


class Change(NamedTuple):
    """What changes the answer to a question, and what the answer is then."""

    question: Question
    make: Callable[[Worker], object]
    answer: object


def all_are_in_force_in_time(
    installation: Installation,
    prepare: Callable[[str], Mapping[str, Change]],
    by: int | None = None,
) -> None:
    """Hold what all workers tell, while changes are made, against the promise.

    `prepare` makes what is to be changed, with the given ending of its names. `by` is the number of
    the worker that makes the changes; None where another process does.
    """
    # Where the machine is so busy that the database seems to be slow, services go on with what is
    # known, which is another promise. One that is broken is so each time.
    for attempt in range(ATTEMPTS):
        late = _late(installation, prepare(f"{by}-{attempt}"), by)
        if not late:
            return
    raise AssertionError("\n".join(late))


def _late(
    installation: Installation, changes: Mapping[str, Change], by: int | None
) -> Sequence[str]:
    """Make the changes one after the other; what was told too late that is so no more."""
    with installation.workers() as workers, installation.workers() as further:
        # Those that are watched are busy, and which of a service's workers comes first varies.
        maker = next(worker for worker in further if worker.pid == workers[by or 0].pid)
        watch = Watch(workers, {name: change.question for name, change in changes.items()})
        made_at: dict[str, float] = {}
        with watch.watching():
            watch.wait_for_a_round()
            for name, change in changes.items():
                change.make(maker)
                made_at[name] = time.monotonic()
            time.sleep(IN_FORCE)
            watch.wait_for_a_round()
    late = []
    for name, change in changes.items():
        assert len({told.answer for told in watch.told_since(0.0, name)}) == 2
        told = watch.told_since(made_at[name], name)
        assert {each.worker for each in told} == set(range(len(workers)))
        over = [each for each in told if each.answer != change.answer]
        assert [each for each in over if each.worker == by] == [], name
        late += [
            f"{name}: {each.answer} by worker {each.worker}, asked {after:.3f} s after the change"
            for each in over
            if (after := each.asked_at - made_at[name]) >= IN_FORCE
        ]
    return late


def _status(path: str, headers: Mapping[str, str] | None = None) -> Question:
    return lambda worker: worker.ask("GET", path, None, headers).status


def _header(name: str, path: str, headers: Mapping[str, str] | None = None) -> Question:
    return lambda worker: worker.ask("GET", path, None, headers).headers[name]


@pytest.mark.parametrize("by", [0, 3])
def test_every_change_is_in_force_in_all_workers_of_both_services_within_a_second(
    installation: Installation, by: int
) -> None:
    all_are_in_force_in_time(installation, lambda ending: _changes(installation, ending), by)


def _changes(installation: Installation, ending: str) -> Mapping[str, Change]:
    """All that there is to change, in the order in which it is."""
    url, owner = installation.url, installation.owner
    members = {
        name: _member(installation, f"{name}-{ending}") for name in ("leaves", "falls", "signs-out")
    }
    red, green = (
        installation.ask("POST", f"{url}/styles", {"name": f"{color}-{ending}", "color": color})[
            "id"
        ]
        for color in ("#a01010", "#106010")
    )
    codes = {}
    for slug in ("edited", "switched-off", "deleted"):
        draft = {"slug": f"{slug}-{ending}", "destination": "https://example.com", "style": red}
        made = installation.ask("POST", f"{url}/qr-codes", draft)
        codes[slug] = f"{url}/qr-codes/{made['id']}"
    key = installation.ask("POST", f"{url}/api-keys", {"name": "Key", "role": "member"})
    image = f"{codes['edited']}/image"
    in_green = installation.services[0].request("GET", f"{image}?style={green}", None, owner)

    def send(
        method: str, path: str, body: object = None, headers: dict[str, str] = owner
    ) -> Callable[[Worker], None]:
        def make(worker: Worker) -> None:
            assert worker.ask(method, path, body, headers).status in (200, 204)

        return make

    return {
        "destination": Change(
            _header("Location", f"/r/edited-{ending}"),
            send("PATCH", codes["edited"], {"destination": "https://example.org"}),
            "https://example.org",
        ),
        "style": Change(
            _header("ETag", image, owner),
            send("PATCH", f"{url}/styles/{red}", {"color": "#106010"}),
            in_green.headers["ETag"],
        ),
        "deactivation": Change(
            _status(f"/r/switched-off-{ending}"),
            send("PATCH", codes["switched-off"], {"active": False}),
            410,
        ),
        "deletion": Change(_status(f"/r/deleted-{ending}"), send("DELETE", codes["deleted"]), 404),
        "removal": Change(
            _status(url, members["leaves"][1]),
            send("DELETE", f"{url}/members/{members['leaves'][0]}"),
            404,
        ),
        "role": Change(
            _status(f"{url}/stats", members["falls"][1]),
            send("PATCH", f"{url}/members/{members['falls'][0]}", {"role": "member"}),
            401,
        ),
        "sign-out": Change(
            _status("/api/session", members["signs-out"][1]),
            send("DELETE", "/api/session", None, members["signs-out"][1]),
            401,
        ),
        "key": Change(
            _status(url, {"Authorization": f"Bearer {key['token']}"}),
            send("DELETE", f"{url}/api-keys/{key['key']['id']}"),
            401,
        ),
    }


def _image(installation: Installation) -> str:
    """The address of the image of a new code."""
    codes = f"{installation.url}/qr-codes"
    code = installation.ask("POST", codes, {"destination": "https://example.com"})
    return f"{codes}/{code['id']}/image"


def test_a_cache_that_is_cleared_is_so_for_all_workers_within_a_second(
    installation: Installation,
) -> None:
    _, second = installation.services

    def prepare(_: str) -> Mapping[str, Change]:
        image, picture = _forged_image(installation)

        def shown(worker: Worker) -> object:
            return worker.ask("GET", image, None, installation.owner).body

        with installation.workers() as workers:
            assert picture not in {shown(worker) for worker in workers}
        clear = Change(shown, lambda _: second.command("cache", "clear", "image"), picture)
        return {"image": clear}

    all_are_in_force_in_time(installation, prepare)


def _forged_image(installation: Installation) -> tuple[str, bytes]:
    """The address of an image, in whose place there is another one in the cache, and itself."""
    image, (first, _) = _image(installation), installation.services
    app = create_app(load(None, first.environ))
    app.services.open()
    try:
        cache, epochs = app.services.cache, Epochs(app.services.storage)
        images = Spaces(cache, app.services.meters, epochs, lambda: Allowance(1), 0)[
            Namespace.IMAGE
        ]
        answer = first.request("GET", image, None, installation.owner)
        organization_id = UUID(installation.url.rpartition("/")[2])
        key = images.key(organization_id, answer.headers["ETag"].strip('"'))
        while cache.get(key) != answer.body:
            # Its worker has not noticed yet that the cache was cleared before.
            time.sleep(0.1)
            first.request("GET", image, None, installation.owner)
        cache.set(key, b"another picture", 3600)
    finally:
        app.services.close()
    return image, answer.body


def test_operators_are_told_what_all_workers_of_a_service_have_found(
    installation: Installation,
) -> None:
    owner, (first, second) = installation.owner, installation.services
    image = _image(installation)
    _, operator = _member(installation, "operator")

    def report(worker: Worker) -> Answer:
        return worker.ask("GET", "/api/cache", None, operator)

    def looks(worker: Worker) -> tuple[int, int]:
        told = report(worker).json()
        assert (told["backend"], told["shared"], told["workers"]) == ("memcached", True, 2)
        counted = told["namespaces"][Namespace.IMAGE]["since_start"]
        return counted["hits"], counted["misses"]

    with installation.workers() as workers:
        assert {report(worker).status for worker in workers} == {403}
    second.command("operator", "add", "operator@example.com")
    with installation.workers() as workers:
        # The session that was there before has ended, though who was asked a moment ago knows it.
        first.wait_until(lambda: {report(worker).status for worker in workers} == {401})
        operator, _ = _sign_in(first, "operator@example.com", PASSWORD)
        before = [looks(worker) for worker in workers]
        assert before[0] == before[1]
        assert before[2] == before[3]
        for times, worker in enumerate(workers, 3):
            for _ in range(times):
                assert worker.ask("GET", image, None, owner).status == 200
        # The very first has it drawn, and all others find it.
        found = [(6, 1), (6, 1), (11, 0), (11, 0)]
        assert [looks(worker) for worker in workers] == [
            (then[0] + new[0], then[1] + new[1]) for then, new in zip(before, found, strict=True)
        ]


def test_what_is_limited_is_limited_over_all_workers_of_both(installation: Installation) -> None:
    guess = {"email": "nobody@example.com", "password": "not the password"}

    def ask(worker: Worker) -> list[int]:
        return [worker.ask("POST", "/api/session", guess).status for _ in range(30)]

    with installation.workers() as workers, ThreadPoolExecutor(len(workers)) as threads:
        told = [status for statuses in threads.map(ask, workers) for status in statuses]
    assert (told.count(401), told.count(429)) == (40, 80)
