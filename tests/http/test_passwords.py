"""Changing a password, and replacing a lost one."""

from __future__ import annotations

from typing import Any

import pytest
from argon2 import PasswordHasher

from core.app import Application
from core.domain.accounts import Credentials, NewPassword, Role
from core.domain.validation import Secret
from core.errors import NotFound, StorageUnavailable, Unauthenticated
from tests.contract.test_storage import at_the_same_time
from tests.http.conftest import PASSWORD, Api, Clock, Tenant
from tests.http.test_invitations import sign_in
from tests.letters import sent, token

EMAIL = "editor@acme.example"
PHRASE = "a quiet phrase of mine"


def request(app: Application, caplog: pytest.LogCaptureFixture, email: str = EMAIL) -> str:
    """Ask for a link; the token that the letter brings."""
    before = len(sent(app, caplog))
    assert Api(app, {}).post("/api/password-resets", {"email": email}).status_code == 202
    letters = sent(app, caplog)
    assert len(letters) == before + 1
    assert "http://qz.test/password-resets#token=" in letters[-1]
    return token(letters[-1])


def redeem(app: Application, link: str, password: str = PHRASE) -> Any:
    body = {"token": link, "password": password}
    return Api(app, {}).post("/api/password-resets/redeem", body)


def test_a_lost_password_is_replaced(app: Application, caplog: pytest.LogCaptureFixture) -> None:
    answer = redeem(app, request(app, caplog, " Editor@ACME.example "))
    assert answer.status_code == 204
    # It lets nobody in by itself.
    assert set(answer.cookies) == {"quietzone-device"}
    sign_in(app, EMAIL, PHRASE)
    old = {"email": EMAIL, "password": PASSWORD}
    assert Api(app, {}).post("/api/session", old).status_code == 401


def test_a_reset_ends_all_sessions_and_all_other_links(
    app: Application, editor: Api, acme: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = request(app, caplog), request(app, caplog)
    assert editor.get(acme.url).status_code == 200
    assert redeem(app, second).status_code == 204
    assert editor.get(acme.url).status_code == 401
    for link in (first, second, "x" * 43):
        answer = redeem(app, link, "yet another phrase")
        assert answer.status_code == 404
        assert "ask for a new one" in answer.json["detail"]
    sign_in(app, EMAIL, PHRASE)


def test_of_many_who_use_a_link_at_a_time_one_may(
    app: Application, caplog: pytest.LogCaptureFixture
) -> None:
    links = [request(app, caplog), request(app, caplog)]

    def use(number: int) -> bool:
        sent = NewPassword(Secret(links[number % 2]), Secret(f"{PHRASE} {number}"))
        try:
            app.services.password_resets.redeem(sent)
        except NotFound:
            return False
        return True

    outcomes = at_the_same_time(*(lambda n=n: use(n) for n in range(4)))
    assert sorted(outcomes) == [False, False, False, True]
    sign_in(app, EMAIL, f"{PHRASE} {outcomes.index(True)}")


def test_a_link_ends_with_its_time(
    app: Application, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    link = request(app, caplog)
    clock.forward(minutes=59, seconds=59)
    assert redeem(app, link, "short").status_code == 422
    clock.forward(seconds=1)
    assert redeem(app, link).status_code == 404


def test_a_password_that_cannot_be_taken_leaves_the_link_as_it_was(
    app: Application, editor: Api, acme: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    link = request(app, caplog)
    for password in ("short", "1qaz2wsx3edc", EMAIL.upper()):
        answer = redeem(app, link, password)
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json["errors"]] == ["password"]
    assert editor.get(acme.url).status_code == 200
    assert redeem(app, link).status_code == 204


def test_an_unknown_address_is_answered_alike_and_sent_nothing(
    app: Application, anonymous: Api, caplog: pytest.LogCaptureFixture
) -> None:
    answers = [
        anonymous.post("/api/password-resets", {"email": email})
        for email in (EMAIL, "nobody@acme.example")
    ]
    told = [
        (a.status_code, a.content, {n: v for n, v in a.headers.items() if n != "x-request-id"})
        for a in answers
    ]
    assert told[0] == told[1]
    assert told[0][0] == 202
    assert len(sent(app, caplog)) == 1


def test_while_it_is_answered_nobody_is_looked_for(
    app: Application, anonymous: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The same work in the same time, since it is none: all of it is done in the background.
    put: list[Any] = []

    def unavailable(email: str) -> None:
        raise StorageUnavailable("away")

    monkeypatch.setattr(app.services.outbox, "put", put.append)
    monkeypatch.setattr(app.services.storage.users, "by_email", unavailable)
    for email in (EMAIL, "nobody@acme.example"):
        assert anonymous.post("/api/password-resets", {"email": email}).status_code == 202
    assert len(put) == 2


def test_nobodys_mailbox_is_filled(
    app: Application, anonymous: Api, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        assert anonymous.post("/api/password-resets", {"email": EMAIL}).status_code == 202
    assert len(sent(app, caplog)) == 3
    refused = anonymous.post("/api/password-resets", {"email": f" {EMAIL.upper()}"})
    assert refused.status_code == 429
    assert "limits.letters" in refused.json["detail"]
    clock.forward(hours=2)
    request(app, caplog)


def test_a_token_is_not_stored_as_it_is(app: Application, caplog: pytest.LogCaptureFixture) -> None:
    link = request(app, caplog)
    stored = b"".join(path.read_bytes() for path in app.settings.data.iterdir() if path.is_file())
    assert link.encode() not in stored


def test_who_has_the_old_password_ready_does_not_slip_in(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = app.services.accounts
    matches = app.services.passwords.matches

    def slow(known: str | None, password: str) -> bool:
        found = matches(known, password)
        monkeypatch.undo()
        # While this one is at it, the password is changed, to keep him out.
        accounts.change_password(EMAIL, PHRASE)
        return found

    monkeypatch.setattr(app.services.passwords, "matches", slow)
    with pytest.raises(Unauthenticated):
        accounts.sign_in(Credentials(EMAIL, Secret(PASSWORD)))
    user = accounts.find(EMAIL)
    assert user is not None
    assert accounts.sessions(user) == []


def test_many_who_sign_in_at_a_time_are_let_in_while_the_price_of_hashes_rises(
    app: Application,
) -> None:
    app.services.passwords._hasher = PasswordHasher(2, 8192, 1)

    def enter() -> str:
        return app.services.accounts.sign_in(Credentials(EMAIL, Secret(PASSWORD)))[2].email

    assert at_the_same_time(*[enter] * 4) == [EMAIL] * 4
    user = app.services.accounts.find(EMAIL)
    assert user is not None
    assert "t=2" in user.password_hash


def test_a_lost_password_that_is_replaced_is_not_changed_back_by_who_knew_the_old_one(
    app: Application, editor: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    matches = app.services.passwords.matches

    def slow(known: str | None, password: str) -> bool:
        found = matches(known, password)
        monkeypatch.undo()
        app.services.accounts.change_password(EMAIL, PHRASE)
        return found

    monkeypatch.setattr(app.services.passwords, "matches", slow)
    body = {"current": PASSWORD, "new": "a phrase of an intruder"}
    assert editor.put("/api/password", body).status_code == 422
    sign_in(app, EMAIL, PHRASE)


# Changing one's own


def test_whoever_changes_his_password_stays_and_others_go(
    app: Application, editor: Api, caplog: pytest.LogCaptureFixture
) -> None:
    other, link = sign_in(app, EMAIL), request(app, caplog)
    body = {"current": PASSWORD, "new": PHRASE}
    assert editor.put("/api/password", body).status_code == 204
    assert editor.get("/api/session").status_code == 200
    assert other.get("/api/session").status_code == 401
    assert redeem(app, link).status_code == 404
    sign_in(app, EMAIL, PHRASE)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"current": "wrong", "new": PHRASE}, ["current"]),
        ({"current": PASSWORD, "new": "short"}, ["new"]),
        ({"current": PASSWORD, "new": EMAIL}, ["new"]),
        ({"new": PHRASE}, ["current"]),
        ({}, ["current", "new"]),
    ],
)
def test_what_is_wrong_with_a_change_is_told(
    app: Application, editor: Api, body: dict[str, str], fields: list[str]
) -> None:
    answer = editor.put("/api/password", body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json["errors"]] == fields
    assert PHRASE not in answer.text
    sign_in(app, EMAIL)


def test_a_key_has_no_password(app: Application, acme: Tenant) -> None:
    key = Api(app, {"Authorization": f"Bearer {acme.keys[Role.OWNER]}"})
    body = {"current": PASSWORD, "new": PHRASE}
    assert key.put("/api/password", body).status_code == 403
