"""The second factor: codes of an app on the person's phone, beside the password."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from msgspec import UNSET, UnsetType

from core.domain import totp
from core.domain.accounts import SecondFactor, User
from core.domain.validation import Secret
from core.errors import CodeRequired, Conflict, InvalidFields
from core.ports import Storage
from core.services.tokens import token_hash

RECOVERY_CODES = 10
_RECOVERY_BYTES = 10
_GROUP = 4


class SecondFactors:
    """Enrols people, checks their codes, and takes each code once."""

    def __init__(
        self,
        storage: Storage,
        issuer: str,
        clock: Callable[[], datetime],
        token_bytes: Callable[[int], bytes],
    ) -> None:
        self._storage = storage
        self._issuer = issuer
        self._clock = clock
        self._token_bytes = token_bytes

    def state(self, user: User) -> tuple[bool, int]:
        """Whether a code is asked of the person, and how many recovery codes are left."""
        factor = self._storage.second_factors.get(user.id)
        if factor is None or not factor.confirmed:
            return False, 0
        return True, self._storage.second_factors.recovery_codes(user.id)

    def begin(self, user: User) -> tuple[str, str]:
        """A new secret, as it is typed and as an address for a QR code; not in force yet.

        Raises Conflict where one is in force.
        """
        secret = self._token_bytes(totp.SECRET_BYTES)
        with self._storage.transaction():
            self._storage.users.lock(user.id)
            factor = self._storage.second_factors.get(user.id)
            if factor is not None and factor.confirmed:
                raise Conflict("There is a second factor already; disable it first.")
            self._storage.second_factors.put(SecondFactor(user.id, secret, self._clock()))
        return totp.readable(secret), totp.address(secret, self._issuer, user.email)

    def confirm(self, user: User, code: Secret) -> Sequence[str]:
        """Put the secret in force, since the person's app shows its codes; the recovery codes.

        Raises InvalidFields for a wrong code, Conflict where there is nothing to confirm.
        """
        codes = [self._recovery_code() for _ in range(RECOVERY_CODES)]
        with self._storage.transaction():
            self._storage.users.lock(user.id)
            factor = self._storage.second_factors.get(user.id)
            if factor is None or factor.confirmed:
                raise Conflict("There is no second factor to confirm; begin with a new one.")
            step = totp.matching_step(factor.secret, _plain(code), self._clock())
            if step is None:
                raise InvalidFields.of(
                    "code", "is wrong; see whether the phone's clock is right, and take a new one"
                )
            hashes = [token_hash(_plain(Secret(each))) for each in codes]
            self._storage.second_factors.confirm(user.id, step, hashes)
        return codes

    def check(self, user: User, code: Secret | UnsetType) -> None:
        """Raise CodeRequired unless the person needs no code, or this one holds; it is used up."""
        factor = self._storage.second_factors.get(user.id)
        if factor is None or not factor.confirmed:
            return
        if code is UNSET:
            raise CodeRequired("Send the code of your second factor, or a recovery code, as well.")
        if not self._take(factor, _plain(code)):
            raise CodeRequired("The code is wrong, or was used already; take the next one.")

    def disable(self, user_id: UUID) -> bool:
        """Ask for no code any more; False where none was asked for."""
        return self._storage.second_factors.delete(user_id)

    def _take(self, factor: SecondFactor, code: str) -> bool:
        factors = self._storage.second_factors
        if len(code) != totp.DIGITS:
            return factors.take_recovery_code(factor.user_id, token_hash(code))
        step = totp.matching_step(factor.secret, code, self._clock())
        # A code holds once (RFC 6238, 5.2), and none from before the last one that was used.
        return step is not None and factors.advance(factor.user_id, step)

    def _recovery_code(self) -> str:
        text = base64.b32encode(self._token_bytes(_RECOVERY_BYTES)).decode().lower()
        return "-".join(text[n : n + _GROUP] for n in range(0, len(text), _GROUP))


def _plain(code: Secret) -> str:
    """A code without what people put in for the eye."""
    return "".join(code.reveal().split()).replace("-", "").lower()
