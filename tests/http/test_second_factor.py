"""The second factor: enrolment, sign-in, codes that hold once, and the way back in."""

from __future__ import annotations

import base64
import io
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import zxingcpp
from PIL import Image

from core.app import Application
from core.domain import totp
from core.domain.accounts import Role
from core.domain.images import ImageOptions
from core.domain.looks import PLAIN
from tests.contract.test_storage import at_the_same_time
from tests.http.conftest import PASSWORD, Api, Clock, Tenant
from tests.http.test_invitations import accept, sign_in
from tests.letters import sent, token

EMAIL = "editor@acme.example"
SIGN_IN = {"email": EMAIL, "password": PASSWORD}
CODE_NEEDED = "urn:quietzone:problem:code-required"


class Phone:
    """An app that shows codes."""

    def __init__(self, secret: str, clock: Clock) -> None:
        self._secret = base64.b32decode(secret)
        self._clock = clock

    def code(self, periods: int = 0) -> str:
        return totp.code(self._secret, totp.step_of(self._clock.now) + periods)


def begin(api: Api) -> dict[str, Any]:
    answer = api.post("/api/second-factor", {"password": PASSWORD})
    assert answer.status_code == 201, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    document: dict[str, Any] = answer.json
    return document


def enrol(api: Api, clock: Clock) -> tuple[Phone, list[str]]:
    """A phone that shows the codes, and the recovery codes; the clock goes on."""
    phone = Phone(begin(api)["secret"], clock)
    answer = api.post("/api/second-factor/confirm", {"code": phone.code()})
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    clock.forward(minutes=5)
    return phone, answer.json["recovery_codes"]


def try_in(app: Application, **more: str) -> Any:
    return Api(app, {}).post("/api/session", {**SIGN_IN, **more})


def test_it_is_asked_for_once_it_is_confirmed(app: Application, editor: Api, clock: Clock) -> None:
    assert editor.get("/api/second-factor").json == {"enabled": False, "recovery_codes_left": 0}
    begin(editor)
    assert editor.get("/api/second-factor").json["enabled"] is False
    assert try_in(app).status_code == 201
    phone, codes = enrol(editor, clock)
    assert editor.get("/api/second-factor").json == {"enabled": True, "recovery_codes_left": 10}
    assert len(set(codes)) == 10
    assert all(re.fullmatch(r"[a-z2-7]{4}(-[a-z2-7]{4}){3}", code) for code in codes)
    assert try_in(app).status_code == 401
    assert try_in(app, code=phone.code()).status_code == 201


def test_the_image_is_that_of_the_address(app: Application, editor: Api) -> None:
    made = begin(editor)
    query = parse_qs(urlsplit(made["address"]).query)
    assert query["secret"] == [made["secret"]]
    assert query["issuer"] == ["qz.test"]
    assert made["image"].startswith("<svg")
    # Drawn again as PNG, since nothing here reads SVG.
    assert _read(app, made["address"]) == made["address"]


def _read(app: Application, content: str) -> str:
    images = app.services.images
    drawn = images.draw(images.plan(content, ImageOptions(size=600), PLAIN, None))
    return zxingcpp.read_barcodes(Image.open(io.BytesIO(drawn)))[0].text


def test_no_cache_is_given_the_secret(
    app: Application, editor: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("nothing of a secret is kept")

    monkeypatch.setattr(app.services.cache, "set", refuse)
    monkeypatch.setattr(app.services.cache, "add", refuse)
    remembered = app.services.images._symbol
    begin(editor)
    assert remembered.cache_info().currsize == 0


def test_a_wrong_password_is_answered_alike_whatever_code_comes_with_it(
    app: Application, editor: Api, clock: Clock
) -> None:
    phone, codes = enrol(editor, clock)
    answers = [
        Api(app, {}).post("/api/session", {"email": email, "password": password, **code})
        for email, password in ((EMAIL, "wrong"), ("nobody@acme.example", PASSWORD))
        for code in ({}, {"code": "000000"}, {"code": phone.code()}, {"code": codes[0]})
    ]
    told = {(a.status_code, str({**a.json, "request_id": ""})) for a in answers}
    assert len(told) == 1
    assert answers[0].json["type"] == "urn:quietzone:problem:unauthenticated"
    # Nor was any code used up by that.
    assert editor.get("/api/second-factor").json["recovery_codes_left"] == 10
    assert try_in(app, code=phone.code()).status_code == 201


def test_with_the_right_password_the_code_is_asked_for(
    app: Application, editor: Api, clock: Clock
) -> None:
    phone, _ = enrol(editor, clock)
    for more in ({}, {"code": "000000"}, {"code": phone.code(-2)}, {"code": "x"}):
        answer = try_in(app, **more)
        assert answer.status_code == 401
        assert answer.json["type"] == CODE_NEEDED
        assert "Set-Cookie" not in answer.headers
    assert "WWW-Authenticate" in answer.headers


def test_a_code_holds_once(app: Application, editor: Api, clock: Clock) -> None:
    secret = begin(editor)["secret"]
    phone = Phone(secret, clock)
    confirmed = phone.code()
    assert editor.post("/api/second-factor/confirm", {"code": confirmed}).status_code == 200
    assert try_in(app, code=confirmed).status_code == 401
    assert try_in(app, code=phone.code(-1)).status_code == 401
    assert try_in(app, code=phone.code(1)).status_code == 201
    clock.forward(seconds=30)
    assert try_in(app, code=phone.code()).status_code == 401
    clock.forward(seconds=30)
    spaced = f"{phone.code()[:3]} {phone.code()[3:]}"
    assert try_in(app, code=spaced).status_code == 201


def test_of_many_who_send_one_code_at_a_time_one_is_let_in(
    app: Application, editor: Api, clock: Clock
) -> None:
    phone, codes = enrol(editor, clock)
    for code in (phone.code(), codes[0]):
        outcomes = at_the_same_time(*[lambda c=code: try_in(app, code=c).status_code] * 4)
        assert sorted(outcomes) == [201, 401, 401, 401]


def test_a_recovery_code_holds_once(app: Application, editor: Api, clock: Clock) -> None:
    _, codes = enrol(editor, clock)
    assert try_in(app, code=codes[0]).status_code == 201
    assert try_in(app, code=codes[0]).status_code == 401
    assert try_in(app, code=codes[1].replace("-", " ").upper()).status_code == 201
    assert editor.get("/api/second-factor").json["recovery_codes_left"] == 8


def test_recovery_codes_are_not_stored_as_they_are(
    app: Application, editor: Api, clock: Clock
) -> None:
    _, codes = enrol(editor, clock)
    stored = b"".join(path.read_bytes() for path in app.settings.data.iterdir() if path.is_file())
    assert b"editor@acme.example" in stored
    for code in codes:
        assert code.encode() not in stored
        assert code.replace("-", "").encode() not in stored


def test_confirming_it_ends_the_other_sessions(
    app: Application, editor: Api, acme: Tenant, clock: Clock
) -> None:
    other = sign_in(app, EMAIL)
    enrol(editor, clock)
    assert [api.get(acme.url).status_code for api in (editor, other)] == [200, 401]


def test_who_signs_in_while_it_is_confirmed_needs_a_code_too(
    app: Application, editor: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    matches = app.services.passwords.matches

    def slow(known: str | None, password: str) -> bool:
        found = matches(known, password)
        monkeypatch.undo()
        enrol(editor, clock)
        return found

    monkeypatch.setattr(app.services.passwords, "matches", slow)
    for more in ({}, {"code": "000000"}):
        assert try_in(app, **more).json["type"] == CODE_NEEDED
    assert len(editor.get("/api/sessions").json["items"]) == 1


def test_it_is_disabled_with_password_and_code(app: Application, editor: Api, clock: Clock) -> None:
    phone, codes = enrol(editor, clock)
    url = "/api/second-factor/disable"
    for body, field in (
        ({"password": "wrong", "code": phone.code()}, "password"),
        ({"password": PASSWORD, "code": "000000"}, "code"),
    ):
        answer = editor.post(url, body)
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json["errors"]] == [field]
    assert try_in(app).status_code == 401
    assert editor.post(url, {"password": PASSWORD, "code": codes[3]}).status_code == 204
    assert try_in(app).status_code == 201
    # What was confirmed before holds no longer with a new one.
    new, _ = enrol(editor, clock)
    assert try_in(app, code=phone.code()).status_code == 401
    assert try_in(app, code=codes[4]).status_code == 401
    assert try_in(app, code=new.code()).status_code == 201


def test_one_that_is_in_force_is_not_replaced(editor: Api, clock: Clock) -> None:
    enrol(editor, clock)
    assert editor.post("/api/second-factor", {"password": PASSWORD}).status_code == 409
    assert editor.post("/api/second-factor/confirm", {"code": "000000"}).status_code == 409


def test_a_wrong_code_confirms_nothing(app: Application, editor: Api, clock: Clock) -> None:
    first = Phone(begin(editor)["secret"], clock)
    second = Phone(begin(editor)["secret"], clock)
    for code in ("000000", "", first.code()):
        answer = editor.post("/api/second-factor/confirm", {"code": code})
        assert answer.status_code == 422
    assert try_in(app).status_code == 201
    answer = editor.post("/api/second-factor/confirm", {"code": second.code()})
    assert answer.status_code == 200


def test_whoever_finds_a_session_cannot_lock_its_owner_out(editor: Api) -> None:
    answer = editor.post("/api/second-factor", {"password": "wrong"})
    assert answer.status_code == 422
    assert "secret" not in answer.text


def test_a_new_password_does_not_take_the_code_away(
    app: Application, editor: Api, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    phone, _ = enrol(editor, clock)
    Api(app, {}).post("/api/password-resets", {"email": EMAIL})
    link = token(sent(app, caplog)[-1])
    body = {"token": link, "password": "a quiet phrase of mine"}
    assert Api(app, {}).post("/api/password-resets/redeem", body).status_code == 204
    new = {"password": "a quiet phrase of mine"}
    assert try_in(app, **new).json["type"] == CODE_NEEDED
    assert try_in(app, **new, code=phone.code()).status_code == 201


def test_an_invitation_is_accepted_by_password_with_the_code_only(
    app: Application,
    anonymous: Api,
    editor: Api,
    globex: Tenant,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    phone, _ = enrol(editor, clock)
    host = Api(app, {"Cookie": globex.cookies[Role.OWNER]})
    host.post(f"{globex.url}/invitations", {"email": EMAIL, "role": "member"})
    link = token(sent(app, caplog)[-1])
    assert accept(anonymous, link, password=PASSWORD).json["type"] == CODE_NEEDED
    assert accept(anonymous, link, password=PASSWORD, code=phone.code()).status_code == 201


def test_an_operator_lets_somebody_in_who_has_lost_everything(
    app: Application, editor: Api, clock: Clock
) -> None:
    enrol(editor, clock)
    assert app.services.accounts.remove_second_factor(EMAIL) is True
    assert app.services.accounts.remove_second_factor(EMAIL) is False
    assert try_in(app).status_code == 201


def test_a_key_has_no_second_factor(app: Application, acme: Tenant) -> None:
    key = Api(app, {"Authorization": f"Bearer {acme.keys[Role.OWNER]}"})
    assert key.get("/api/second-factor").status_code == 403
    assert key.post("/api/second-factor", {"password": PASSWORD}).status_code == 403
