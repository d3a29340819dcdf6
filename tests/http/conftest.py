"""Two organisations in one service, with a person and a key of every role in each."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from falcon.testing import Result, TestClient

from core.app import Application, create_app
from core.domain.accounts import Credentials, Invitation, OrganizationDraft, Role
from core.domain.audit import OPERATOR
from core.domain.codes import BusinessCode, Code, CodeDraft
from core.domain.logos import Logo, LogoInfo, LogoType
from core.domain.looks import PLAIN, Style
from core.domain.validation import Secret
from core.errors import StorageUnavailable
from core.extension import host
from core.settings import Settings, parse

PASSWORD = "correct horse battery"
LOGO = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9" width="9" height="9">'
    b'<path d="M0 0h9v9z"/></svg>'
)
START = datetime(2026, 5, 6, 12, 0, tzinfo=UTC)


class Clock:
    """A clock that stands until a test moves it."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **span: float) -> None:
        self.now += timedelta(**span)


class Tenant(msgspec.Struct):
    """One organisation and everything that a test needs to act in it."""

    id: UUID
    slug: str
    code: Code
    users: dict[Role, UUID]
    cookies: dict[Role, str]
    keys: dict[Role, str]
    key_id: UUID
    invitation_id: UUID
    style_id: UUID
    logo_id: UUID

    @property
    def url(self) -> str:
        return f"/api/organizations/{self.id}"

    @property
    def code_url(self) -> str:
        return f"{self.url}/qr-codes/{self.code.id}"


def address(path: str, tenant: Tenant) -> str:
    """The address of a route, or of a path of the OpenAPI document, at which there is something."""
    values = {
        "org_id": tenant.id,
        "qr_id": tenant.code.id,
        "user_id": tenant.users[Role.MEMBER],
        "key_id": tenant.key_id,
        "invitation_id": tenant.invitation_id,
        "style_id": tenant.style_id,
        "logo_id": tenant.logo_id,
        # A session has an id that nobody has seen yet.
        "session_id": UUID(int=1),
        "slug": tenant.code.slug,
        "signature": "none",
        "file": "none.png",
        "sheet_format": "pdf",
    }
    return re.sub(r"{(\w+)(?::\w+)?}", lambda field: str(values[field[1]]), path)


class Seed(msgspec.Struct):
    """What the prepared database holds; every test works on its own copy of that database."""

    acme: Tenant
    globex: Tenant
    outsider: str


class Api:
    """A client that speaks for one caller, by cookie or by API key."""

    def __init__(self, app: Application, headers: dict[str, str]) -> None:
        self._app = app
        self._client = TestClient(app)
        self._headers = headers

    def __call__(self, method: str, path: str, **request: Any) -> Result:
        headers = {**self._headers, **request.pop("headers", {})}
        answer = self._client.simulate_request(method, path, headers=headers, **request)
        if path.lower().startswith("/r/"):
            # What a process of its own does in the service, as soon as there is a scan.
            with suppress(StorageUnavailable):
                self._app.services.drainer.drain()
        return answer

    def get(self, path: str, **request: Any) -> Result:
        return self("GET", path, **request)

    def post(self, path: str, json: Any = None, **request: Any) -> Result:
        return self("POST", path, json=json, **request)

    def patch(self, path: str, json: Any = None, **request: Any) -> Result:
        return self("PATCH", path, json=json, **request)

    def put(self, path: str, json: Any = None, **request: Any) -> Result:
        return self("PUT", path, json=json, **request)

    def delete(self, path: str, **request: Any) -> Result:
        return self("DELETE", path, **request)


def settings_in(folder: Path, **sections: dict[str, Any]) -> Settings:
    tree: dict[str, Any] = {
        "service": {"data": str(folder), "base_url": "http://qz.test"},
        "accounts": {"argon2_memory_kib": 8192, "argon2_time_cost": 1},
        "log": {"requests": False},
        # What a test has scanned shows at once.
        "cache": {"backend": "memory", "answer_lag": 0.0},
    }
    for name, options in sections.items():
        tree[name] = {**tree.get(name, {}), **options}
    return parse(tree, {})


@pytest.fixture(scope="session", autouse=True)
def installed_once() -> Iterator[None]:
    """PERF: files of all installed packages are read for it, and nobody installs any meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host, "entry_points", cache(host.entry_points))
        yield


@pytest.fixture(scope="session")
def prepared(installed_once: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Seed]:
    folder = tmp_path_factory.mktemp("prepared")
    app = create_app(settings_in(folder), clock=Clock())
    app.services.open()
    app.services.storage.migrate()
    acme, globex = _tenant(app, "acme"), _tenant(app, "globex")
    outsider = app.services.accounts.add_user("outsider@example.com", PASSWORD)
    app.services.close()
    return folder, Seed(acme, globex, outsider.email)


def _tenant(app: Application, slug: str) -> Tenant:
    services = app.services
    organization = services.organizations.found(
        OrganizationDraft(slug.title(), slug), None, by=OPERATOR
    )
    code = services.codes.create(
        organization.id,
        CodeDraft(destination=f"https://{slug}.example/menu", slug=f"{slug}-menu"),
        by=OPERATOR,
    )
    services.organizations.set_business_code(
        organization.id, BusinessCode(f"https://{slug}.example"), by=OPERATOR
    )
    users, cookies, keys = {}, {}, {}
    for role in Role:
        email = f"{role}@{slug}.example"
        user = services.accounts.add_user(email, PASSWORD, role.value)
        services.organizations.add_membership(organization.id, user, role, by=OPERATOR)
        token, _, _ = services.accounts.sign_in(Credentials(email, Secret(PASSWORD)))
        users[role], cookies[role] = user.id, f"quietzone={token}"
        keys[role], _ = services.accounts.new_key(organization.id, role.value, role, None)
    key_id = next(
        key.id for key in services.organizations.keys(organization.id) if key.role is Role.MEMBER
    )
    invitation = Invitation(
        id=uuid4(),
        organization_id=organization.id,
        email=f"invited@{slug}.example",
        role=Role.MEMBER,
        invited_by=None,
        token_hash=slug.encode(),
        created_at=START,
        expires_at=START + timedelta(days=7),
    )
    services.storage.invitations.put(invitation)
    style = Style(uuid4(), organization.id, "Seeded", PLAIN, False, START, START)
    services.storage.styles.add(style)
    logo = LogoInfo(uuid4(), organization.id, "Seeded", LogoType.SVG, 9, 9, START)
    services.storage.logos.add(Logo(logo, LOGO))
    return Tenant(
        id=organization.id,
        slug=slug,
        code=code,
        users=users,
        cookies=cookies,
        keys=keys,
        key_id=key_id,
        invitation_id=invitation.id,
        style_id=style.id,
        logo_id=logo.id,
    )


@pytest.fixture
def seed(prepared: tuple[Path, Seed]) -> Seed:
    return prepared[1]


@pytest.fixture
def acme(seed: Seed) -> Tenant:
    return seed.acme


@pytest.fixture
def globex(seed: Seed) -> Tenant:
    return seed.globex


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sections() -> dict[str, dict[str, Any]]:
    """Settings that a test module overrides with a fixture of this name."""
    return {}


@pytest.fixture
def app(
    prepared: tuple[Path, Seed],
    tmp_path: Path,
    clock: Clock,
    sections: dict[str, dict[str, Any]],
) -> Iterator[Application]:
    folder = tmp_path / "data"
    shutil.copytree(prepared[0], folder)
    app = create_app(settings_in(folder, **sections), clock=clock)
    app.services.open()
    yield app
    app.services.close()


@pytest.fixture
def anonymous(app: Application) -> Api:
    return Api(app, {})


@pytest.fixture
def owner(app: Application, acme: Tenant) -> Api:
    return Api(app, {"Cookie": acme.cookies[Role.OWNER]})


@pytest.fixture
def editor(app: Application, acme: Tenant) -> Api:
    return Api(app, {"Cookie": acme.cookies[Role.EDITOR]})
