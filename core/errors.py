"""Every error that Quietzone raises on purpose, in one tree.

QuietzoneError
├── ConfigurationError          the operator has to change a setting or a plugin
├── InvalidFields               a caller sent values that cannot be accepted (all of them listed)
├── DestinationRefused          a plugin's check does not let a code lead there
├── Unauthenticated             nobody is signed in, or the credentials are wrong
│   └── CodeRequired            the password is right, and the second factor's code is still needed
├── Forbidden                   signed in, but the role is too small
├── NotFound                    no such thing, or none that the caller may know of
├── Conflict                    the request contradicts what is stored
│   ├── SlugTaken               a slug of that spelling exists already
│   └── KeyReused               an Idempotency-Key came again with another body
├── TooMany                     somebody does this more often than a limit allows
├── Overloaded                  so much work waits that no more is taken on
├── Gone                        the code exists, but must not be followed now
└── StorageUnavailable          the database cannot be reached or refuses to work

Nothing here knows of HTTP: `core.http.problems` maps each class to a status.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class QuietzoneError(Exception):
    """Anything that Quietzone raises on purpose; the message is fit to be shown to its user."""


class ConfigurationError(QuietzoneError):
    """The service cannot start as configured; the message names the setting and the way out."""


class FieldProblem(msgspec.Struct, frozen=True):
    """What is wrong with one field, addressed as `field`, `list[3].field` or `section.field`."""

    field: str
    message: str


class InvalidFields(QuietzoneError):
    """One or more fields hold values that cannot be accepted; `problems` lists them all."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{p.field}: {p.message}" for p in self.problems))

    @classmethod
    def of(cls, field: str, message: str) -> InvalidFields:
        """The error for a single field."""
        return cls([FieldProblem(field, message)])


class DestinationRefused(QuietzoneError):
    """A check of destinations does not let a code lead there; the message says why, and what to do.

    Whoever sent the link is told as of a field of the request that cannot be accepted.
    """


class Unauthenticated(QuietzoneError):
    """Nobody is signed in, or the credentials do not hold."""


class CodeRequired(Unauthenticated):
    """The password is right; the code of the second factor is missing, or does not hold."""


class Forbidden(QuietzoneError):
    """The caller is known, but may not do this."""


class NotFound(QuietzoneError):
    """There is no such thing, or none whose existence the caller may know of."""


class Conflict(QuietzoneError):
    """The request contradicts what is stored; `problems` names the fields, where fields clash."""

    def __init__(self, message: str, problems: Sequence[FieldProblem] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__(message)


class SlugTaken(Conflict):
    """A code with this slug exists already; slugs are compared without regard to case."""

    def __init__(self, slug: str, field: str = "slug") -> None:
        self.slug = slug
        message = f"{slug!r} is taken; choose another, or leave it out for a random one"
        super().__init__(f"The slug {message}.", [FieldProblem(field, message)])


class KeyReused(Conflict):
    """An Idempotency-Key was sent again within its day, with a different body."""


class TooMany(QuietzoneError):
    """Somebody does something more often than the limit `name` allows; in `wait` seconds he may."""

    def __init__(self, policy: str, name: str, requests: int, seconds: int, wait: int) -> None:
        self.name = name
        self.requests = requests
        self.seconds = seconds
        self.wait = wait
        super().__init__(
            f"At most {requests} in {seconds} seconds are allowed here (setting limits.{policy}); "
            f"try again in {wait} seconds."
        )


class Overloaded(QuietzoneError):
    """So much work waits for its turn that no more is taken on; soon there is room again."""


class Gone(QuietzoneError):
    """The code exists, but is switched off, outside its validity, or used up."""


class StorageUnavailable(QuietzoneError):
    """The database cannot be reached, or does not answer in time."""
