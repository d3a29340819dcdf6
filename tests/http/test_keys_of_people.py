"""API keys end with the membership, or the role, of whoever made them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from core.app import Application
from core.domain.accounts import ApiKeyDraft, InvitationDraft, Role
from core.domain.audit import OPERATOR, Actor, ActorKind, Origin
from core.errors import NotFound, Unauthenticated
from tests.http.conftest import Api, Tenant


@pytest.fixture
def admin(app: Application, acme: Tenant) -> Api:
    return Api(app, {"Cookie": acme.cookies[Role.ADMIN]})


def make(api: Api, acme: Tenant, role: Role, name: str = "till") -> tuple[str, dict[str, Any]]:
    """The token and the document of a new key."""
    answer = api.post(f"{acme.url}/api-keys", {"name": name, "role": role.value})
    assert answer.status_code == 201, answer.text
    return answer.json["token"], answer.json["key"]


def by_key(app: Application, token: str) -> Api:
    return Api(app, {"Authorization": f"Bearer {token}"})


def status(app: Application, acme: Tenant, token: str) -> int:
    """What whoever uses the key is answered."""
    return by_key(app, token).get(acme.code_url).status_code


def member(acme: Tenant, role: Role = Role.ADMIN) -> str:
    return f"{acme.url}/members/{acme.users[role]}"


def test_a_key_tells_who_made_it_and_whoever_made_the_key_that_did(
    app: Application, admin: Api, acme: Tenant
) -> None:
    token, key = make(admin, acme, Role.ADMIN)
    assert key["created_by"] == str(acme.users[Role.ADMIN])
    _, second = make(by_key(app, token), acme, Role.MEMBER)
    assert second["created_by"] == str(acme.users[Role.ADMIN])
    # Of those that nobody is known to have made nobody is told.
    listed = admin.get(f"{acme.url}/api-keys").json["items"]
    assert [item["created_by"] for item in listed if item["name"] == "owner"] == [None]


@pytest.mark.parametrize("how", ["removed", "leaves", "removes himself", "removed by a key"])
def test_keys_end_with_the_membership_of_whoever_made_them(
    app: Application, owner: Api, admin: Api, acme: Tenant, globex: Tenant, how: str
) -> None:
    token, _ = make(admin, acme, Role.ADMIN)
    second, _ = make(by_key(app, token), acme, Role.MEMBER)
    others, _ = make(owner, acme, Role.MEMBER)
    person = app.services.storage.users.get(acme.users[Role.ADMIN])
    assert person is not None
    app.services.organizations.add_membership(globex.id, person, Role.ADMIN, by=OPERATOR)
    elsewhere, _ = make(admin, globex, Role.ADMIN)
    ask = {
        "removed": lambda: owner.delete(member(acme)),
        "leaves": lambda: admin.delete(f"{acme.url}/membership"),
        "removes himself": lambda: admin.delete(member(acme)),
        "removed by a key": lambda: by_key(app, acme.keys[Role.OWNER]).delete(member(acme)),
    }[how]
    assert ask().status_code == 204
    assert [status(app, acme, one) for one in (token, second, others)] == [401, 401, 200]
    assert status(app, globex, elsewhere) == 200
    ended = owner.get(f"{acme.url}/audit", params={"action": "api_key.delete"}).json["items"]
    assert [entry["subject"]["label"] for entry in ended] == ["till", "till"]


def test_keys_above_the_new_role_of_whoever_made_them_end(
    app: Application, owner: Api, admin: Api, acme: Tenant
) -> None:
    kept = [make(admin, acme, role)[0] for role in (Role.MEMBER, Role.EDITOR)]
    ended = [make(admin, acme, Role.ADMIN)[0]]
    assert owner.patch(member(acme), {"role": "editor"}).status_code == 200
    assert [status(app, acme, token) for token in kept] == [200, 200]
    assert [status(app, acme, token) for token in ended] == [401]


def test_keys_are_kept_by_whoever_takes_them_over(
    app: Application, owner: Api, admin: Api, acme: Tenant
) -> None:
    token, key = make(admin, acme, Role.ADMIN)
    gone = owner.delete(member(acme), params={"keep_keys": "true"})
    assert gone.status_code == 204
    assert status(app, acme, token) == 200
    before, after = (str(acme.users[role]) for role in (Role.ADMIN, Role.OWNER))
    listed = owner.get(f"{acme.url}/api-keys").json["items"]
    assert [one["created_by"] for one in listed if one["id"] == key["id"]] == [after]
    (entry,) = owner.get(f"{acme.url}/audit", params={"action": "api_key.change"}).json["items"]
    assert (entry["subject"]["id"], entry["changes"]) == (
        key["id"],
        {"created_by": {"before": before, "after": after}},
    )
    # So that it makes others, for which he answers as well.
    assert make(by_key(app, token), acme, Role.MEMBER)[1]["created_by"] == str(
        acme.users[Role.OWNER]
    )


def test_nobody_keeps_his_own_keys(app: Application, admin: Api, acme: Tenant) -> None:
    token, _ = make(admin, acme, Role.ADMIN)
    for api in (admin, by_key(app, token)):
        answer = api.delete(member(acme), params={"keep_keys": "true"})
        assert answer.status_code == 403
        assert "end with you" in answer.json["detail"]
    assert admin.get(acme.url).status_code == 200


def test_a_key_that_nobody_answers_for_takes_none_over(
    app: Application, admin: Api, acme: Tenant
) -> None:
    token, _ = make(admin, acme, Role.ADMIN)
    nobodys = by_key(app, acme.keys[Role.OWNER])
    answer = nobodys.delete(member(acme), params={"keep_keys": "true"})
    assert answer.status_code == 403
    assert "have a person remove" in answer.json["detail"]
    assert status(app, acme, token) == 200


def test_what_is_under_way_while_one_is_removed_is_refused(app: Application, acme: Tenant) -> None:
    services, users = app.services, acme.users
    key = next(k for k in services.organizations.keys(acme.id) if k.role is Role.ADMIN)
    person = services.storage.users.get(users[Role.ADMIN])
    assert person is not None
    by_person = Origin(Actor(ActorKind.USER, person.id, person.email))
    by_program = Origin(Actor(ActorKind.API_KEY, key.id, key.name))
    # Both have passed the gate, and come too late.
    services.organizations.remove_member(acme.id, person.id, by=OPERATOR)
    services.organizations.delete_key(acme.id, key.id, by=OPERATOR)
    draft, invited = ApiKeyDraft("till", Role.MEMBER), InvitationDraft("a@b.example", Role.MEMBER)
    acts: list[Callable[[Origin], object]] = [
        lambda by: services.organizations.add_key(acme.id, draft, by=by),
        lambda by: services.organizations.delete_key(acme.id, acme.key_id, by=by),
        lambda by: services.organizations.change_role(
            acme.id, users[Role.MEMBER], Role.ANALYST, by=by
        ),
        lambda by: services.organizations.remove_member(acme.id, users[Role.MEMBER], by=by),
        lambda by: services.invitations.invite(acme.id, invited, by=by),
        lambda by: services.invitations.withdraw(acme.id, acme.invitation_id, by=by),
    ]
    for act in acts:
        with pytest.raises(NotFound):
            act(by_person)
        with pytest.raises(Unauthenticated):
            act(by_program)


def test_what_a_key_has_invited_to_ends_with_the_membership_of_whoever_made_it(
    app: Application, owner: Api, admin: Api, acme: Tenant
) -> None:
    token, _ = make(admin, acme, Role.ADMIN)
    sent = {"email": "friend@example.com", "role": "admin"}
    url = f"{acme.url}/invitations"
    assert by_key(app, token).post(url, sent).status_code == 201
    assert owner.delete(member(acme)).status_code == 204
    waiting = owner.get(url).json["items"]
    assert "friend@example.com" not in [invitation["email"] for invitation in waiting]


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OWNER])
def test_everybody_may_leave(app: Application, owner: Api, acme: Tenant, role: Role) -> None:
    api = Api(app, {"Cookie": acme.cookies[role]})
    assert api.delete(f"{acme.url}/membership").status_code == 204
    assert api.get(acme.url).status_code == 404
    assert api.get("/api/session").status_code == 200
    members = owner.get(f"{acme.url}/members").json["items"]
    assert str(acme.users[role]) not in [one["user_id"] for one in members]
    params = {"action": "member.remove"}
    (entry,) = owner.get(f"{acme.url}/audit", params=params).json["items"]
    assert entry["actor"]["id"] == entry["subject"]["id"] == str(acme.users[role])


def test_the_last_owner_stays(owner: Api, acme: Tenant) -> None:
    answer = owner.delete(f"{acme.url}/membership")
    assert answer.status_code == 409
    assert "last owner" in answer.json["detail"]
    assert owner.get(acme.url).status_code == 200
