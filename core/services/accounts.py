"""Who is asking: people, their sign-ins, API keys, and the role of each in an organisation."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from core.domain.accounts import (
    ApiKey,
    Credentials,
    Organization,
    PasswordChange,
    Principal,
    Role,
    Session,
    User,
    UserDraft,
    check_email,
    normalize_email,
)
from core.domain.audit import Action, Origin, Subject, SubjectKind, differences
from core.domain.validation import Secret, field_rules, read
from core.errors import CodeRequired, Conflict, Forbidden, InvalidFields, NotFound, Unauthenticated
from core.ports import Storage
from core.services.audit import Audit
from core.services.devices import Devices
from core.services.limits import Limits, Policy
from core.services.passwords import Passwords
from core.services.recent import Recall
from core.services.second_factors import SecondFactors
from core.services.tokens import new_token, token_hash
from core.settings import AccountsSettings

KEY_PREFIX = "qz_"
"""What every API key begins with, so that secret scanners find a leaked one."""

_TOUCH_EVERY = timedelta(seconds=60)
_WRONG = "The e-mail address or the password is wrong."
_KEY_IDS = "that GET /api/organizations/ID/api-keys lists"


class Remembered(NamedTuple):
    """What each process knows of those who asked within the last second.

    Sessions and API keys by the hashes of their tokens, roles by organisation and user.
    """

    sessions: Recall[bytes, tuple[Session, User]]
    keys: Recall[bytes, ApiKey]
    roles: Recall[tuple[UUID, UUID], Role]


class Accounts:
    """Signs people in and out and tells whom a token belongs to."""

    def __init__(
        self,
        storage: Storage,
        audit: Audit,
        passwords: Passwords,
        settings: AccountsSettings,
        recent: Remembered,
        second_factors: SecondFactors,
        limits: Limits,
        devices: Devices,
        clock: Callable[[], datetime],
        token_bytes: Callable[[int], bytes],
    ) -> None:
        self._storage = storage
        self._audit = audit
        self._passwords = passwords
        self.recent = recent
        self._second_factors = second_factors
        self._limits = limits
        self.devices = devices
        self._idle = timedelta(seconds=settings.session_idle)
        self._lifetime = timedelta(seconds=settings.session_lifetime)
        # The time of last use is written at most once a minute, and never so rarely that a session
        # in use could expire in between.
        self._touch_every = min(_TOUCH_EVERY, self._idle / 4)
        self._clock = clock
        self._token_bytes = token_bytes

    def add_user(self, email: str, password: str, name: str = "") -> User:
        """Create an account; raises InvalidFields or Conflict."""
        user = self.new_user(email, password, name)
        self._storage.users.add(user)
        return user

    def new_user(self, email: str, password: str, name: str = "") -> User:
        """An account that is still to be stored; raises InvalidFields."""
        rules = field_rules(
            email=check_email, password=lambda secret: self._passwords.check(secret.reveal(), email)
        )
        data = {"email": email, "name": name, "password": password}
        draft = read(UserDraft, data, rules)
        return User(
            id=uuid4(),
            email=normalize_email(draft.email),
            name=draft.name,
            password_hash=self._passwords.hash(password),
            created_at=self._clock(),
        )

    def change_password(self, email: str, password: str) -> User:
        """Give an account another password and end its sessions; raises NotFound, InvalidFields."""
        user = self.get(email)
        self.set_password(user, password)
        return user

    def change_own_password(self, principal: Principal, change: PasswordChange) -> User:
        """Change the password of the one who asks, who is told, and end his other sessions.

        Raises InvalidFields for a wrong password and for a new one that cannot be taken.
        """
        user, session = principal.user, principal.session
        assert user is not None
        assert session is not None
        # Before the new one is hashed, which costs as much as to try the old one.
        self._count_own_try(user)
        password_hash = self._new_hash(user, change.new.reveal(), "new")
        with self._proven_own(user, change.current, "current"):
            ended = self._replace_password(user.id, password_hash, session.token_hash)
        self.recent.sessions.forget(*ended)
        return replace(user, password_hash=password_hash)

    def set_password(self, user: User, password: str, link: bytes | None = None) -> User:
        """Give the account another password; all its sessions end, and all its links.

        With `link`, the hash of a token, only if that link is there still: raises NotFound then.
        Raises InvalidFields for a password that cannot be taken.
        """
        password_hash = self._new_hash(user, password, "password")
        with self._storage.transaction():
            self._storage.users.lock(user.id)
            if link is not None and not self._storage.password_resets.delete(link):
                raise no_link()
            ended = self._replace_password(user.id, password_hash, None)
        self.recent.sessions.forget(*ended)
        return replace(user, password_hash=password_hash)

    def _new_hash(self, user: User, password: str, field: str) -> str:
        try:
            self._passwords.check(password, user.email)
        except ValueError as error:
            raise InvalidFields.of(field, str(error)) from error
        return self._passwords.hash(password)

    def _replace_password(
        self, user_id: UUID, password_hash: str, keep: bytes | None
    ) -> Sequence[bytes]:
        """In a transaction that holds the person; the sessions to forget afterwards."""
        self._storage.users.set_password_hash(user_id, password_hash)
        self._storage.password_resets.delete_of_user(user_id)
        return self.delete_sessions(user_id, keep)

    def get(self, email: str) -> User:
        """The account with that address; raises NotFound, for operators at a terminal."""
        user = self.find(email)
        if user is None:
            raise NotFound(f"there is no account {email!r}; create it with 'quietzone user add'")
        return user

    def find(self, email: str) -> User | None:
        """The account with that address, however it is spelled."""
        try:
            return self._storage.users.by_email(normalize_email(email))
        except ValueError:
            return None

    @contextmanager
    def proven(
        self,
        email: str,
        password: Secret,
        code: Secret | UnsetType = UNSET,
        *,
        device: str = "",
        needs_code: bool = True,
        is_counted: bool = False,
    ) -> Iterator[User]:
        """Whose address and password these are; in a transaction until whose end he stays so.

        `device` is the token of the browser, if it has one (`devices`).
        Raises Unauthenticated, not telling what was wrong, in the same time for an unknown address
        as for a known one. Where the password is right and the person has a second factor, raises
        CodeRequired unless the code is right too; a wrong password is answered alike whatever code
        comes with it. What fails in the block leaves the code unused. Raises TooMany where there
        were too many tries.
        """
        # NOTE: every password that anybody tries comes by here, and for accounts that there are not
        # as well.
        user = self.find(email)
        if not is_counted:
            self._count_try(self.devices.subject(email, user, device))
        known = user.password_hash if user else None
        if not self._passwords.matches(known, password.reveal()) or not user:
            raise Unauthenticated(_WRONG)
        fresh_hash = None
        if self._passwords.is_outdated(user.password_hash):
            fresh_hash = self._passwords.hash(password.reveal())
        with self._storage.transaction():
            locked = self._storage.users.lock(user.id)
            # It may have been changed while it was checked, to keep this one out.
            if locked is None or not self._is_still(locked, user, password):
                raise Unauthenticated(_WRONG)
            if needs_code:
                self._second_factors.check(locked, code)
            if fresh_hash is not None:
                self._storage.users.set_password_hash(user.id, fresh_hash)
                locked = replace(locked, password_hash=fresh_hash)
            yield locked

    def _count_try(self, subject: str) -> None:
        self._limits.take(Policy.SIGN_IN_ACCOUNT, subject)

    def _count_own_try(self, user: User) -> None:
        """Count who is signed in apart from others, who may be guessing at his account."""
        self._count_try(f"user:{user.id}")

    def _is_still(self, locked: User, user: User, password: Secret) -> bool:
        same = locked.password_hash == user.password_hash
        # Somebody else may have signed in meanwhile, and have given the hash its present price.
        return same or self._passwords.matches(locked.password_hash, password.reveal())

    @contextmanager
    def _proven_own(self, user: User, password: Secret, field: str) -> Iterator[None]:
        """As `proven`, for somebody who is signed in, and so has shown a code then."""
        try:
            with self.proven(user.email, password, needs_code=False, is_counted=True):
                yield
        except Unauthenticated:
            raise InvalidFields.of(field, "is not your password") from None

    def begin_second_factor(self, user: User, password: Secret) -> tuple[str, str]:
        """A new secret and its address; raises InvalidFields for a wrong password, or Conflict."""
        self._count_own_try(user)
        # Else whoever finds a screen unlocked could lock its owner out.
        with self._proven_own(user, password, "password"):
            return self._second_factors.begin(user)

    def confirm_second_factor(self, principal: Principal, code: Secret) -> Sequence[str]:
        """Put it in force, and end the sessions that have shown no code; the recovery codes.

        Raises InvalidFields for a wrong code, Conflict where there is nothing to confirm.
        """
        user, session = principal.user, principal.session
        assert user is not None
        assert session is not None
        self._count_own_try(user)
        with self._storage.transaction():
            codes = self._second_factors.confirm(user, code)
            ended = self.delete_sessions(user.id, session.token_hash)
        self.recent.sessions.forget(*ended)
        return codes

    def disable_second_factor(self, user: User, password: Secret, code: Secret) -> None:
        """Ask for no code any more; raises InvalidFields for a wrong password or code."""
        self._count_own_try(user)
        try:
            with self.proven(user.email, password, code, is_counted=True):
                self._second_factors.disable(user.id)
        except CodeRequired as error:
            raise InvalidFields.of("code", str(error)) from None
        except Unauthenticated:
            raise InvalidFields.of("password", "is not your password") from None

    def remove_second_factor(self, email: str) -> bool:
        """Let somebody in who has lost his phone and his recovery codes; False if none was asked.

        Raises NotFound. For operators, who have made sure whom they talk to.
        """
        return self._second_factors.disable(self.get(email).id)

    def sign_in(
        self, credentials: Credentials, presented: str = "", device: str = ""
    ) -> tuple[str, Session, User]:
        """A new session and its token; raises as `proven` does.

        The token is always a new one. The session that the caller has `presented`, if any, ends.
        """
        email, password, code = credentials.email, credentials.password, credentials.code
        token, left = new_token(self._token_bytes), token_hash(presented)
        with self.proven(email, password, code, device=device) as user:
            now = self._clock()
            session = Session(
                token_hash=token_hash(token),
                user_id=user.id,
                created_at=now,
                last_seen_at=now,
                expires_at=now + min(self._idle, self._lifetime),
            )
            self._storage.sessions.delete_expired(now)
            self._storage.sessions.delete(left)
            self._storage.sessions.add(session)
        self.recent.sessions.forget(left)
        return token, session, user

    def sign_out(self, session: Session) -> None:
        """End the session at once."""
        self._storage.sessions.delete(session.token_hash)
        self.recent.sessions.forget(session.token_hash)

    def sessions(self, user: User) -> Sequence[Session]:
        """The person's sign-ins that have not expired, newest first."""
        now = self._clock()
        return [s for s in self._storage.sessions.of_user(user.id) if s.expires_at > now]

    def end_session(self, user: User, session_id: UUID) -> None:
        """End one of the person's sign-ins; raises NotFound."""
        for session in self.sessions(user):
            if session.id == session_id:
                self.sign_out(session)
                return
        raise NotFound("There is no such session.")

    def end_other_sessions(self, session: Session) -> None:
        """End all sign-ins of the person but this one."""
        with self._storage.transaction():
            ended = self.delete_sessions(session.user_id, session.token_hash)
        self.recent.sessions.forget(*ended)

    def delete_sessions(self, user_id: UUID, keep: bytes | None) -> Sequence[bytes]:
        """Delete all sign-ins of a person but one; those to forget once the transaction has ended.

        Other processes remember them for less than a second.
        """
        found = self._storage.sessions.of_user(user_id)
        self._storage.sessions.delete_of_user(user_id, keep)
        return [session.token_hash for session in found if session.token_hash != keep]

    def principal_of_session(self, token: str, *, at_once: bool = False) -> Principal:
        """Whose session the token is; raises Unauthenticated where it is not, or no longer, one.

        It is so now, with `at_once`, or was a moment ago.
        """
        digest, now = token_hash(token), self._clock()
        if at_once:
            self.recent.sessions.forget(digest)
        found = self.recent.sessions.find(digest, lambda: self._storage.sessions.get(digest))
        if found is None or found[0].expires_at <= now:
            raise Unauthenticated("The session has ended; sign in again.")
        session, user = found
        if now - session.last_seen_at >= self._touch_every:
            expires_at = min(now + self._idle, session.created_at + self._lifetime)
            self._storage.sessions.touch(digest, now, expires_at)
            self.recent.sessions.forget(digest)
            session = replace(session, last_seen_at=now, expires_at=expires_at)
        return Principal(user=user, session=session)

    def principal_of_key(self, token: str, *, at_once: bool = False) -> Principal:
        """Which API key the token is; raises Unauthenticated where it is not, or no longer, one.

        It is so now, with `at_once`, or was a moment ago.
        """
        digest, now, key = token_hash(token), self._clock(), None
        if at_once:
            self.recent.keys.forget(digest)
        if is_key(token):
            key = self.recent.keys.find(digest, lambda: self._storage.api_keys.by_hash(digest))
        if key is None or (key.expires_at is not None and key.expires_at <= now):
            raise Unauthenticated("The API key is unknown, deleted or expired.")
        if key.last_used_at is None or now - key.last_used_at >= _TOUCH_EVERY:
            self._storage.api_keys.touch(key.id, now)
            self.recent.keys.forget(digest)
            key = replace(key, last_used_at=now)
        return Principal(api_key=key)

    def demand(
        self, needed: Role, principal: Principal, organization_id: UUID, *, at_once: bool = False
    ) -> Role:
        """The principal's role in the organisation; raises Forbidden where it is too small.

        It is that of up to a second ago unless it has to be that of now, `at_once`. Raises NotFound
        where he does not belong to it.
        """
        key, user = principal.api_key, principal.user
        role = None
        if key is not None:
            role = key.role if key.organization_id == organization_id else None
        elif user is not None:
            role = self._role(needed, user.id, organization_id, at_once=at_once)
        if role is None:
            raise NotFound("There is no such organization.")
        if not role.includes(needed):
            raise Forbidden(f"This needs the role {needed}; yours is {role}.")
        return role

    def _role(
        self, needed: Role, user_id: UUID, organization_id: UUID, *, at_once: bool
    ) -> Role | None:
        roles, key, asked = self.recent.roles, (organization_id, user_id), at_once

        def ask() -> Role | None:
            nonlocal asked
            asked = True
            return self._storage.memberships.role(organization_id, user_id)

        if at_once:
            roles.forget(key)
        role = roles.find(key, ask)
        if not asked and (role is None or not role.includes(needed)):
            # Nobody is refused for what was so a moment ago.
            roles.forget(key)
            role = roles.find(key, ask)
        return role

    def organizations(self, principal: Principal) -> Sequence[tuple[Organization, Role]]:
        """The organisations that the principal belongs to, with his role in each."""
        if principal.api_key is not None:
            organization = self._storage.organizations.get(principal.api_key.organization_id)
            return [(organization, principal.api_key.role)] if organization else []
        if principal.user is None:
            return []
        return self._storage.memberships.of_user(principal.user.id)

    def new_key(
        self,
        organization_id: UUID,
        name: str,
        role: Role,
        expires_at: datetime | None,
        created_by: UUID | None = None,
    ) -> tuple[str, ApiKey]:
        """Make and store an API key; its token is returned here and can never be read again."""
        token = KEY_PREFIX + base64.b32encode(self._token_bytes(25)).decode().lower()
        key = ApiKey(
            id=uuid4(),
            organization_id=organization_id,
            name=name,
            role=role,
            prefix=token[: len(KEY_PREFIX) + 6],
            token_hash=token_hash(token),
            created_at=self._clock(),
            expires_at=expires_at,
            created_by=created_by,
        )
        self._storage.api_keys.add(key)
        return token, key

    def operators(self) -> tuple[Sequence[User], Sequence[ApiKey]]:
        """The people, and the API keys of all organisations, that are operators."""
        return self._storage.users.operators(), self._storage.api_keys.operators()

    def set_operator(self, who: str, operator: bool, *, by: Origin) -> User | ApiKey:
        """Make an account, by its address, or an API key, by its id, an operator or none any more.

        That of a key is recorded in its organisation; an account belongs to none, and its sessions
        end, so that one that was stolen does not grow with it.
        Raises NotFound for an unknown one, InvalidFields for what is neither, and Conflict where
        one that is none should be none any more.
        """
        with self._storage.transaction():
            found = self._account_or_key(who)
            if not operator and not found.operator:
                raise Conflict(f"{who} is no operator; 'quietzone operator list' shows who is one")
            if isinstance(found, User):
                self._storage.users.set_operator(found.id, operator)
                if operator is not found.operator:
                    self.delete_sessions(found.id, None)
            elif not self._storage.api_keys.set_operator(found.id, operator):
                raise _no_key(found.id)
            else:
                subject = Subject(SubjectKind.API_KEY, found.id, found.name)
                changes = differences({"operator": found.operator}, {"operator": operator})
                organization_id = found.organization_id
                self._audit.record(by, organization_id, Action.API_KEY_CHANGE, subject, changes)
        self.recent.sessions.clear()
        self.recent.keys.clear()
        return replace(found, operator=operator)

    def _account_or_key(self, who: str) -> User | ApiKey:
        if is_key(who):
            # Not repeated: whoever reads the terminal could use it.
            raise InvalidFields.of("WHO", f"is the token of a key; give the key's id, {_KEY_IDS}")
        try:
            key_id = UUID(who)
        except ValueError:
            user = self.find(who)
            if user is not None:
                return user
            if "@" in who:
                return self.get(who)
            reason = f"{who!r} is neither an account's e-mail address nor the id of an API key"
            raise InvalidFields.of("WHO", f"{reason}, {_KEY_IDS}") from None
        key = self._storage.api_keys.get(key_id)
        if key is None:
            raise _no_key(key_id)
        return key


def no_link() -> NotFound:
    """The error for a link that holds no longer, or never did."""
    return NotFound("This link is wrong, was used, or has expired; ask for a new one.")


def _no_key(key_id: UUID) -> NotFound:
    return NotFound(f"there is no API key of the id {key_id}; give one {_KEY_IDS}")


def is_key(token: str) -> bool:
    """Whether the token has the form of an API key."""
    return token.startswith(KEY_PREFIX)
