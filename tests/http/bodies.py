"""A body that succeeds for every route that takes one, with every field that can hold a text.

Tests replace one field after the other in it, so that what they send there gets as far as it can.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import count
from typing import Any, NamedTuple
from uuid import uuid4

from falcon.testing import Result
from msgspec import inspect

from core.app import Application
from core.domain import totp
from core.domain.accounts import Invitation, PasswordReset, Role, Session
from core.domain.audit import OPERATOR
from core.domain.codes import CodeDraft
from core.domain.validation import Secret
from core.http.schemas import SENT_CONTENT
from core.services.tokens import token_hash
from tests.http.conftest import PASSWORD, Api, Clock, Tenant

PHRASE = "another quiet phrase of mine"

Place = tuple[str | int, ...]
"""Where something stands in a body: names of fields, and places in lists."""


class Attempt(NamedTuple):
    """A request that succeeds once, ready to be sent.

    `kept_at` tells where to read what it has stored, where that can be read.
    """

    send: Callable[[Any], Result]
    body: dict[str, Any]
    kept_at: Callable[[Result], Result] | None = None


class Scene:
    """An application, and what there has to be in it before a request can succeed.

    What belongs to one person belongs to the outsider, so that nothing ends for the owner.
    """

    def __init__(self, app: Application, acme: Tenant, clock: Clock) -> None:
        self.app, self.acme, self._clock = app, acme, clock
        self.owner = Api(app, {"Cookie": acme.cookies[Role.OWNER]})
        found = app.services.accounts.find("outsider@example.com")
        assert found is not None
        self.user = found
        self._numbers = count(1)

    def number(self) -> int:
        """Another one each time, for what may be there once only."""
        return next(self._numbers)

    def person(self) -> Api:
        """The outsider as he was at first, signed in."""
        return Api(self.app, {"Cookie": self.session()})

    def session(self) -> str:
        """The cookie of the outsider's only session; all else of him is as it was at first."""
        storage, user = self.app.services.storage, self.user
        token, now = uuid4().hex, self._clock()
        with storage.transaction():
            storage.users.set_password_hash(user.id, user.password_hash)
            storage.memberships.remove(self.acme.id, user.id)
            storage.second_factors.delete(user.id)
            storage.password_resets.delete_of_user(user.id)
            storage.sessions.delete_of_user(user.id)
            later = now + timedelta(days=1)
            storage.sessions.add(Session(token_hash(token), user.id, now, now, later))
        return f"quietzone={token}"

    def begun(self) -> str:
        """The code of a second factor that waits to be confirmed."""
        secret, _ = self.app.services.second_factors.begin(self.user)
        return totp.code(base64.b32decode(secret), totp.step_of(self._clock()))

    def enrolled(self) -> str:
        """A recovery code of a second factor that is in force."""
        return self.app.services.second_factors.confirm(self.user, Secret(self.begun()))[0]

    def reset(self) -> str:
        """The token of a link that sets the outsider's password."""
        token, now = uuid4().hex, self._clock()
        link = PasswordReset(token_hash(token), self.user.id, now, now + timedelta(hours=1))
        self.app.services.storage.password_resets.add(link)
        return token

    def invited(self, email: str) -> str:
        """The token of an invitation to Acme."""
        token, now = uuid4().hex, self._clock()
        later = now + timedelta(days=1)
        invitation = Invitation(
            uuid4(), self.acme.id, email, Role.MEMBER, None, token_hash(token), now, later
        )
        self.app.services.storage.invitations.put(invitation)
        return token

    def in_acme(
        self, method: str, path: str, body: dict[str, Any], *, is_kept: bool = True
    ) -> Attempt:
        """A request of the owner; what it stores is where the answer says, or else right there."""
        url = f"{self.acme.url}{path}"

        def kept(answer: Result) -> Result:
            return self.owner.get(
                answer.headers.get("Location", url).removeprefix("http://qz.test")
            )

        return Attempt(_sender(self.owner, method, url), body, kept if is_kept else None)


def _sender(api: Api, method: str, url: str) -> Callable[[Any], Result]:
    return lambda body: api(method, url, json=body)


def _sign_in(scene: Scene) -> Attempt:
    scene.person()
    body = {"email": scene.user.email, "password": PASSWORD, "code": scene.enrolled()}
    return Attempt(_sender(Api(scene.app, {}), "POST", "/api/session"), body)


def _second_factor(scene: Scene) -> Attempt:
    return Attempt(_sender(scene.person(), "POST", "/api/second-factor"), {"password": PASSWORD})


def _confirmation(scene: Scene) -> Attempt:
    send = _sender(scene.person(), "POST", "/api/second-factor/confirm")
    return Attempt(send, {"code": scene.begun()})


def _removal(scene: Scene) -> Attempt:
    send = _sender(scene.person(), "POST", "/api/second-factor/disable")
    return Attempt(send, {"password": PASSWORD, "code": scene.enrolled()})


def _password(scene: Scene) -> Attempt:
    send = _sender(scene.person(), "PUT", "/api/password")
    return Attempt(send, {"current": PASSWORD, "new": PHRASE})


def _reset_request(scene: Scene) -> Attempt:
    send = _sender(scene.person(), "POST", "/api/password-resets")
    return Attempt(send, {"email": scene.user.email})


def _reset(scene: Scene) -> Attempt:
    send = _sender(scene.person(), "POST", "/api/password-resets/redeem")
    return Attempt(send, {"token": scene.reset(), "password": PHRASE})


def _accepted_by_a_new_person(scene: Scene) -> Attempt:
    send = _sender(Api(scene.app, {}), "POST", "/api/invitations/accept")
    token = scene.invited(f"new-{scene.number()}@example.com")
    body = {"token": token, "password": PHRASE, "name": "Somebody"}
    return Attempt(send, body, lambda _: scene.owner.get(f"{scene.acme.url}/members"))


def _accepted_by_who_has_an_account(scene: Scene) -> Attempt:
    scene.person()
    send = _sender(Api(scene.app, {}), "POST", "/api/invitations/accept")
    body = {"token": scene.invited(scene.user.email), "password": PASSWORD}
    return Attempt(send, {**body, "code": scene.enrolled()})


def _organization(scene: Scene) -> Attempt:
    number = scene.number()
    body = {"name": f"Number {number}", "slug": f"number-{number}"}
    return Attempt(
        _sender(scene.owner, "POST", "/api/organizations"),
        body,
        lambda told: scene.owner.get(f"/api/organizations/{told.json['id']}"),
    )


def _organization_changes(scene: Scene) -> Attempt:
    number = scene.number()
    return scene.in_acme("PATCH", "", {"name": f"Acme {number}", "slug": f"acme-{number}"})


def _member(scene: Scene) -> Attempt:
    user_id = scene.acme.users[Role.MEMBER]
    scene.app.services.storage.memberships.set_role(scene.acme.id, user_id, Role.MEMBER)
    return scene.in_acme("PATCH", f"/members/{user_id}", {"role": "analyst"}, is_kept=False)


def _invitation(scene: Scene) -> Attempt:
    body = {"email": f"guest-{scene.number()}@example.com", "role": "editor"}
    return scene.in_acme("POST", "/invitations", body)


def _api_key(scene: Scene) -> Attempt:
    body = {"name": "Till", "role": "editor", "expires_at": "2030-01-01T00:00:00Z"}
    return scene.in_acme("POST", "/api-keys", body)


def _changes(scene: Scene) -> dict[str, Any]:
    return {
        "destination": "https://example.org/menu",
        "title": "Menu",
        "tags": ["table", "summer"],
        "active": True,
        "valid_from": "2026-01-01T00:00:00Z",
        "valid_until": "2030-01-01T00:00:00Z",
        "max_scans": 1000,
        "forward_query": True,
        "style": str(scene.acme.style_id),
    }


def _code(scene: Scene) -> Attempt:
    body = {**_changes(scene), "slug": f"menu-{scene.number()}"}
    return scene.in_acme("POST", "/qr-codes", body)


def _codes(scene: Scene) -> Attempt:
    made = {**_changes(scene), "slug": f"menu-{scene.number()}"}
    codes = f"{scene.acme.url}/qr-codes"
    return Attempt(
        _sender(scene.owner, "POST", f"{codes}/bulk"),
        {"codes": [made]},
        lambda told: scene.owner.get(f"{codes}/{told.json['items'][0]['id']}"),
    )


def _code_changes(scene: Scene) -> Attempt:
    draft = CodeDraft(destination="https://example.com/")
    code = scene.app.services.codes.create(scene.acme.id, draft, by=OPERATOR)
    return scene.in_acme("PATCH", f"/qr-codes/{code.id}", _changes(scene))


def _look(scene: Scene) -> dict[str, Any]:
    return {
        "color": "#0a3d62",
        "background": "#ffffff",
        "shape": "rounded",
        "finder_shape": "circle",
        "logo": str(scene.acme.logo_id),
        "logo_size": 15,
        "caption": "Scan me",
    }


def _style(scene: Scene) -> Attempt:
    body = {"name": f"Style {scene.number()}", "default": False, **_look(scene)}
    return scene.in_acme("POST", "/styles", body)


def _style_changes(scene: Scene) -> Attempt:
    styles, acme = scene.app.services.storage.styles, scene.acme
    for style in styles.of_organization(acme.id):
        if style.id != acme.style_id:
            styles.delete(acme.id, style.id)
    body = {"name": f"Style {scene.number()}", "default": False, **_look(scene)}
    return scene.in_acme("PATCH", f"/styles/{scene.acme.style_id}", body)


def _image(scene: Scene) -> Attempt:
    body = {
        **_look(scene),
        "content": "Any text",
        "format": "svg",
        "size": 400,
        "error_correction": "H",
        "margin": 4,
        "symbol": "qr",
        "width_mm": 40.0,
        "style": str(scene.acme.style_id),
        "download": True,
    }
    return scene.in_acme("POST", "/images", body, is_kept=False)


CONTENTS: tuple[Any, ...] = (
    "Any text",
    {"type": "link", "url": "https://example.org/"},
    {"type": "text", "text": "Any text"},
    {
        "type": "wifi",
        "ssid": "Guests",
        "password": "a quiet phrase",
        "security": "WPA2-EAP",
        "hidden": True,
        "eap": "PEAP",
        "phase2": "MSCHAPV2",
        "identity": "guest",
        "anonymous_identity": "anybody",
    },
    {
        "type": "vcard",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "middle_name": "King",
        "prefix": "Lady",
        "suffix": "PhD",
        "full_name": "Ada Lovelace",
        "nickname": "Ada",
        "organization": "Acme",
        "department": "Engines",
        "title": "Countess",
        "phones": [{"number": "+49 30 901820", "types": ["work"]}],
        "emails": ["ada@example.org"],
        "urls": ["https://example.org/"],
        "addresses": [
            {
                "street": "Ring 1",
                "city": "London",
                "region": "London",
                "postal_code": "W1",
                "country": "UK",
                "po_box": "7",
                "extended": "First floor",
                "types": ["work"],
            }
        ],
        "birthday": "1815-12-10",
        "note": "Notes",
    },
    {
        "type": "mecard",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "reading": "Ada",
        "nickname": "Ada",
        "organization": "Acme",
        "phones": ["+49 30 901820"],
        "emails": ["ada@example.org"],
        "url": "https://example.org/",
        "address": "Ring 1, London",
        "birthday": "1815-12-10",
        "note": "Notes",
    },
    {
        "type": "email",
        "to": ["ada@example.org"],
        "cc": ["ida@example.org"],
        "bcc": ["eda@example.org"],
        "subject": "A subject",
        "body": "A letter",
    },
    {"type": "sms", "number": "+49 30 901820", "message": "A message"},
    {"type": "phone", "number": "+49 30 901820"},
    {"type": "geo", "latitude": 51.5, "longitude": -0.1, "altitude": 10.0},
    {
        "type": "event",
        "summary": "Feast",
        "start": "2026-05-01T18:30:00+02:00",
        "end": "2026-05-01T20:30:00+02:00",
        "location": "London",
        "description": "With music",
    },
    {
        "type": "epc",
        "name": "Acme",
        "iban": "DE71 1102 2033 0123 4567 89",
        "amount": "12.30",
        "bic": "BFSWDE33BER",
        "purpose": "CHAR",
        "text": "For the feast",
        "information": "Thank you",
        "version": "001",
    },
    {
        "type": "epc",
        "name": "Acme",
        "iban": "DE71 1102 2033 0123 4567 89",
        "reference": "RF18 5390 0754 7034",
    },
)
"""A content of each type."""


def _image_of(content: Any) -> Callable[[Scene], Attempt]:
    body = {"content": content, "format": "text"}
    return lambda scene: scene.in_acme("POST", "/images", body, is_kept=False)


def _business_code(content: Any) -> Callable[[Scene], Attempt]:
    return lambda scene: scene.in_acme("PUT", "/qr-business", {"content": content})


_ORGANIZATION = "/api/organizations/{org_id}"

ATTEMPTS: Mapping[tuple[str, str], Sequence[Callable[[Scene], Attempt]]] = {
    ("POST", "/api/session"): [_sign_in],
    ("POST", "/api/second-factor"): [_second_factor],
    ("POST", "/api/second-factor/confirm"): [_confirmation],
    ("POST", "/api/second-factor/disable"): [_removal],
    ("PUT", "/api/password"): [_password],
    ("POST", "/api/password-resets"): [_reset_request],
    ("POST", "/api/password-resets/redeem"): [_reset],
    ("POST", "/api/invitations/accept"): [
        _accepted_by_a_new_person,
        _accepted_by_who_has_an_account,
    ],
    ("POST", "/api/organizations"): [_organization],
    ("PATCH", _ORGANIZATION): [_organization_changes],
    ("PATCH", f"{_ORGANIZATION}/members/{{user_id}}"): [_member],
    ("POST", f"{_ORGANIZATION}/invitations"): [_invitation],
    ("POST", f"{_ORGANIZATION}/api-keys"): [_api_key],
    ("POST", f"{_ORGANIZATION}/qr-codes"): [_code],
    ("POST", f"{_ORGANIZATION}/qr-codes/bulk"): [_codes],
    ("PATCH", f"{_ORGANIZATION}/qr-codes/{{qr_id}}"): [_code_changes],
    ("POST", f"{_ORGANIZATION}/styles"): [_style],
    ("PATCH", f"{_ORGANIZATION}/styles/{{style_id}}"): [_style_changes],
    ("POST", f"{_ORGANIZATION}/images"): [_image, *map(_image_of, CONTENTS)],
    ("PUT", f"{_ORGANIZATION}/qr-business"): [*map(_business_code, CONTENTS)],
}
"""What makes a request of each route, for those of which one cannot hold all fields, several."""


def places(body: Any, path: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every value of a body that is neither an object nor a list, and where it stands."""
    if isinstance(body, dict):
        for field, value in body.items():
            yield from places(value, (*path, field))
    elif isinstance(body, list):
        for number, value in enumerate(body):
            yield from places(value, (*path, number))
    else:
        yield path, body


def replaced(body: Any, path: Place, value: Any) -> Any:
    """The body with another value in one place."""
    if not path:
        return value
    first, *rest = path
    changed = body.copy()
    changed[first] = replaced(body[first], tuple(rest), value)
    return changed


def spelled(body: Any, path: Place) -> str:
    """The name of a place, as `texts` has it: `codes[].tags[]`, `content.wifi.ssid`."""
    name = ""
    for step in path:
        if isinstance(step, int):
            name += "[]"
        else:
            name += f".{body['type']}.{step}" if "type" in body else f".{step}"
        body = body[step]
    return name.removeprefix(".")


def texts(kind: Any) -> dict[str, bool]:
    """The places of a type that can hold a text by their own types, and whether it is a secret."""
    found = _texts(inspect.type_info(kind), "")
    return {name.removeprefix("."): is_secret for name, is_secret in found}


def _texts(kind: inspect.Type, name: str) -> Iterator[tuple[str, bool]]:
    match kind:
        case inspect.Metadata(type=inner):
            yield from _texts(inner, name)
        case inspect.UnionType(types=types):
            for each in types:
                yield from _texts(each, name)
        case inspect.StructType(fields=fields, tag=tag):
            tagged = f"{name}.{tag}" if tag else name
            for field in fields:
                yield from _texts(field.type, f"{tagged}.{field.encode_name}")
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            yield from _texts(item, f"{name}[]")
        case inspect.AnyType():
            # Nothing else is read by hand.
            assert name == ".content", name
            yield from _texts(inspect.type_info(SENT_CONTENT), name)
        case inspect.StrType():
            yield name, False
        case inspect.CustomType():
            yield name, kind.cls is Secret
        case _:
            assert not isinstance(kind, inspect.CollectionType | inspect.DictType), kind


def all_texts(value: Any) -> Iterator[str]:
    """Every text that a document holds."""
    return (text for _, text in places(value) if isinstance(text, str))
