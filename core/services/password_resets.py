"""Password resets: a lost password is replaced by a link that works once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from core.domain.accounts import NewPassword, PasswordReset, User
from core.domain.letters import Letter
from core.ports import Storage
from core.services.accounts import Accounts, no_link
from core.services.devices import spelled
from core.services.limits import Limits, Policy
from core.services.links import letter, link
from core.services.outbox import Outbox
from core.services.tokens import new_token, token_hash
from core.settings import Settings

PAGE = "password-resets"

_MOST = 3
"""So many links of one account hold at a time: nobody's mailbox is filled from here."""

_log = logging.getLogger("quietzone.letters")


class PasswordResets:
    """Makes the links and takes them."""

    def __init__(
        self,
        storage: Storage,
        accounts: Accounts,
        outbox: Outbox,
        limits: Limits,
        settings: Settings,
        clock: Callable[[], datetime],
        token_bytes: Callable[[int], bytes],
    ) -> None:
        self._storage = storage
        self._accounts = accounts
        self._outbox = outbox
        self._limits = limits
        self._base = settings.link_base
        self._lifetime = timedelta(seconds=settings.accounts.reset_lifetime)
        self._clock = clock
        self._token_bytes = token_bytes

    def request(self, email: str) -> None:
        """Have a link sent to the address, if there is an account of it.

        Raises TooMany where too many letters were sent there lately, or would have been.
        """
        self._limits.take(Policy.LETTERS, f"reset:{spelled(email)}")
        # NOTE: it is looked for in the background. Here nothing is done that takes another time,
        # or can fail, for one address than for another.
        self._outbox.put(partial(self._write, email))

    def issue(self, email: str) -> str:
        """A link for an operator to pass on; raises NotFound."""
        user = self._accounts.get(email)
        return link(self._base, PAGE, self._store(user)[0])

    def redeem(self, sent: NewPassword) -> User:
        """Set the new password, and whose; all sessions of the account end, and all its links.

        Raises NotFound for a link that does not hold, InvalidFields for a password that cannot be
        taken: the link may be used again then.
        """
        digest = token_hash(sent.token.reveal())
        found = self._storage.password_resets.get(digest)
        if found is None or found[0].expires_at <= self._clock():
            raise no_link()
        return self._accounts.set_password(found[1], sent.password.reveal(), link=digest)

    def _write(self, email: str) -> Letter | None:
        user = self._accounts.find(email)
        if user is None:
            return None
        if self._storage.password_resets.count(user.id, self._clock()) >= _MOST:
            _log.warning("%a has asked for %d links already; no further one", user.email, _MOST)
            return None
        token, reset = self._store(user)
        return letter(
            user.email,
            "A new password",
            "Somebody, maybe you, asked for a new password of your account. To set one, open "
            "this link:",
            link(self._base, PAGE, token),
            reset.expires_at,
        )

    def _store(self, user: User) -> tuple[str, PasswordReset]:
        now, token = self._clock(), new_token(self._token_bytes)
        reset = PasswordReset(token_hash(token), user.id, now, now + self._lifetime)
        with self._storage.transaction():
            self._storage.password_resets.delete_expired(now)
            self._storage.password_resets.add(reset)
        return token, reset
