"""What several do to accounts at the same moment, in whole services over each database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from core.app import Application, create_app
from core.domain import totp
from core.domain.accounts import (
    Acceptance,
    ApiKeyDraft,
    Credentials,
    InvitationDraft,
    NewPassword,
    OrganizationDraft,
    Principal,
    Role,
)
from core.domain.audit import OPERATOR, Actor, ActorKind, Origin
from core.domain.validation import Secret
from core.errors import CodeRequired, Conflict, Forbidden, NotFound, Unauthenticated
from core.settings import Settings
from tests.conftest import BOTH
from tests.contract.test_storage import at_the_same_time
from tests.http.conftest import Clock, settings_in
from tests.letters import sent, token

PHRASE = "a quiet phrase of mine"
EMAIL = "ada@example.com"


@pytest.fixture(params=BOTH)
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Application]:
    more: dict[str, Any] = {}
    if request.param == "postgres":
        more = {
            "plugins": {"enabled": [*Settings().plugins.enabled, "postgres"]},
            "storage": {"backend": "postgres"},
            "plugin": {"postgres": {"dsn": request.getfixturevalue("postgres_dsn")}},
        }
    more["limits"] = {"sign_in_account": [], "letters": []}
    app = create_app(settings_in(tmp_path, **more), clock=Clock())
    app.services.open()
    app.services.storage.migrate()
    app.services.accounts.add_user(EMAIL, PHRASE)
    yield app
    app.services.close()


def found(app: Application, *owners: str) -> UUID:
    """A new organisation with these owners."""
    services = app.services
    organization = services.organizations.found(
        OrganizationDraft("Acme", "acme"), None, by=OPERATOR
    )
    for email in owners:
        user = services.accounts.find(email) or services.accounts.add_user(email, PHRASE)
        services.organizations.add_membership(organization.id, user, Role.OWNER, by=OPERATOR)
    return organization.id


def outcomes(*calls: Any) -> list[str]:
    """What becomes of calls at the same time: "" or the name of the error, sorted."""
    return sorted(
        type(each).__name__ if isinstance(each, Exception) else ""
        for each in at_the_same_time(*calls)
    )


@pytest.mark.parametrize("how", ["demote", "remove", "leave"])
def test_owners_who_end_each_other_leave_one_behind(app: Application, how: str) -> None:
    emails = [EMAIL, "bob@example.com", "eve@example.com"]
    organization_id, organizations = found(app, *emails), app.services.organizations
    people = [app.services.accounts.find(email) for email in emails]

    def end(number: int) -> None:
        # Each the next one, or himself.
        user = people[number if how == "leave" else (number + 1) % len(people)]
        assert user is not None
        if how == "demote":
            organizations.change_role(organization_id, user.id, Role.MEMBER, by=OPERATOR)
        else:
            organizations.remove_member(organization_id, user.id, by=OPERATOR)

    ended = outcomes(*(lambda n=n: end(n) for n in range(len(people))))
    assert ended == ["", "", Conflict.__name__]
    assert app.services.storage.memberships.owners(organization_id) == 1


@pytest.mark.parametrize("email", [EMAIL, "new@example.com"])
def test_of_many_who_accept_an_invitation_one_does(
    app: Application, email: str, caplog: pytest.LogCaptureFixture
) -> None:
    organization_id, invitations = found(app, "bob@example.com"), app.services.invitations
    invitations.invite(organization_id, InvitationDraft(email, Role.EDITOR), by=OPERATOR)
    link = token(sent(app, caplog)[-1])

    def accept() -> None:
        invitations.accept(
            Acceptance(Secret(link), Secret(PHRASE)), Principal(), by=lambda _: OPERATOR
        )

    assert outcomes(*[accept] * 4) == ["", *[NotFound.__name__] * 3]
    members = app.services.organizations.members(organization_id)
    assert [member.role for member in members if member.email == email] == [Role.EDITOR]


def test_of_many_who_invite_one_address_the_last_one_holds(app: Application) -> None:
    organization_id, invitations = found(app, EMAIL), app.services.invitations
    draft = InvitationDraft("new@example.com", Role.EDITOR)
    calls = [lambda: invitations.invite(organization_id, draft, by=OPERATOR)] * 4
    assert outcomes(*calls) == [""] * 4
    assert len(invitations.list(organization_id)) == 1


def test_a_reset_among_sign_ins_leaves_no_session_of_the_old_password(app: Application) -> None:
    accounts, resets = app.services.accounts, app.services.password_resets
    links = [resets.issue(EMAIL).partition("#token=")[2] for _ in range(2)]
    old = Credentials(EMAIL, Secret(PHRASE))

    def redeem(number: int) -> None:
        resets.redeem(NewPassword(Secret(links[number]), Secret(f"another phrase {number}")))

    ended = at_the_same_time(
        *[lambda: accounts.sign_in(old)] * 3, *(lambda n=n: redeem(n) for n in range(2))
    )
    for each in ended[:3]:
        assert isinstance(each, tuple | Unauthenticated)
    assert sorted(type(each).__name__ for each in ended[3:]) == ["NoneType", NotFound.__name__]
    user = accounts.find(EMAIL)
    assert user is not None
    assert accounts.sessions(user) == []


def test_of_many_who_sign_in_with_one_code_one_is_let_in(app: Application) -> None:
    accounts, clock = app.services.accounts, app.services.clock
    assert isinstance(clock, Clock)
    _, session, user = accounts.sign_in(Credentials(EMAIL, Secret(PHRASE)))
    accounts.begin_second_factor(user, Secret(PHRASE))
    factor = app.services.storage.second_factors.get(user.id)
    assert factor is not None

    def code() -> Secret:
        return Secret(totp.code(factor.secret, totp.step_of(clock.now)))

    principal = Principal(user=user, session=session)
    recovery, *_ = accounts.confirm_second_factor(principal, code())
    clock.forward(minutes=1)
    for each in (code(), Secret(recovery)):
        sent = Credentials(EMAIL, Secret(PHRASE), each)
        ended = outcomes(*[lambda s=sent: accounts.sign_in(s)] * 4)
        assert ended == ["", *[CodeRequired.__name__] * 3]
    assert len(accounts.sessions(user)) == 3


@pytest.mark.parametrize("how", ["removed", "demoted"])
def test_nothing_that_somebody_makes_while_his_role_is_taken_away_stays(
    app: Application, how: str
) -> None:
    organization_id, services = found(app, EMAIL, "bob@example.com"), app.services
    bob = services.accounts.find("bob@example.com")
    assert bob is not None
    by = Origin(Actor(ActorKind.USER, bob.id, bob.email))
    draft = ApiKeyDraft("till", Role.OWNER)

    def make() -> None:
        services.organizations.add_key(organization_id, draft, by=by)

    def invite(email: str) -> None:
        services.invitations.invite(organization_id, InvitationDraft(email, Role.OWNER), by=by)

    def end() -> None:
        if how == "removed":
            services.organizations.remove_member(organization_id, bob.id, by=OPERATOR)
        else:
            services.organizations.change_role(organization_id, bob.id, Role.MEMBER, by=OPERATOR)

    ended = at_the_same_time(make, lambda: invite("a@example.com"), end, make, make)
    refusals = (NotFound, Forbidden)
    assert all(isinstance(one, refusals) for one in ended if isinstance(one, Exception)), ended
    assert services.organizations.keys(organization_id) == []
    assert services.invitations.list(organization_id) == []
