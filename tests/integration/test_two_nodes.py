"""Two nodes over one database and one cache: what either tells is never older than is promised.

Both are whole applications in this process, whose clocks stand until a test moves them. The caches
themselves live by the real clock, in which no time passes here, the near level of `tiered` too: so
whatever would be right only because a cache has forgotten it by then is found to be wrong.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

import pytest
from falcon.testing import Result, TestClient
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec import Struct
from msgspec.structs import replace

from core.app import create_app
from core.domain.accounts import Credentials, OrganizationDraft, Role
from core.domain.audit import OPERATOR
from core.domain.codes import CodeDraft
from core.domain.validation import Secret
from core.services import Services
from core.services.limits import Policy
from core.services.meters import Namespace
from core.settings import Settings, parse
from tests.servers import Memcached

S = TypeVar("S")

IN_FORCE = 1.0
"""So many seconds after a change, everybody tells what is so since then."""

LAG = 10.0
"""So far are numbers behind the scans that are stored: the default of `cache.answer_lag`."""

START = datetime(2026, 5, 6, 23, 59, 30, tzinfo=UTC)
"""Shortly before another day begins, with which the windows of timelines move."""

PASSWORD = "correct horse battery"
PHONE = "Mozilla/5.0 (Linux; Android 15; Pixel 9) Chrome/130.0 Mobile Safari/537.36"
PLUGINS = (
    "segno",
    "png",
    "svg",
    "sqlite",
    "memory",
    "shared_memory",
    "rolling",
    "calendar",
    "user_agent",
    "log",
)
CACHE_FILE = "cache.shared"
BACKENDS = ("memory", "shared_memory", "memcached", "tiered")
BLACK = "#000"
COLORS = ("#a01010", "#106010")
SLUGS = ("one", "two")

ROLES = (Role.MEMBER, Role.ADMIN, Role.OWNER)
ATTEMPTS: dict[Role, tuple[str, str, Any]] = {
    Role.MEMBER: ("GET", "", None),
    Role.ADMIN: ("GET", "/api-keys", None),
    # Whoever may grant the role is told that such a key would never work.
    Role.OWNER: (
        "POST",
        "/api-keys",
        {"name": "Late", "role": "owner", "expires_at": "2026-01-01T00:00:00Z"},
    ),
}
"""What needs the role, and changes nothing."""

DRAWN = re.compile(r'<path fill="(#[0-9a-f]+)".*<!--(.+)-->', re.DOTALL)
"""The colour of an image, and when it was drawn."""

nodes = st.sampled_from((0, 1))
spans = st.sampled_from((0.01, 0.1, 0.3, 0.5, 0.79, 0.81, 1.0, 3.0))


class History(Generic[S]):
    """The states of one thing: which of them a node may tell, other nodes having changed it."""

    def __init__(self, state: S) -> None:
        self._states = [state]
        self._ends: list[float] = []
        self._floors = [0, 0]

    @property
    def newest(self) -> S:
        return self._states[-1]

    def put(self, state: S, now: float, node: int | None = None) -> None:
        """It is so from now on; the node that has made it so tells nothing else."""
        if state != self.newest:
            self._states.append(state)
            self._ends.append(now)
        if node is not None:
            self._floors[node] = len(self._states) - 1

    def told(self, node: int, now: float, lag: float = IN_FORCE) -> list[S]:
        """Oldest first, what the node may tell."""
        floor = self._floors[node]
        within = zip(self._states, [*self._ends, math.inf], strict=True)
        return [state for state, end in list(within)[floor:] if now - end < lag]


class Tenant(Struct):
    """An organisation, the cookie and the key of an owner of it, and the slug of a code."""

    id: UUID
    cookie: str
    key: str
    slug: str

    @property
    def url(self) -> str:
        return f"/api/organizations/{self.id}"

    @property
    def as_owner(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


class World:
    """The database that each example has a copy of, and the servers that all of them use."""

    def __init__(self, folder: Path, memcached: Memcached) -> None:
        self.memcached = memcached
        self.backend = "memory"
        self._folder = folder
        self._examples = 0
        self._prepared = folder / "prepared"
        app = create_app(self._settings(self._prepared, "prepared"), clock=lambda: START)
        app.services.open()
        app.services.storage.migrate()
        self.acme, self.globex = (_tenant(app.services, name) for name in ("acme", "globex"))
        self.person = app.services.accounts.add_user("person@example.com", PASSWORD)
        app.services.close()

    def example(self) -> tuple[Path, list[Settings]]:
        """A folder with a new copy of the database, and the settings of both nodes."""
        self._examples += 1
        folder = self._folder / str(self._examples)
        folder.mkdir()
        shutil.copy(self._prepared / "quietzone.db", folder)
        name = f"example-{self._examples}"
        return folder, [self._settings(folder / str(node), name) for node in (0, 1)]

    def _settings(self, data: Path, prefix: str) -> Settings:
        tree: dict[str, Any] = {
            "service": {"data": str(data), "base_url": "http://qz.test"},
            "accounts": {"argon2_memory_kib": 8192, "argon2_time_cost": 1},
            "log": {"requests": False},
            # Whoever tries out everything is fast.
            "limits": {policy.value: [] for policy in Policy},
            "cache": {"backend": self.backend},
            "plugins": {"enabled": [*PLUGINS, "memcached"]},
            "plugin": {
                "memcached": {"servers": [self.memcached.name], "prefix": prefix},
                "sqlite": {"path": str(data.parent / "quietzone.db")},
                "shared_memory": {
                    "path": str(data.parent / CACHE_FILE),
                    "max_bytes": 1024 * 1024,
                },
            },
        }
        if prefix == "prepared":
            del tree["plugin"]["sqlite"]
        return parse(tree, {})


def _tenant(services: Any, slug: str) -> Tenant:
    # An owner who stays, so that everybody else may go.
    owner = services.accounts.add_user(f"owner@{slug}.example", PASSWORD)
    organization = services.organizations.found(
        OrganizationDraft(slug.title(), slug), owner, by=OPERATOR
    )
    token, _, _ = services.accounts.sign_in(Credentials(owner.email, Secret(PASSWORD)))
    key, _ = services.accounts.new_key(organization.id, "Owner", Role.OWNER, None)
    services.codes.create(
        organization.id, CodeDraft(f"https://{slug}.example", slug=slug), by=OPERATOR
    )
    return Tenant(organization.id, f"quietzone={token}", key, slug)


@pytest.fixture(scope="module")
def memcached() -> Iterator[Memcached]:
    server = Memcached()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory: pytest.TempPathFactory, memcached: Memcached) -> World:
    return World(tmp_path_factory.mktemp("world"), memcached)


@pytest.fixture
def world(everywhere: World, request: pytest.FixtureRequest) -> World:
    everywhere.backend = getattr(request, "param", "memory")
    return everywhere


class TwoNodes(RuleBasedStateMachine):
    """Both nodes, the time, and what happens whatever a test is about.

    After each step the nodes that are watched are asked for everything, so that they remember it.
    """

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world, self.acme = world, world.acme
        self.now, self._calls = 0.0, 0
        self._folder, both = world.example()
        self.nodes = [create_app(each, clock=self.clock, seconds=lambda: self.now) for each in both]
        for app in self.nodes:
            app.services.open()
            self._prepare(app.services)
        self._cleared = {name: History(START) for name in Namespace}
        self._watched: tuple[int, ...] = (0, 1)
        self.conditionally = False

    def _prepare(self, services: Services) -> None:
        """Have all that is made tell when, and the storage never taken for a slow one."""
        services.lookups._patience = services.monitor._epochs._patience = 60.0
        draw, statistics = services.images.draw, services.statistics

        def dated(reckon: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *asked, **how: replace(reckon(*asked, **how), updated_at=self.clock())

        made: dict[str, Any] = {
            "stats": dated(statistics.stats),
            "timeline": dated(statistics.timeline),
        }
        for name, reckon in made.items():
            setattr(statistics, name, reckon)
        setattr(  # noqa: B010
            services.images,
            "draw",
            lambda plan: draw(plan) + f"<!--{self.clock().isoformat()}-->".encode(),
        )

    def teardown(self) -> None:
        for app in self.nodes:
            app.services.close()
        shutil.rmtree(self._folder)

    def clock(self) -> datetime:
        """The time of day; that of two calls is never the same."""
        self._calls += 1
        return START + timedelta(seconds=self.now, microseconds=self._calls)

    def ask(
        self, node: int, method: str, path: str, headers: dict[str, str] | None = None, **more: Any
    ) -> Result:
        """One request: an owner's, where no headers tell whose it is."""
        who = self.acme.as_owner if headers is None else headers
        return TestClient(self.nodes[node]).simulate_request(method, path, headers=who, **more)

    @rule(span=spans)
    def wait(self, span: float) -> None:
        self.now += span

    @rule(watched=st.sampled_from(((0, 1), (0,), (1,))), conditionally=st.booleans())
    def watch(self, watched: tuple[int, ...], conditionally: bool) -> None:
        """Ask these from now on, and tell them what is known already, or not."""
        self._watched, self.conditionally = watched, conditionally

    @invariant()
    def nobody_tells_what_is_over(self) -> None:
        for node in self._watched:
            self.look(node)

    def look(self, node: int) -> None:
        """Ask the node for everything."""
        raise NotImplementedError

    def attempt(self, node: int, needed: Role, headers: dict[str, str]) -> int:
        """The status of something that needs the role, and changes nothing."""
        method, path, sent = ATTEMPTS[needed]
        return self.ask(node, method, f"{self.acme.url}{path}", headers, json=sent).status_code

    def clear(self, node: int, namespace: Namespace) -> None:
        """As `quietzone cache clear` does, but in a process that serves."""
        self.nodes[node].services.monitor.clear(namespace)
        self._cleared[namespace].put(self.clock(), self.now, node)

    def was_made_since_clearing(self, namespace: Namespace, node: int, made: datetime) -> bool:
        """Whether it is no older than what a node may tell that was told to clear its cache."""
        return made > self._cleared[namespace].told(node, self.now)[0]

    def lose(self) -> None:
        """Have the caches forget everything, which nobody may notice."""
        if self.world.backend == "memory":
            for app in self.nodes:
                app.services.cache.close()
        elif self.world.backend == "shared_memory":
            for app in self.nodes:
                app.services.cache.close()
            (self._folder / CACHE_FILE).unlink()
            for app in self.nodes:
                app.services.cache.open()
        else:
            assert self.world.memcached.ask(b"flush_all") == b"OK\r\n"


class CodeState(NamedTuple):
    """What can be changed of a code."""

    destination: str
    active: bool
    style: str | None


class Codes(TwoNodes):
    """Codes and styles are changed, scanned and shown."""

    codes = Bundle("codes")
    styles = Bundle("styles")

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._by_slug: dict[str, History[CodeState | None]] = {
            slug: History(None) for slug in SLUGS
        }
        self._by_id: dict[str, History[CodeState | None]] = {}
        self._slug_of: dict[str, str] = {}
        self._shown: dict[str, History[str | None]] = {}
        self._colors: dict[str, str] = {}
        self._default: str | None = None
        self._names = 0
        self._tags: dict[str, str] = {}
        self._color_of_tag: dict[str, str] = {}

    @initialize(target=codes)
    def begin_with_a_code(self) -> Any:
        return self._create(0, SLUGS[0])

    @initialize(target=styles)
    def begin_with_a_style(self) -> str:
        return self._make(0, COLORS[0], default=False)

    @rule(target=codes, node=nodes, slug=st.sampled_from(SLUGS))
    def create(self, node: int, slug: str) -> Any:
        return self._create(node, slug)

    def _create(self, node: int, slug: str) -> Any:
        sent = {"slug": slug, "destination": "https://example.com/new"}
        answer = self.ask(node, "POST", f"{self.acme.url}/qr-codes", json=sent)
        if self._by_slug[slug].newest is not None:
            assert answer.status_code == 409
            return multiple()
        code: str = answer.json["id"]
        self._slug_of[code] = slug
        state = CodeState(sent["destination"], True, None)
        # By its id it is there at once, and by its slug once nobody remembers that there is none.
        self._by_id[code], self._shown[code] = History(state), History(self._color_of(state))
        self._by_slug[slug].put(state, self.now, node)
        return code

    @rule(node=nodes, code=codes, destination=st.sampled_from("ab"), active=st.booleans())
    def edit(self, node: int, code: str, destination: str, active: bool) -> None:
        self._change(node, code, destination=f"https://example.com/{destination}", active=active)

    @rule(node=nodes, code=codes, style=st.none() | styles)
    def dress(self, node: int, code: str, style: str | None) -> None:
        if style is None or style in self._colors:
            self._change(node, code, style=style)

    def _change(self, node: int, code: str, **changes: Any) -> None:
        answer = self.ask(node, "PATCH", f"{self.acme.url}/qr-codes/{code}", json=changes)
        state = self._by_id[code].newest
        if state is None:
            assert answer.status_code == 404
            return
        assert answer.status_code == 200
        self._put(node, code, state._replace(**changes))

    @rule(node=nodes, code=codes)
    def delete(self, node: int, code: str) -> None:
        answer = self.ask(node, "DELETE", f"{self.acme.url}/qr-codes/{code}")
        if self._by_id[code].newest is None:
            assert answer.status_code == 404
            return
        assert answer.status_code == 204
        self._put(node, code, None)

    def _put(self, node: int, code: str, state: CodeState | None) -> None:
        for history in (self._by_id[code], self._by_slug[self._slug_of[code]]):
            history.put(state, self.now, node)
        self._shown[code].put(self._color_of(state), self.now, node)

    @rule(target=styles, node=nodes, color=st.sampled_from(COLORS), default=st.booleans())
    def make_style(self, node: int, color: str, default: bool) -> str:
        return self._make(node, color, default=default)

    def _make(self, node: int, color: str, *, default: bool) -> str:
        self._names += 1
        sent = {"name": f"style {self._names}", "color": color, "default": default}
        style: str = self.ask(node, "POST", f"{self.acme.url}/styles", json=sent).json["id"]
        self._colors[style] = color
        self._make_default(node, style, default=default)
        return style

    @rule(node=nodes, style=styles, color=st.sampled_from(COLORS), default=st.booleans())
    def change_style(self, node: int, style: str, color: str, default: bool) -> None:
        self._change_style(node, style, color, default=default)

    @rule(node=nodes, style=styles)
    def change_style_in_nothing(self, node: int, style: str) -> None:
        color = self._colors.get(style, BLACK)
        self._change_style(node, style, color, default=style == self._default)

    def _change_style(self, node: int, style: str, color: str, *, default: bool) -> None:
        sent = {"color": color, "default": default}
        answer = self.ask(node, "PATCH", f"{self.acme.url}/styles/{style}", json=sent)
        if style not in self._colors:
            assert answer.status_code == 404
            return
        assert answer.status_code == 200
        self._colors[style] = color
        self._make_default(node, style, default=default)

    @rule(node=nodes, style=styles)
    def delete_style(self, node: int, style: str) -> None:
        answer = self.ask(node, "DELETE", f"{self.acme.url}/styles/{style}")
        if style not in self._colors:
            assert answer.status_code == 404
        elif any(code.newest and code.newest.style == style for code in self._by_id.values()):
            assert answer.status_code == 409
        else:
            assert answer.status_code == 204
            del self._colors[style]
            self._make_default(node, style, default=False)

    def _make_default(self, node: int, style: str, *, default: bool) -> None:
        """Note that the node has changed the style, and whether it is the default one now."""
        own = {style}
        if default or self._default == style:
            # Those that have none of their own are shown in it, or no more.
            own.add("")
            self._default = style if default else None
        for code, shown in self._shown.items():
            state = self._by_id[code].newest
            if state is not None and (state.style or "") in own:
                shown.put(self._color_of(state), self.now, node)

    def _color_of(self, state: CodeState | None) -> str | None:
        """The colour that a code is shown in now."""
        if state is None:
            return None
        style = state.style or self._default
        return BLACK if style is None else self._colors[style]

    @rule(node=nodes)
    def clear_images(self, node: int) -> None:
        self.clear(node, Namespace.IMAGE)

    @rule()
    def lose_everything(self) -> None:
        self.lose()

    def look(self, node: int) -> None:
        for slug, states in self._by_slug.items():
            # It is not counted, and tells the same.
            answer = self.ask(node, "HEAD", f"/r/{slug}", {})
            found = answer.status_code, answer.headers.get("Location")
            assert found in [_redirect(state) for state in states.told(node, self.now)]
        for code in [*self._by_id][-2:]:
            self._read(node, code)
            self._see(node, code)

    def _read(self, node: int, code: str) -> None:
        answer = self.ask(node, "GET", f"{self.acme.url}/qr-codes/{code}")
        state = None
        if answer.status_code == 200:
            told = answer.json
            state = CodeState(told["destination"], told["active"], told["style"])
        assert state in self._by_id[code].told(node, self.now)

    def _see(self, node: int, code: str) -> None:
        headers = dict(self.acme.as_owner)
        if self.conditionally and code in self._tags:
            headers["If-None-Match"] = self._tags[code]
        path, options = f"{self.acme.url}/qr-codes/{code}/image", {"format": "svg", "size": "100"}
        answer = self.ask(node, "GET", path, headers, params=options)
        colors = self._shown[code].told(node, self.now)
        if answer.status_code == 404:
            assert None in colors
            return
        tag = answer.headers["ETag"]
        if answer.status_code == 304:
            assert tag == headers["If-None-Match"]
        else:
            match = DRAWN.search(answer.text)
            assert match is not None
            drawn_at = datetime.fromisoformat(match[2])
            assert self.was_made_since_clearing(Namespace.IMAGE, node, drawn_at)
            assert self._color_of_tag.setdefault(tag, match[1]) == match[1]
            assert tag != headers.get("If-None-Match")
            self._tags[code] = tag
        assert self._color_of_tag[tag] in colors


def _redirect(state: CodeState | None) -> tuple[int, str | None]:
    """Status and address that a scan is answered with."""
    if state is None:
        return 404, None
    return (302, state.destination) if state.active else (410, None)


class Counts(TwoNodes):
    """Scans are counted, and told as statistics and timelines."""

    codes = Bundle("codes")

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._alive: dict[str, History[bool]] = {}
        self._slug_of: dict[str, str] = {}
        # That of the organisation has no code.
        self._totals: dict[str, History[int]] = {"": History(0)}
        self._waiting: list[list[str]] = [[], []]
        self._tags: dict[str, str] = {}
        self._total_of_tag: dict[str, int] = {}

    @initialize(target=codes)
    def begin_with_a_code(self) -> str:
        return self._create(0)

    @precondition(lambda self: sum(code.newest for code in self._alive.values()) < 2)
    @rule(target=codes, node=nodes)
    def create(self, node: int) -> str:
        return self._create(node)

    def _create(self, node: int) -> str:
        sent = {"destination": "https://example.com"}
        answer = self.ask(node, "POST", f"{self.acme.url}/qr-codes", json=sent).json
        code: str = answer["id"]
        self._alive[code], self._totals[code] = History(True), History(0)
        self._slug_of[code] = answer["slug"]
        return code

    @rule(node=nodes, code=consumes(codes))
    def delete(self, node: int, code: str) -> None:
        assert self.ask(node, "DELETE", f"{self.acme.url}/qr-codes/{code}").status_code == 204
        self._alive[code].put(False, self.now, node)
        self._count(code, -self._totals[code].newest)

    @rule(span=st.sampled_from((9.5, 10.0, 15.0)))
    def wait_long(self, span: float) -> None:
        self.now += span

    @rule(
        node=nodes, code=codes, times=st.integers(1, 3), drain=st.sampled_from((True, True, False))
    )
    def scan(self, node: int, code: str, times: int, drain: bool) -> None:
        for _ in range(times):
            answer = self.ask(node, "GET", f"/r/{self._slug_of[code]}", {"User-Agent": PHONE})
            assert answer.status_code == 302
            self._waiting[node].append(code)
        if drain:
            self.drain(node)

    @rule(node=nodes)
    def drain(self, node: int) -> None:
        """As the drainer of a node does again and again."""
        self.nodes[node].services.drainer.drain()
        for code in self._waiting[node]:
            if self._alive[code].newest:
                self._count(code, 1)
        self._waiting[node].clear()

    def _count(self, code: str, number: int) -> None:
        for total in (self._totals[code], self._totals[""]):
            total.put(total.newest + number, self.now)

    @rule(node=nodes, namespace=st.sampled_from((Namespace.STATS, Namespace.TIMELINE)))
    def clear_answers(self, node: int, namespace: Namespace) -> None:
        self.clear(node, namespace)

    @rule()
    def lose_everything(self) -> None:
        self.lose()

    def look(self, node: int) -> None:
        for code in ["", *[*self._alive][-1:]]:
            for namespace in (Namespace.STATS, Namespace.TIMELINE):
                self._read(node, code, namespace)

    def _read(self, node: int, code: str, namespace: Namespace) -> None:
        path = f"{self.acme.url}/qr-codes/{code}" if code else self.acme.url
        path, headers = f"{path}/{namespace}", dict(self.acme.as_owner)
        if self.conditionally and path in self._tags:
            headers["If-None-Match"] = self._tags[path]
        answer = self.ask(node, "GET", path, headers)
        if code:
            is_there = answer.status_code != 404
            assert is_there in self._alive[code].told(node, self.now)
            if not is_there:
                return
        tag = answer.headers["ETag"]
        if answer.status_code == 304:
            assert tag == headers["If-None-Match"]
        else:
            self._tags[path] = tag
            self._total_of_tag[tag] = self._total(node, namespace, answer.json)
        assert self._total_of_tag[tag] in self._totals[code].told(node, self.now, LAG)

    def _total(self, node: int, namespace: Namespace, told: dict[str, Any]) -> int:
        made_at = datetime.fromisoformat(told["updated_at"])
        assert self.was_made_since_clearing(namespace, node, made_at)
        window = told["window"] if namespace is Namespace.STATS else told
        # The week ends with the day that it is now.
        end = datetime.fromisoformat(window["end"])
        assert timedelta(0) < end - self.clock() <= timedelta(days=1)
        total: int = window["total"]
        assert told.get("scans", total) == total
        return total


class Members(TwoNodes):
    """A person becomes a member, one of another role, or none, and signs in and out."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._role: History[Role | None] = History(None)
        self._sessions: dict[str, History[bool]] = {}

    @initialize()
    def begin_with_a_session(self) -> None:
        self._sign_in(0)

    @rule(node=nodes)
    def sign_in(self, node: int) -> None:
        self._sign_in(node)

    def _sign_in(self, node: int) -> None:
        sent = {"email": self.world.person.email, "password": PASSWORD}
        answer = self.ask(node, "POST", "/api/session", {}, json=sent)
        self._sessions[f"quietzone={answer.cookies['quietzone'].value}"] = History(True)

    @rule(node=nodes, every=st.booleans())
    def sign_out(self, node: int, every: bool) -> None:
        """End the last session, or all of them, as `quietzone user password` does."""
        if every:
            accounts = self.nodes[node].services.accounts
            accounts.change_password(self.world.person.email, PASSWORD)
            self._end_sessions(node)
            return
        cookie, alive = [*self._sessions.items()][-1]
        answer = self.ask(node, "DELETE", "/api/session", {"Cookie": cookie})
        assert (answer.status_code == 204) in alive.told(node, self.now)
        if answer.status_code == 204:
            alive.put(False, self.now, node)

    def _end_sessions(self, node: int) -> None:
        for alive in self._sessions.values():
            # Those that the other node has ended a moment ago, this one need not know of.
            if alive.newest:
                alive.put(False, self.now, node)

    @rule(node=nodes, role=st.sampled_from(ROLES))
    def give(self, node: int, role: Role) -> None:
        self._give(node, role)

    @rule(node=nodes, role=st.sampled_from(ROLES))
    def remove_and_add(self, node: int, role: Role) -> None:
        """One node removes the person, and the other one takes him back."""
        self._remove(1 - node)
        self._give(node, role)

    def _give(self, node: int, role: Role) -> None:
        if self._role.newest is None:
            # As whoever accepts an invitation joins.
            organizations = self.nodes[node].services.organizations
            organizations.add_membership(self.acme.id, self.world.person, role, by=OPERATOR)
        else:
            answer = self.ask(node, "PATCH", self._membership, json={"role": role})
            assert answer.status_code == 200
            if role is not self._role.newest:
                # With another role, he has to sign in again.
                self._end_sessions(node)
        self._role.put(role, self.now, node)

    @rule(node=nodes)
    def remove(self, node: int) -> None:
        self._remove(node)

    def _remove(self, node: int) -> None:
        answer = self.ask(node, "DELETE", self._membership)
        assert answer.status_code == (404 if self._role.newest is None else 204)
        if answer.status_code == 204:
            self._role.put(None, self.now, node)

    @property
    def _membership(self) -> str:
        return f"{self.acme.url}/members/{self.world.person.id}"

    def look(self, node: int) -> None:
        for cookie, alive in [*self._sessions.items()][-2:]:
            for needed in ROLES:
                status = self.attempt(node, needed, {"Cookie": cookie})
                if status == 401:
                    assert not alive.newest
                    break
                assert True in alive.told(node, self.now)
                roles = self._role.told(node, self.now)
                assert status in [_status(role, needed) for role in roles]
                if status in (403, 404):
                    # Nobody is refused what he may do now, whatever was so a moment ago.
                    assert _status(roles[-1], needed) in (403, 404)


def _status(role: Role | None, needed: Role) -> int:
    """What whoever has that role is answered to such an attempt."""
    if role is None:
        return 404
    if not role.includes(needed):
        return 403
    return 422 if needed is Role.OWNER else 200


class Keys(TwoNodes):
    """API keys come and go, and with an organisation all that it has."""

    keys = Bundle("keys")

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._keys: dict[str, tuple[dict[str, str], Role, History[bool]]] = {}
        self._globex: History[bool] = History(True)

    @initialize(target=keys)
    def begin_with_a_key(self) -> str:
        return self._make(0, Role.ADMIN)

    @rule(target=keys, node=nodes, role=st.sampled_from(ROLES))
    def make(self, node: int, role: Role) -> str:
        return self._make(node, role)

    def _make(self, node: int, role: Role) -> str:
        sent = {"name": "Key", "role": role}
        made = self.ask(node, "POST", f"{self.acme.url}/api-keys", json=sent).json
        headers = {"Authorization": f"Bearer {made['token']}"}
        key: str = made["key"]["id"]
        self._keys[key] = headers, role, History(True)
        return key

    @rule(node=nodes, key=keys)
    def delete(self, node: int, key: str) -> None:
        answer = self.ask(node, "DELETE", f"{self.acme.url}/api-keys/{key}")
        _, _, alive = self._keys[key]
        assert answer.status_code == (204 if alive.newest else 404)
        if answer.status_code == 204:
            alive.put(False, self.now, node)

    @precondition(lambda self: self._globex.newest)
    @rule(node=nodes)
    def end_globex(self, node: int) -> None:
        globex = self.world.globex
        assert self.ask(node, "DELETE", globex.url, globex.as_owner).status_code == 204
        self._globex.put(False, self.now, node)

    def look(self, node: int) -> None:
        globex, is_there = self.world.globex, self._globex.told(node, self.now)
        for headers in (globex.as_owner, {"Cookie": globex.cookie}):
            answer = self.ask(node, "GET", f"{globex.url}/members", headers)
            assert (answer.status_code == 200) in is_there
        assert (self.ask(node, "HEAD", f"/r/{globex.slug}", {}).status_code == 302) in is_there
        for headers, role, alive in [*self._keys.values()][-2:]:
            for needed in ROLES:
                status = self.attempt(node, needed, headers)
                assert (status != 401) in alive.told(node, self.now)
                assert status in (401, _status(role, needed))


def pace(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize("world", BACKENDS, indirect=True)
def test_changes_of_codes_and_styles_are_in_force_within_a_second(world: World) -> None:
    run_state_machine_as_test(lambda: Codes(world), settings=pace(12, 30))


@pytest.mark.parametrize("world", BACKENDS, indirect=True)
def test_numbers_are_ten_seconds_behind_the_stored_scans_at_most(world: World) -> None:
    run_state_machine_as_test(lambda: Counts(world), settings=pace(12, 30))


def test_who_may_do_more_does_so_at_once_and_who_may_do_less_is_kept_out_within_a_second(
    world: World,
) -> None:
    run_state_machine_as_test(lambda: Members(world), settings=pace(16, 40))


def test_deleted_keys_and_organizations_are_gone_within_a_second(world: World) -> None:
    run_state_machine_as_test(lambda: Keys(world), settings=pace(10, 20))
