"""The second factor: codes of an app, asked for beside the password."""

from __future__ import annotations

from typing import ClassVar

import falcon

from core.domain.accounts import (
    Principal,
    SecondFactorCode,
    SecondFactorEnd,
    SecondFactorRequest,
    User,
)
from core.domain.validation import read
from core.http.request import Request
from core.http.resources.base import Answer, Answers, Bodies, EventNames, Resource, put_json
from core.http.schemas import NewSecondFactor, RecoveryCodes, SecondFactorView


class SecondFactor(Resource):
    """`/api/second-factor`."""

    events: ClassVar[EventNames] = {"POST": "second_factor.begin"}
    bodies: ClassVar[Bodies] = {"POST": SecondFactorRequest}
    answers: ClassVar[Answers] = {
        "GET": (Answer(SecondFactorView),),
        "POST": (Answer(NewSecondFactor, 201), 409),
    }

    def on_get(self, req: Request, resp: falcon.Response) -> None:
        """Tell whether the caller has a second factor."""
        user = _user(req.context.principal)
        put_json(resp, SecondFactorView(*self.services.second_factors.state(user)))

    def on_post(self, req: Request, resp: falcon.Response) -> None:
        """Begin with a second factor: its secret, which is shown this once.

        It is asked for once a code of it has confirmed that the app has it.
        """
        sent = read(SecondFactorRequest, self.body(req))
        user = _user(req.context.principal)
        secret, address = self.services.accounts.begin_second_factor(user, sent.password)
        image = self.services.images.private_svg(address)
        resp.set_header("Cache-Control", "no-store")
        put_json(resp, NewSecondFactor(secret, address, image), 201)


class SecondFactorConfirmation(Resource):
    """`/api/second-factor/confirm`."""

    events: ClassVar[EventNames] = {"POST": "second_factor.confirm"}
    bodies: ClassVar[Bodies] = {"POST": SecondFactorCode}
    answers: ClassVar[Answers] = {"POST": (Answer(RecoveryCodes), 409)}

    def on_post(self, req: Request, resp: falcon.Response) -> None:
        """Put the second factor in force by a code of the app; the caller's other sessions end.

        The answer has the recovery codes, which are shown this once.
        """
        sent = read(SecondFactorCode, self.body(req))
        codes = self.services.accounts.confirm_second_factor(req.context.principal, sent.code)
        resp.set_header("Cache-Control", "no-store")
        put_json(resp, RecoveryCodes(codes))


class SecondFactorRemoval(Resource):
    """`/api/second-factor/disable`."""

    events: ClassVar[EventNames] = {"POST": "second_factor.disable"}
    bodies: ClassVar[Bodies] = {"POST": SecondFactorEnd}
    answers: ClassVar[Answers] = {"POST": (Answer(status=204),)}

    def on_post(self, req: Request, resp: falcon.Response) -> None:
        """Ask for no code any more; its recovery codes end with it."""
        sent = read(SecondFactorEnd, self.body(req))
        user = _user(req.context.principal)
        self.services.accounts.disable_second_factor(user, sent.password, sent.code)
        resp.status = 204


def _user(principal: Principal) -> User:
    assert principal.user is not None
    return principal.user
