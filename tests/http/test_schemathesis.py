"""Schemathesis reads the OpenAPI document and holds the service to it, as the owner of Acme.

Every check is on, apart from what is said here. `positive_data_acceptance` leaves out the
operations in `UNTOLD`, and texts with control characters. `object_level_authorization` has nothing
to compare with, since it needs a second identity: `test_roles` tries every call on the things of
others. The checks of sequences (`use_after_free`, `ensure_resource_availability`) need some, which
the last test makes.
"""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis.specs.openapi.checks import positive_data_acceptance

from core.app import Application, create_app
from core.domain.accounts import Role
from tests.http.conftest import LOGO, Clock, Seed, Tenant, settings_in

# A schema cannot say that a password is the right one, that a style exists, that a window ends
# after it begins, that a content has what its standard asks for, or that a look can be scanned: the
# service answers 422.
UNTOLD = re.compile(
    r"POST .*/(invitations|api-keys|qr-codes|bulk|images|styles|logos)"
    r"|POST .*/(password-resets|redeem|accept|second-factor|confirm|disable)"
    r"|PUT .*/(qr-business|password)"
    r"|PATCH .*/(\{qr_id\}|\{style_id\})"
    r"|GET .*/(images\.zip|sheet\.\{sheet_format\}|image|image-url|timeline|stats|scans|audit)"
    r"|GET /i/.*"
)
ENDING = (
    "POST /api/session",
    "POST /api/invitations/accept",
    "DELETE /api/session",
    "DELETE /api/organizations/{org_id}",
)
"""What has to do with credentials that hold no longer."""
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (9, 9)).save(file, "PNG")
    return file.getvalue()


schemathesis.openapi.format(
    "iri", st.sampled_from(["https://example.com/menu", "http://b\u00fccher.example/\u00fc?q=1#x"])
)
schemathesis.openapi.media_type("image/png", st.just(png()) | st.binary(max_size=40))
schemathesis.openapi.media_type("image/svg+xml", st.just(LOGO) | st.binary(max_size=40))

fuzzed = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


class Service:
    """The application of the running test, behind one WSGI callable that never changes."""

    def __init__(self) -> None:
        # Nothing of it is opened: only the document is read, before there are tests.
        self.app: Application = create_app(settings_in(Path("unused")))

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return self.app(environ, start_response)


SERVICE = Service()


def described(examples: int, *, coverage: bool = True) -> Any:
    """The interface as the document describes it, with so many random examples of each operation.

    Coverage is what Schemathesis makes of each keyword of a schema: its limits and beyond.
    """
    return schemathesis.openapi.from_wsgi(
        "/api/openapi.json",
        SERVICE,
        config=schemathesis.Config.from_dict(
            {
                "seed": 20260506,
                "generation": {
                    "deterministic": True,
                    "max-examples": examples,
                    "with-security-parameters": False,
                    "no-shrink": True,
                },
                "phases": {"coverage": {"enabled": coverage}},
            }
        ),
    )


FULL, QUICK = described(4), described(2, coverage=False)
FOR_PEOPLE = (
    r"^/api/(session|sessions(/\{session_id\})?|password|second-factor(/\w+)?|organizations)$"
)


@pytest.fixture
def service(app: Application) -> Iterator[Application]:
    before, SERVICE.app = SERVICE.app, app
    yield app
    SERVICE.app = before


def by_key(acme: Tenant) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {acme.keys[Role.OWNER]}"}}


def by_session(acme: Tenant) -> dict[str, Any]:
    name, _, token = acme.cookies[Role.OWNER].partition("=")
    # Sent as a cookie; the header tells Schemathesis that it was not made up.
    return {"cookies": {name: token}, "headers": {"Cookie": acme.cookies[Role.OWNER]}}


def try_out(case: schemathesis.Case, acme: Tenant, credential: dict[str, Any]) -> None:
    """Make the call, and hold the answer against the document."""
    settle(case, acme)
    told = not UNTOLD.fullmatch(case.operation.label)
    told = told and not has_control(case.body) and not has_control(case.query)
    excluded = [] if told else [positive_data_acceptance]
    answer = case.call_and_validate(**credential, excluded_checks=excluded)
    # Nothing was tried if nobody was let in.
    assert answer.status_code != 401 or case.operation.label in ENDING


def settle(case: schemathesis.Case, acme: Tenant) -> None:
    """Have the case ask for things that are there, because nobody guesses an id."""
    known = {
        "org_id": acme.id,
        "qr_id": acme.code.id,
        "user_id": acme.users[Role.MEMBER],
        "key_id": acme.key_id,
        "invitation_id": acme.invitation_id,
        "style_id": acme.style_id,
        "logo_id": acme.logo_id,
    }
    for name in known.keys() & case.path_parameters.keys():
        if is_id(case.path_parameters[name]):
            case.path_parameters[name] = str(known[name])


def is_id(value: object) -> bool:
    try:
        return str(UUID(str(value))) == value
    except ValueError:
        return False


def has_control(value: object) -> bool:
    if isinstance(value, str):
        return CONTROL.search(value) is not None
    if isinstance(value, Mapping):
        return any(map(has_control, value.values()))
    return isinstance(value, list) and any(map(has_control, value))


@FULL.parametrize()
@fuzzed
def test_by_key(case: schemathesis.Case, service: Application, acme: Tenant) -> None:
    try_out(case, acme, by_key(acme))


@FULL.include(path_regex=FOR_PEOPLE).parametrize()
@fuzzed
def test_what_only_people_may_do(
    case: schemathesis.Case, service: Application, acme: Tenant
) -> None:
    try_out(case, acme, by_session(acme))


@QUICK.exclude(path_regex=FOR_PEOPLE).parametrize()
@fuzzed
def test_by_session(case: schemathesis.Case, service: Application, acme: Tenant) -> None:
    try_out(case, acme, by_session(acme))


@pytest.mark.parametrize("things", ["qr-codes", "styles", "logos", "api-keys"])
def test_what_was_made_is_there_until_it_is_deleted(
    prepared: tuple[Path, Seed], tmp_path: Path, things: str
) -> None:
    folder, seed = prepared
    acme = seed.acme
    few = QUICK.include(path_regex=rf"/{things}(/\{{\w+\}})?$")
    seen: set[tuple[str, int]] = set()

    class Sequence(few.as_state_machine()):  # type: ignore[misc]
        """One call leads to the next, by the ids in its answer."""

        def setup(self) -> None:
            # Each sequence finds what the others found: Hypothesis repeats some.
            shutil.copytree(folder, tmp_path / "data")
            SERVICE.app = create_app(settings_in(tmp_path / "data"), clock=Clock())
            SERVICE.app.services.open()

        def teardown(self) -> None:
            SERVICE.app.services.close()
            shutil.rmtree(tmp_path / "data")

        def before_call(self, case: schemathesis.Case) -> None:
            if is_id(case.path_parameters.get("org_id")):
                case.path_parameters["org_id"] = str(acme.id)

        def get_call_kwargs(self, case: schemathesis.Case) -> dict[str, Any]:
            return by_key(acme)

        def after_call(self, response: Any, case: schemathesis.Case) -> None:
            super().after_call(response, case)
            seen.add((case.method, response.status_code))

        def validate_response(self, response: Any, case: schemathesis.Case, **sent: Any) -> None:
            case.validate_response(
                response,
                headers=sent["headers"],
                excluded_checks=[positive_data_acceptance],
                transport_kwargs=sent,
                recorder=self.recorder,
            )

    Sequence.run(
        settings=settings(
            fuzzed, max_examples=6, stateful_step_count=8, phases=[Phase.generate], database=None
        )
    )
    assert {("POST", 201), ("DELETE", 204), ("DELETE", 404)} <= seen
