"""The two pages that links in letters lead to, for those who have no front end of their own."""

from __future__ import annotations

from string import Template
from typing import ClassVar

import falcon

from core.http.page import MEDIA_TYPE, page, policy
from core.http.request import Request
from core.http.resources.base import Answer, Answers, Resource

_ANSWERS: Answers = {"GET": (Answer(media=("text/html",), headers=("Content-Security-Policy",)),)}


class InvitationPage(Resource):
    """`/invitations`."""

    answers: ClassVar[Answers] = _ANSWERS

    def on_get(self, req: Request, resp: falcon.Response) -> None:
        """Send the page that accepts an invitation; its token stands behind the "#"."""
        _put(resp, _INVITATION)


class PasswordResetPage(Resource):
    """`/password-resets`."""

    answers: ClassVar[Answers] = _ANSWERS

    def on_get(self, req: Request, resp: falcon.Response) -> None:
        """Send the page that sets a new password; its token stands behind the "#"."""
        _put(resp, _RESET)


def _put(resp: falcon.Response, data: bytes) -> None:
    resp.content_type = MEDIA_TYPE
    resp.data = data
    resp.set_header("Content-Security-Policy", _POLICY)


_SCRIPT = """
"use strict";
const form = document.querySelector("form"), told = document.querySelector("output");
const token = new URLSearchParams(location.hash.slice(1)).get("token") || "";
// Whoever looks at the history finds no token there.
history.replaceState(null, "", location.pathname);
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = { token };
  for (const [name, value] of new FormData(form)) if (value) body[name] = value;
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const answer = await fetch(form.dataset.to, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    if (answer.ok) {
      form.hidden = true;
      told.textContent = form.dataset.done;
      return;
    }
    const problem = await answer.json();
    const errors = (problem.errors || []).map((error) => `${error.field}: ${error.message}`);
    told.textContent = errors.join("; ") || problem.detail || problem.title;
  } catch {
    told.textContent = "The service cannot be reached; try again.";
  }
  button.disabled = false;
});
"""

_ACCEPTING = """\
<p>If the address that was invited has an account here, give its password. If it has none, an
account is made with the password that you choose.</p>
<label>Password <input name="password" type="password" autocomplete="off" required></label>
<label>Code of its second factor, if it has one
<input name="code" autocomplete="one-time-code"></label>
<label>Your name, for a new account <input name="name" autocomplete="name"></label>"""

_RESETTING = """\
<label>New password
<input name="password" type="password" autocomplete="new-password" required></label>"""


_FORM = Template("""\
<noscript>This page needs JavaScript.</noscript>
<form data-to="$to" data-done="$done">
$fields
<button>$title</button>
</form>
<p><output></output></p>""")

_POLICY = policy(_SCRIPT)


def _page(title: str, to: str, done: str, fields: str) -> bytes:
    form = _FORM.substitute(title=title, to=to, done=done, fields=fields)
    return page(title, form, _SCRIPT).encode()


# Their addresses are relative, so that they hold behind a proxy that serves them under a path.
_INVITATION = _page(
    "Accept the invitation", "api/invitations/accept", "Welcome! You can sign in now.", _ACCEPTING
)
_RESET = _page(
    "Set a new password",
    "api/password-resets/redeem",
    "It is set. You can sign in now; all sessions have ended.",
    _RESETTING,
)
