"""Passwords: changing one's own, and replacing a lost one."""

from __future__ import annotations

from typing import ClassVar

import falcon

from core.domain.accounts import NewPassword, PasswordChange, ResetRequest, User, check_email
from core.domain.validation import field_rules, read
from core.http.request import Request
from core.http.resources.base import Answer, Answers, Bodies, EventNames, Resource
from core.http.resources.session import remember_device

_rules = field_rules(email=check_email)


class Password(Resource):
    """`/api/password`."""

    events: ClassVar[EventNames] = {"PUT": "password.change"}
    bodies: ClassVar[Bodies] = {"PUT": PasswordChange}
    answers: ClassVar[Answers] = {"PUT": (Answer(status=204, headers=("Set-Cookie",)),)}

    def on_put(self, req: Request, resp: falcon.Response) -> None:
        """Change the caller's own password; his other sessions end."""
        change = read(PasswordChange, self.body(req))
        user = self.services.accounts.change_own_password(req.context.principal, change)
        # By the old password it is known no longer.
        _remember(self, resp, user)
        resp.status = 204


class PasswordResets(Resource):
    """`/api/password-resets`."""

    events: ClassVar[EventNames] = {"POST": "password.request_link"}
    bodies: ClassVar[Bodies] = {"POST": ResetRequest}
    answers: ClassVar[Answers] = {"POST": (Answer(status=202),)}

    def on_post(self, req: Request, resp: falcon.Response) -> None:
        """Ask for a link that sets a new password.

        The answer is the same whether there is an account of that address or not.
        """
        self.services.password_resets.request(read(ResetRequest, self.body(req), _rules).email)
        resp.status = 202


class PasswordReset(Resource):
    """`/api/password-resets/redeem`."""

    events: ClassVar[EventNames] = {"POST": "password.reset"}
    bodies: ClassVar[Bodies] = {"POST": NewPassword}
    answers: ClassVar[Answers] = {"POST": (Answer(status=204, headers=("Set-Cookie",)), 404, 503)}

    def on_post(self, req: Request, resp: falcon.Response) -> None:
        """Set a new password by the token of a link; all sessions of the account end."""
        user = self.services.password_resets.redeem(read(NewPassword, self.body(req)))
        # He may sign in from here, however many have guessed at his account.
        _remember(self, resp, user)
        resp.status = 204


def _remember(resource: Resource, resp: falcon.Response, user: User) -> None:
    """Have the browser known again, now that the password is another one."""
    token = resource.services.accounts.devices.token(user)
    remember_device(resp, resource.settings.base_url, token)
