"""Invitations: who may invite, who may accept, and what nobody is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from core.app import Application
from core.domain.accounts import Acceptance, Principal, Role
from core.domain.audit import OPERATOR
from core.domain.validation import Secret
from core.errors import NotFound
from core.services import invitations as module
from tests.contract.test_storage import at_the_same_time
from tests.http.conftest import PASSWORD, Api, Clock, Tenant
from tests.letters import sent, token

NEW = {"email": "new@example.com", "role": "editor"}
PHRASE = "a quiet phrase of mine"

Invite = Callable[..., str]


@pytest.fixture
def invite(app: Application, owner: Api, acme: Tenant, caplog: pytest.LogCaptureFixture) -> Invite:
    """Invites somebody to Acme; the token that the letter brings."""

    def invited(email: str = "new@example.com", role: str = "editor") -> str:
        body = {"email": email, "role": role}
        answer = owner.post(f"{acme.url}/invitations", body)
        assert answer.status_code == 201, answer.text
        letter = sent(app, caplog)[-1]
        assert letter.startswith(f"to '{email}': 'Invitation to \"Acme\"': ")
        assert f"http://qz.test/invitations#token={token(letter)} " in letter
        assert token(letter) not in answer.text
        return token(letter)

    return invited


def accept(api: Api, token: str, **more: Any) -> Any:
    return api.post("/api/invitations/accept", {"token": token, **more})


def sign_in(app: Application, email: str, password: str = PASSWORD) -> Api:
    answer = Api(app, {}).post("/api/session", {"email": email, "password": password})
    assert answer.status_code == 201, answer.text
    return Api(app, {"Cookie": f"quietzone={answer.cookies['quietzone'].value}"})


def emails(api: Api, tenant: Tenant) -> set[str]:
    return {member["email"] for member in api.get(f"{tenant.url}/members").json["items"]}


def test_whoever_has_no_account_makes_one(
    app: Application, anonymous: Api, owner: Api, acme: Tenant, invite: Invite
) -> None:
    answer = accept(anonymous, invite(), password=PHRASE, name="Newton")
    assert answer.status_code == 201
    assert (answer.json["slug"], answer.json["role"]) == ("acme", "editor")
    # One way to sign in: the acceptance is none.
    assert "Set-Cookie" not in answer.headers
    me = sign_in(app, "new@example.com", PHRASE).get("/api/session").json
    assert (me["user"]["name"], me["organizations"][0]["role"]) == ("Newton", "editor")
    assert "new@example.com" in emails(owner, acme)
    listed = owner.get(f"{acme.url}/invitations").json["items"]
    assert "new@example.com" not in [item["email"] for item in listed]


def test_a_link_works_once(anonymous: Api, invite: Invite) -> None:
    link = invite()
    assert accept(anonymous, link, password=PHRASE).status_code == 201
    again = accept(anonymous, link, password=PHRASE)
    wrong = accept(anonymous, "x" * 43, password=PHRASE)
    assert again.status_code == wrong.status_code == 404
    assert again.json["detail"] == wrong.json["detail"]


def test_of_many_who_use_a_link_at_a_time_one_may(app: Application, invite: Invite) -> None:
    link = invite()

    def use() -> str:
        try:
            sent = Acceptance(Secret(link), Secret(PHRASE))
            return app.services.invitations.accept(sent, Principal(), by=lambda _: OPERATOR)[0].slug
        except NotFound:
            return ""

    assert sorted(at_the_same_time(*[use] * 4)) == ["", "", "", "acme"]


def test_a_link_ends_with_its_time(
    app: Application, anonymous: Api, owner: Api, acme: Tenant, clock: Clock, invite: Invite
) -> None:
    link = invite()
    clock.forward(days=7)
    assert accept(anonymous, link, password=PHRASE).status_code == 404
    assert owner.get(f"{acme.url}/invitations").json["items"] == []
    # What has expired is removed by the next one.
    invite("other@example.com")
    assert len(app.services.storage.invitations.of_organization(acme.id)) == 1


def test_a_link_holds_until_its_last_moment(anonymous: Api, clock: Clock, invite: Invite) -> None:
    link = invite()
    clock.forward(days=6, hours=23, minutes=59)
    assert accept(anonymous, link, password=PHRASE).status_code == 201


def test_a_password_that_cannot_be_taken_leaves_the_link_as_it_was(
    anonymous: Api, invite: Invite
) -> None:
    link = invite()
    for password in ("short", "1qaz2wsx3edc", "NEW@example.com"):
        answer = accept(anonymous, link, password=password)
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json["errors"]] == ["password"]
    assert accept(anonymous, link, password=PHRASE).status_code == 201


def test_the_link_alone_does_not_open_an_account_that_exists(
    app: Application, anonymous: Api, owner: Api, acme: Tenant, invite: Invite
) -> None:
    link = invite("outsider@example.com")
    assert accept(anonymous, link).status_code == 401
    assert accept(anonymous, link, password=PHRASE).status_code == 401
    # Neither was the password set, nor has anybody joined.
    sign_in(app, "outsider@example.com")
    assert "outsider@example.com" not in emails(owner, acme)
    assert accept(anonymous, link, password=PASSWORD, name="Other").status_code == 201
    found = app.services.accounts.find("outsider@example.com")
    assert found is not None
    assert found.name == ""


def test_who_is_signed_in_as_the_one_who_is_invited_accepts_without_a_password(
    app: Application, invite: Invite
) -> None:
    link = invite("outsider@example.com")
    me = sign_in(app, "outsider@example.com")
    answer = accept(me, link)
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert [o["slug"] for o in me.get("/api/organizations").json["items"]] == ["acme"]


def test_who_is_signed_in_as_somebody_else_does_not_accept(
    app: Application, globex: Tenant, invite: Invite
) -> None:
    other = Api(app, {"Cookie": globex.cookies[Role.MEMBER]})
    link = invite("outsider@example.com")
    assert accept(other, link).status_code == 403
    # With the password of the one who is invited, it does not matter who is signed in.
    assert accept(other, link, password=PASSWORD).status_code == 201
    slugs = [o["slug"] for o in other.get("/api/organizations").json["items"]]
    assert slugs == ["globex"]


def test_a_cookie_that_holds_no_longer_is_nobody(app: Application, invite: Invite) -> None:
    forged = Api(app, {"Cookie": "quietzone=forged"})
    link = invite()
    assert accept(forged, link).status_code == 401
    assert accept(forged, link, password=PHRASE).status_code == 201


def test_another_site_cannot_accept(app: Application, invite: Invite) -> None:
    link = invite("outsider@example.com")
    me = sign_in(app, "outsider@example.com")
    foreign = {"Sec-Fetch-Site": "cross-site"}
    body = {"token": link}
    assert me.post("/api/invitations/accept", body, headers=foreign).status_code == 403


def test_to_invite_tells_nothing_of_whether_there_is_an_account(owner: Api, acme: Tenant) -> None:
    answers = []
    for email in ("outsider@example.com", "nobody@example.com"):
        answer = owner.post(f"{acme.url}/invitations", {"email": email, "role": "member"})
        assert answer.status_code == 201
        answers.append(
            {n: v for n, v in answer.json.items() if n not in ("id", "email", "created_at")}
        )
    assert answers[0] == answers[1]


def test_invitations_are_listed_without_their_links(
    app: Application, owner: Api, acme: Tenant, invite: Invite
) -> None:
    link = invite()
    answer = owner.get(f"{acme.url}/invitations")
    assert link not in answer.text
    (item,) = [item for item in answer.json["items"] if item["email"] == "new@example.com"]
    assert item["invited_by"] == str(acme.users[Role.OWNER])
    assert item["expires_at"] == "2026-05-13T12:00:00Z"
    key = Api(app, {"Authorization": f"Bearer {acme.keys[Role.ADMIN]}"})
    made = key.post(f"{acme.url}/invitations", {"email": "b@example.com", "role": "member"})
    assert made.json["invited_by"] is None


def test_a_token_is_not_stored_as_it_is(app: Application, invite: Invite) -> None:
    link = invite()
    stored = b"".join(path.read_bytes() for path in app.settings.data.iterdir() if path.is_file())
    assert b"new@example.com" in stored
    assert link.encode() not in stored


def test_a_withdrawn_invitation_holds_no_longer(
    anonymous: Api, owner: Api, acme: Tenant, invite: Invite
) -> None:
    link = invite()
    url = f"{acme.url}/invitations"
    (item,) = [i for i in owner.get(url).json["items"] if i["email"] == "new@example.com"]
    assert owner.delete(f"{url}/{item['id']}").status_code == 204
    assert owner.delete(f"{url}/{item['id']}").status_code == 404
    assert accept(anonymous, link, password=PHRASE).status_code == 404


def test_a_second_invitation_takes_the_place_of_the_first(
    anonymous: Api, owner: Api, acme: Tenant, invite: Invite
) -> None:
    first, second = invite(role="admin"), invite(role="member")
    listed = owner.get(f"{acme.url}/invitations").json["items"]
    assert [i["role"] for i in listed if i["email"] == "new@example.com"] == ["member"]
    assert accept(anonymous, first, password=PHRASE).status_code == 404
    assert accept(anonymous, second, password=PHRASE).json["role"] == "member"


def test_nobody_invites_to_a_role_above_his_own_or_withdraws_such_an_invitation(
    app: Application, acme: Tenant, invite: Invite
) -> None:
    admin = Api(app, {"Cookie": acme.cookies[Role.ADMIN]})
    url = f"{acme.url}/invitations"
    assert admin.post(url, {**NEW, "role": "owner"}).status_code == 403
    invite(role="owner")
    assert admin.post(url, {**NEW, "role": "member"}).status_code == 403
    (item,) = [i for i in admin.get(url).json["items"] if i["role"] == "owner"]
    assert admin.delete(f"{url}/{item['id']}").status_code == 403


def test_a_member_is_not_invited(owner: Api, acme: Tenant) -> None:
    body = {"email": "Member@ACME.example", "role": "editor"}
    answer = owner.post(f"{acme.url}/invitations", body)
    assert answer.status_code == 409
    assert "member already" in answer.json["detail"]


@pytest.mark.parametrize("how", ["removed", "demoted"])
def test_what_an_admin_has_invited_to_ends_with_his_role(
    app: Application,
    owner: Api,
    anonymous: Api,
    acme: Tenant,
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    admin = Api(app, {"Cookie": acme.cookies[Role.ADMIN]})
    assert admin.post(f"{acme.url}/invitations", NEW).status_code == 201
    link = token(sent(app, caplog)[-1])
    member = f"{acme.url}/members/{acme.users[Role.ADMIN]}"
    if how == "removed":
        owner.delete(member)
    else:
        owner.patch(member, {"role": "member"})
    assert accept(anonymous, link, password=PHRASE).status_code == 404


def test_whoever_is_removed_does_not_come_back_by_an_invitation_that_he_still_has(
    app: Application, owner: Api, anonymous: Api, acme: Tenant, invite: Invite
) -> None:
    link = invite("late@example.com")
    # He came in by another way, before he accepted.
    late = app.services.accounts.add_user("late@example.com", PHRASE)
    app.services.organizations.add_membership(acme.id, late, Role.MEMBER, by=OPERATOR)
    assert owner.delete(f"{acme.url}/members/{late.id}").status_code == 204
    assert accept(anonymous, link, password=PHRASE).status_code == 404


def test_the_one_who_is_invited_accepts_whoever_is_signed_in(
    app: Application, owner: Api, acme: Tenant, globex: Tenant, invite: Invite
) -> None:
    link = invite("outsider@example.com")
    stranger = Api(app, {"Cookie": globex.cookies[Role.OWNER]})
    assert accept(stranger, link, password=PASSWORD).status_code == 201
    added = owner.get(f"{acme.url}/audit", params={"action": "member.add"}).json["items"]
    (entry,) = [one for one in added if one["subject"]["label"] == "outsider@example.com"]
    assert entry["actor"]["name"] == "outsider@example.com"
    # The stranger's session is none of the person's, and goes on.
    assert stranger.get("/api/session").status_code == 200


def test_an_organization_that_ended_lets_nobody_in(
    anonymous: Api, owner: Api, acme: Tenant, invite: Invite
) -> None:
    link = invite()
    assert owner.delete(acme.url).status_code == 204
    assert accept(anonymous, link, password=PHRASE).status_code == 404


def test_there_is_an_end_to_invitations(
    app: Application, owner: Api, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.services.invitations, "_most", 2)
    url = f"{acme.url}/invitations"
    assert owner.post(url, NEW).status_code == 201
    # To the same address again is none more.
    assert owner.post(url, NEW).status_code == 201
    answer = owner.post(url, {**NEW, "email": "b@example.com"})
    assert answer.status_code == 409
    assert "accounts.max_invitations" in answer.json["detail"]


def test_names_of_organizations_stay_in_their_line(
    app: Application, owner: Api, acme: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    name = "Acme\n\nBcc: eve@evil.example\t" + "x" * 150
    assert owner.patch(acme.url, {"name": name}).status_code == 200
    assert owner.post(f"{acme.url}/invitations", NEW).status_code == 201
    letter = sent(app, caplog)[-1]
    assert "'Invitation to \"Acme Bcc: eve@evil.example xxx" in letter
    assert "x" * 80 not in letter


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": "no address", "role": "member"},
        {"email": "a@b.example", "role": "king"},
        {"email": "a@b.example\nBcc: eve@evil.example", "role": "member"},
        {"email": "a@b.example", "role": "member", "password": "x"},
    ],
)
def test_what_is_wrong_with_an_invitation_is_told(
    owner: Api, acme: Tenant, body: dict[str, str]
) -> None:
    assert owner.post(f"{acme.url}/invitations", body).status_code == 422


def test_nobody_is_made_a_member_but_by_an_invitation(owner: Api, acme: Tenant) -> None:
    assert owner.post(f"{acme.url}/members", NEW).status_code == 405


def test_links_lead_to_the_operators_own_pages_if_he_has_some(app: Application) -> None:
    settings = replace(
        app.settings,
        accounts=replace(app.settings.accounts, link_base="https://app.example.com/join/"),
    )
    assert settings.link_base == "https://app.example.com/join"
    assert module.PAGE == "invitations"
