"""The storage: repositories of everything but scans, the same for every database."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec.structs import replace
from peewee import JOIN, SQL, IntegrityError, fn

from core.api import (
    Action,
    Actor,
    ActorKind,
    ApiKey,
    AuditEntry,
    AuditFilter,
    BusinessCode,
    Change,
    Code,
    CodePage,
    CodeQuery,
    CodeSort,
    Conflict,
    Invitation,
    Logo,
    LogoInfo,
    Member,
    Membership,
    Organization,
    PasswordReset,
    RecordedAnswer,
    Role,
    SecondFactor,
    Session,
    SlugTaken,
    StorageUnavailable,
    Style,
    Subject,
    SubjectKind,
    User,
    slug_key,
)
from plugins.storage import tables
from plugins.storage.database import Connection, Connections, batches, placeholders
from plugins.storage.removal import Removal
from plugins.storage.tables import to_look, to_microseconds, to_moment, to_tags, to_uuid

_BATCH = 500

_REMOVED_AT_ONCE = 2000
"""A deleted code that has about so many scans at most is gone at once, counts and all."""

_NAMED = 5


class _Repository:
    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    @contextmanager
    def _writing(self, conflict: str) -> Iterator[Connection]:
        """A transaction in which a row that exists already becomes a Conflict with that message."""
        try:
            with self._connections.transaction() as database:
                yield database
        except IntegrityError as error:
            raise self._conflict(error, conflict) from error

    def _conflict(self, error: IntegrityError, message: str) -> Conflict:
        if self._connections.lacks_parent(error):
            return Conflict("What this belongs to has been deleted in the meantime.")
        return Conflict(message)


class OrganizationRepository(_Repository):
    """The organisations and their business codes."""

    def add(self, organization: Organization) -> None:
        """Store it, or raise Conflict."""
        table = tables.Organization
        with self._writing(_slug_taken(organization)) as database:
            database.execute(table.insert(_values(organization)))

    def get(self, organization_id: UUID) -> Organization | None:
        """The organisation of that id."""
        return self._one(tables.Organization.id == organization_id)

    def by_slug(self, slug: str) -> Organization | None:
        """The organisation of that slug."""
        return self._one(tables.Organization.slug == slug)

    def all(self) -> Sequence[Organization]:
        """Every organisation, by name."""
        with self._connections.connection() as database:
            own = tables.Organization.id != tables.GRAVEYARD
            rows = tables.Organization.select().where(own).tuples().execute(database)
            return sorted((Organization(*row) for row in rows), key=_by_name)

    def update(self, organization: Organization) -> None:
        """Store name and slug, or raise Conflict."""
        table = tables.Organization
        with self._writing(_slug_taken(organization)) as database:
            database.execute(
                table.update(name=organization.name, slug=organization.slug).where(
                    table.id == organization.id
                )
            )

    def delete(self, organization_id: UUID) -> None:
        """Remove it and all that is its own; the scans of its codes go later."""
        table, code, style = tables.Organization, tables.Code, tables.Style
        with self._connections.transaction() as database:
            # NOTE: everybody locks styles, then codes, then the organisation, and rows of one kind
            # by their ids. Otherwise this could wait for somebody who waits for this.
            styles = style.select(style.id).where(style.organization == organization_id)
            _lock(database, styles.order_by(style.id))
            codes = code.select(code.id).where(code.organization == organization_id)
            _lock(database, codes.order_by(code.id))
            count, tag = tables.CodeCount, tables.CodeTag
            for own in (count, tag):
                database.execute(own.delete().where(own.organization == organization_id))
            _bury(database, code.organization == organization_id, organization=tables.GRAVEYARD)
            database.execute(table.delete().where(table.id == organization_id))

    def business_code(self, organization_id: UUID) -> BusinessCode | None:
        """What its business code encodes."""
        table = tables.BusinessCode
        query = table.select(table.content, table.document).where(
            table.organization == organization_id
        )
        with self._connections.connection() as database:
            row = query.tuples().first(database)
            return BusinessCode(*row) if row else None

    def set_business_code(self, organization_id: UUID, code: BusinessCode, now: datetime) -> None:
        """Set or replace it."""
        table = tables.BusinessCode
        insert = table.insert(organization=organization_id, updated_at=now, **_values(code))
        with self._writing("") as database:
            database.execute(
                insert.on_conflict(
                    conflict_target=[table.organization],
                    preserve=[table.content, table.document, table.updated_at],
                )
            )

    def _one(self, condition: Any) -> Organization | None:
        with self._connections.connection() as database:
            row = tables.Organization.select().where(condition).tuples().first(database)
            return Organization(*row) if row else None


class UserRepository(_Repository):
    """The people."""

    def add(self, user: User) -> None:
        """Store the person, or raise Conflict."""
        message = f"there is an account for {user.email} already; sign in with it"
        with self._writing(message) as database:
            database.execute(tables.User.insert(_values(user)))

    def get(self, user_id: UUID) -> User | None:
        """The person of that id."""
        return self._one(tables.User.id == user_id)

    def by_email(self, email: str) -> User | None:
        """The person with that address."""
        return self._one(tables.User.email == email)

    def lock(self, user_id: UUID) -> User | None:
        """The person, locked until the transaction ends."""
        table = tables.User
        query = table.select().where(table.id == user_id)
        with self._connections.connection() as database:
            # What belongs to the person may still be added meanwhile: the id stays.
            rows = _lock(database, query, "FOR NO KEY UPDATE")
        return User(*rows[0]) if rows else None

    def set_password_hash(self, user_id: UUID, password_hash: str) -> None:
        """Replace the hash."""
        table = tables.User
        with self._connections.transaction() as database:
            database.execute(table.update(password_hash=password_hash).where(table.id == user_id))

    def set_operator(self, user_id: UUID, operator: bool) -> bool:
        """Make the person an operator, or none any more."""
        table = tables.User
        with self._connections.transaction() as database:
            cursor = database.execute(table.update(operator=operator).where(table.id == user_id))
            return _any(cursor)

    def operators(self) -> Sequence[User]:
        """The operators, by e-mail address."""
        with self._connections.connection() as database:
            rows = tables.User.select().where(tables.User.operator).tuples().execute(database)
            return sorted((User(*row) for row in rows), key=lambda user: user.email)

    def _one(self, condition: Any) -> User | None:
        with self._connections.connection() as database:
            row = tables.User.select().where(condition).tuples().first(database)
            return User(*row) if row else None


class MembershipRepository(_Repository):
    """Who belongs where."""

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections)
        self._role = connections.sql(
            "SELECT role FROM memberships WHERE organization_id = ? AND user_id = ?"
        )

    def add(self, membership: Membership) -> None:
        """Store it, or raise Conflict."""
        with self._writing("this person is a member already; change the role instead") as database:
            database.execute(
                tables.Membership.insert(
                    organization=membership.organization_id,
                    user=membership.user_id,
                    role=membership.role,
                    created_at=membership.created_at,
                )
            )

    def role(self, organization_id: UUID, user_id: UUID) -> Role | None:
        """The user's role there."""
        key = self._connections.key
        with self._connections.connection() as database:
            # PERF: asked in nearly every request, hence by hand: peewee takes 100-350 µs to build
            # a query and to read its row, the databases 5-45 µs to answer.
            cursor = database.execute_sql(self._role, (key(organization_id), key(user_id)))
            row = cursor.fetchone()
            return Role(row[0]) if row else None

    def members(self, organization_id: UUID) -> Sequence[Member]:
        """Everybody, by e-mail address."""
        table, user = tables.Membership, tables.User
        query = (
            table.select(user.id, user.email, user.name, table.role, table.created_at)
            .join(user)
            .where(table.organization == organization_id)
        )
        with self._connections.connection() as database:
            members = [Member(*row) for row in query.tuples().execute(database)]
        return sorted(members, key=lambda member: member.email)

    def of_user(self, user_id: UUID) -> Sequence[tuple[Organization, Role]]:
        """The user's organisations with the role in each, by name."""
        table, organization = tables.Membership, tables.Organization
        query = (
            table.select(
                organization.id,
                organization.name,
                organization.slug,
                organization.created_at,
                table.role,
            )
            .join(organization)
            .where(table.user == user_id)
        )
        with self._connections.connection() as database:
            rows = [(Organization(*row), role) for *row, role in query.tuples().execute(database)]
        return sorted(rows, key=lambda row: _by_name(row[0]))

    def set_role(self, organization_id: UUID, user_id: UUID, role: Role) -> bool:
        """Change the role."""
        table = tables.Membership
        with self._connections.transaction() as database:
            cursor = database.execute(
                table.update(role=role).where(
                    (table.organization == organization_id) & (table.user == user_id)
                )
            )
            return _any(cursor)

    def remove(self, organization_id: UUID, user_id: UUID) -> bool:
        """Remove the member."""
        table = tables.Membership
        with self._connections.transaction() as database:
            cursor = database.execute(
                table.delete().where(
                    (table.organization == organization_id) & (table.user == user_id)
                )
            )
            return _any(cursor)

    def owners(self, organization_id: UUID) -> int:
        """How many owners there are, who stay so until the transaction ends."""
        table = tables.Membership
        query = (
            table.select(table.user)
            .where((table.organization == organization_id) & (table.role == Role.OWNER))
            .order_by(table.user)
        )
        with self._connections.connection() as database:
            return len(_lock(database, query))


class SessionRepository(_Repository):
    """The sign-ins."""

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections)
        self._get = connections.sql(
            "SELECT s.created_at, s.last_seen_at, s.expires_at,"
            " u.id, u.email, u.name, u.password_hash, u.created_at, u.operator"
            " FROM sessions AS s JOIN users AS u ON u.id = s.user_id WHERE s.token_hash = ?"
        )

    def add(self, session: Session) -> None:
        """Store it."""
        with self._writing("there is a session of this token already") as database:
            database.execute(
                tables.Session.insert(
                    token_hash=session.token_hash,
                    user=session.user_id,
                    created_at=session.created_at,
                    last_seen_at=session.last_seen_at,
                    expires_at=session.expires_at,
                )
            )

    def get(self, token_hash: bytes) -> tuple[Session, User] | None:
        """The session and its user."""
        with self._connections.connection() as database:
            # PERF: by hand, as `MembershipRepository.role` is.
            row = database.execute_sql(self._get, (token_hash,)).fetchone()
        if row is None:
            return None
        created, seen, expires, user_id, email, name, password_hash, user_created, operator = row
        user = User(
            to_uuid(user_id), email, name, password_hash, to_moment(user_created), bool(operator)
        )
        session = Session(
            token_hash, user.id, to_moment(created), to_moment(seen), to_moment(expires)
        )
        return session, user

    def touch(self, token_hash: bytes, last_seen_at: datetime, expires_at: datetime) -> None:
        """Note that it was used."""
        table = tables.Session
        with self._connections.transaction() as database:
            database.execute(
                table.update(last_seen_at=last_seen_at, expires_at=expires_at).where(
                    table.token_hash == token_hash
                )
            )

    def delete(self, token_hash: bytes) -> None:
        """Remove it."""
        table = tables.Session
        with self._connections.transaction() as database:
            database.execute(table.delete().where(table.token_hash == token_hash))

    def of_user(self, user_id: UUID) -> Sequence[Session]:
        """All of one person, newest first."""
        table = tables.Session
        query = (
            table.select()
            .where(table.user == user_id)
            .order_by(table.created_at.desc(), table.token_hash)
        )
        with self._connections.connection() as database:
            rows = query.tuples().execute(database)
            return [Session(bytes(token_hash), *row) for token_hash, *row in rows]

    def delete_of_user(self, user_id: UUID, keep: bytes | None = None) -> None:
        """Remove all of one person but one."""
        table = tables.Session
        which = table.user == user_id
        if keep is not None:
            which &= table.token_hash != keep
        with self._connections.transaction() as database:
            database.execute(table.delete().where(which))

    def delete_expired(self, now: datetime) -> int:
        """Remove those that have expired at `now`."""
        table = tables.Session
        with self._connections.transaction() as database:
            cursor = database.execute(table.delete().where(table.expires_at <= now))
            return int(cursor.rowcount)


class InvitationRepository(_Repository):
    """The invitations."""

    def put(self, invitation: Invitation) -> None:
        """Store it, in place of another one to the same address."""
        table = tables.Invitation
        values = _values(invitation)
        values["organization"] = values.pop("organization_id")
        insert = table.insert(values)
        with self._writing("there is an invitation of this token already") as database:
            database.execute(
                insert.on_conflict(
                    conflict_target=[table.organization, table.email],
                    preserve=[
                        table.id,
                        table.role,
                        table.invited_by,
                        table.token_hash,
                        table.created_at,
                        table.expires_at,
                    ],
                )
            )

    def by_hash(self, token_hash: bytes) -> Invitation | None:
        """The invitation of that token."""
        found = self._where(tables.Invitation.token_hash == token_hash)
        return found[0] if found else None

    def of_organization(self, organization_id: UUID) -> Sequence[Invitation]:
        """The organisation's invitations, oldest first."""
        return self._where(tables.Invitation.organization == organization_id)

    def delete(self, organization_id: UUID, token_hash: bytes) -> bool:
        """Remove it."""
        table = tables.Invitation
        which = (table.organization == organization_id) & (table.token_hash == token_hash)
        with self._connections.transaction() as database:
            return _any(database.execute(table.delete().where(which)))

    def delete_expired(self, now: datetime) -> None:
        """Remove those that have expired at `now`."""
        table = tables.Invitation
        with self._connections.transaction() as database:
            database.execute(table.delete().where(table.expires_at <= now))

    def _where(self, condition: Any) -> Sequence[Invitation]:
        table = tables.Invitation
        query = table.select().where(condition).order_by(table.created_at, table.id)
        with self._connections.connection() as database:
            rows = [Invitation(*row) for row in query.tuples().execute(database)]
        return [replace(row, token_hash=bytes(row.token_hash)) for row in rows]


class PasswordResetRepository(_Repository):
    """The links that set a new password."""

    def add(self, reset: PasswordReset) -> None:
        """Store it."""
        values = _values(reset)
        values["user"] = values.pop("user_id")
        with self._writing("there is a link of this token already") as database:
            database.execute(tables.PasswordReset.insert(values))

    def get(self, token_hash: bytes) -> tuple[PasswordReset, User] | None:
        """The link and its user."""
        table, user = tables.PasswordReset, tables.User
        query = (
            table.select(table.created_at, table.expires_at, *_columns(user, User))
            .join(user)
            .where(table.token_hash == token_hash)
        )
        with self._connections.connection() as database:
            row = query.tuples().first(database)
        if row is None:
            return None
        created_at, expires_at, *of_user = row
        owner = User(*of_user)
        return PasswordReset(token_hash, owner.id, created_at, expires_at), owner

    def count(self, user_id: UUID, now: datetime) -> int:
        """How many have not expired at `now`."""
        table = tables.PasswordReset
        query = table.select(fn.COUNT(table.token_hash)).where(
            (table.user == user_id) & (table.expires_at > now)
        )
        with self._connections.connection() as database:
            return int(query.scalar(database))

    def delete(self, token_hash: bytes) -> bool:
        """Remove it."""
        table = tables.PasswordReset
        with self._connections.transaction() as database:
            return _any(database.execute(table.delete().where(table.token_hash == token_hash)))

    def delete_of_user(self, user_id: UUID) -> None:
        """Remove all of one person."""
        table = tables.PasswordReset
        with self._connections.transaction() as database:
            database.execute(table.delete().where(table.user == user_id))

    def delete_expired(self, now: datetime) -> None:
        """Remove those that have expired at `now`."""
        table = tables.PasswordReset
        with self._connections.transaction() as database:
            database.execute(table.delete().where(table.expires_at <= now))


class SecondFactorRepository(_Repository):
    """The second factors and their recovery codes."""

    def put(self, factor: SecondFactor) -> None:
        """Store it, in place of another one."""
        table = tables.SecondFactor
        values = _values(factor)
        values["user"] = values.pop("user_id")
        with self._writing("") as database:
            self._delete(database, factor.user_id)
            database.execute(table.insert(values))

    def get(self, user_id: UUID) -> SecondFactor | None:
        """The second factor of that person."""
        table = tables.SecondFactor
        query = table.select(table.secret, table.created_at, table.confirmed, table.last_step)
        with self._connections.connection() as database:
            row = query.where(table.user == user_id).tuples().first(database)
        if row is None:
            return None
        secret, created_at, confirmed, last_step = row
        return SecondFactor(user_id, bytes(secret), created_at, bool(confirmed), last_step)

    def confirm(self, user_id: UUID, step: int, recovery_codes: Sequence[bytes]) -> None:
        """Put it in force."""
        table, codes = tables.SecondFactor, tables.RecoveryCode
        rows = [{"code_hash": code_hash, "user": user_id} for code_hash in recovery_codes]
        with self._connections.transaction() as database:
            database.execute(
                table.update(confirmed=True, last_step=step).where(table.user == user_id)
            )
            database.execute(codes.delete().where(codes.user == user_id))
            if rows:
                database.execute(codes.insert_many(rows))

    def advance(self, user_id: UUID, step: int) -> bool:
        """Note that a code was used."""
        table = tables.SecondFactor
        which = (table.user == user_id) & (table.last_step < step)
        with self._connections.transaction() as database:
            return _any(database.execute(table.update(last_step=step).where(which)))

    def take_recovery_code(self, user_id: UUID, code_hash: bytes) -> bool:
        """Remove it."""
        table = tables.RecoveryCode
        which = (table.user == user_id) & (table.code_hash == code_hash)
        with self._connections.transaction() as database:
            return _any(database.execute(table.delete().where(which)))

    def recovery_codes(self, user_id: UUID) -> int:
        """How many are left."""
        table = tables.RecoveryCode
        query = table.select(fn.COUNT(table.code_hash)).where(table.user == user_id)
        with self._connections.connection() as database:
            return int(query.scalar(database))

    def delete(self, user_id: UUID) -> bool:
        """Remove it."""
        with self._connections.transaction() as database:
            return self._delete(database, user_id)

    def _delete(self, database: Connection, user_id: UUID) -> bool:
        for table in (tables.RecoveryCode, tables.SecondFactor):
            cursor = database.execute(table.delete().where(table.user == user_id))
        return _any(cursor)


class ApiKeyRepository(_Repository):
    """The API keys."""

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections)
        self._by_hash = connections.sql(
            "SELECT id, organization_id, name, role, prefix, created_at, expires_at, last_used_at,"
            " operator, created_by_id FROM api_keys WHERE token_hash = ?"
        )

    def add(self, key: ApiKey) -> None:
        """Store it."""
        with self._writing("there is a key of this token already") as database:
            database.execute(tables.ApiKey.insert(_values(key)))

    def get(self, key_id: UUID) -> ApiKey | None:
        """The key of that id."""
        table = tables.ApiKey
        with self._connections.connection() as database:
            row = table.select().where(table.id == key_id).tuples().first(database)
            return ApiKey(*row) if row else None

    def by_hash(self, token_hash: bytes) -> ApiKey | None:
        """The key of that token."""
        with self._connections.connection() as database:
            # PERF: by hand, as `MembershipRepository.role` is.
            row = database.execute_sql(self._by_hash, (token_hash,)).fetchone()
        if row is None:
            return None
        key_id, organization_id, name, role, prefix, created_at, expires_at, used_at, *rest = row
        operator, created_by = rest
        return ApiKey(
            id=to_uuid(key_id),
            organization_id=to_uuid(organization_id),
            name=name,
            role=Role(role),
            prefix=prefix,
            token_hash=token_hash,
            created_at=to_moment(created_at),
            expires_at=_moment_or_none(expires_at),
            last_used_at=_moment_or_none(used_at),
            operator=bool(operator),
            created_by=None if created_by is None else to_uuid(created_by),
        )

    def of_organization(self, organization_id: UUID) -> Sequence[ApiKey]:
        """The organisation's keys, oldest first."""
        table = tables.ApiKey
        query = (
            table.select()
            .where(table.organization == organization_id)
            .order_by(table.created_at, table.id)
        )
        with self._connections.connection() as database:
            return [ApiKey(*row) for row in query.tuples().execute(database)]

    def touch(self, key_id: UUID, last_used_at: datetime) -> None:
        """Note that it was used."""
        table = tables.ApiKey
        with self._connections.transaction() as database:
            database.execute(table.update(last_used_at=last_used_at).where(table.id == key_id))

    def delete(self, organization_id: UUID, key_id: UUID) -> bool:
        """Remove it."""
        table = tables.ApiKey
        with self._connections.transaction() as database:
            cursor = database.execute(
                table.delete().where((table.organization == organization_id) & (table.id == key_id))
            )
            return _any(cursor)

    def hand_over(self, key_ids: Collection[UUID], user_id: UUID | None) -> None:
        """Make the person the one who has made these keys."""
        table = tables.ApiKey
        with self._connections.transaction() as database:
            for batch in batches(list(key_ids), _BATCH):
                database.execute(table.update(created_by=user_id).where(table.id.in_(batch)))

    def set_operator(self, key_id: UUID, operator: bool) -> bool:
        """Make the key an operator's, or not any more."""
        table = tables.ApiKey
        with self._connections.transaction() as database:
            cursor = database.execute(table.update(operator=operator).where(table.id == key_id))
            return _any(cursor)

    def operators(self) -> Sequence[ApiKey]:
        """The operators' keys, oldest first."""
        table = tables.ApiKey
        query = table.select().where(table.operator).order_by(table.created_at, table.id)
        with self._connections.connection() as database:
            return [ApiKey(*row) for row in query.tuples().execute(database)]


class CodeRepository(_Repository):
    """The codes."""

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections)
        one = (
            "SELECT c.id, c.organization_id, c.slug, c.destination, c.title, c.tags, c.active,"
            " c.valid_from, c.valid_until, c.max_scans, c.forward_query, c.style, c.revision,"
            " c.created_at, c.updated_at, COALESCE(n.scans, 0)"
            " FROM codes AS c LEFT JOIN code_counts AS n ON n.code_id = c.id"
        )
        self._by_slug = connections.sql(f"{one} WHERE c.slug_key = ?")
        self._by_id = connections.sql(f"{one} WHERE c.id = ? AND NOT c.deleted")
        # PERF: indexes alone tell both numbers, in a third of the time that it takes to look at
        # each code (18 ms rather than 61 for 300,000).
        self._count = connections.sql(
            "SELECT (SELECT COUNT(*) FROM codes WHERE organization_id = ?)"
            " - (SELECT COUNT(*) FROM codes WHERE organization_id = ? AND deleted)"
        )

    def add(self, codes: Sequence[Code]) -> None:
        """Store all of them or none, or raise SlugTaken."""
        if (repeated := _first_repeated(codes)) is not None:
            raise SlugTaken(repeated)
        # NOTE: in one order everywhere, because on PostgreSQL each slug is locked as it is
        # inserted: two lists with the same slugs in opposite orders would wait for each other.
        ordered = sorted(codes, key=lambda code: slug_key(code.slug))
        try:
            with self._connections.transaction() as database:
                _keep_styles(database, codes)
                for batch in batches(ordered, _BATCH):
                    rows = [
                        {"id": code.id, "organization": code.organization_id}
                        | {"slug": code.slug, "slug_key": slug_key(code.slug)}
                        | {"created_at": code.created_at}
                        | _changeable(code)
                        for code in batch
                    ]
                    database.execute(tables.Code.insert_many(rows))
                _add_tags(database, ordered)
        except IntegrityError as error:
            taken = self.taken([code.slug for code in codes])
            for code in codes:
                if code.slug in taken:
                    raise SlugTaken(code.slug) from error
            raise self._conflict(error, "there is a code of this id already") from error

    def get(self, organization_id: UUID, code_id: UUID) -> Code | None:
        """The organisation's code of that id."""
        code = self.find(code_id)
        return code if code is not None and code.organization_id == organization_id else None

    def find(self, code_id: UUID) -> Code | None:
        """The code of that id, in any organisation."""
        return self._one(self._by_id, self._connections.key(code_id))

    def by_slug(self, slug: str) -> Code | None:
        """The code of that slug, in any organisation."""
        return self._one(self._by_slug, slug_key(slug))

    def _one(self, sql: str, key: object) -> Code | None:
        with self._connections.connection() as database:
            # PERF: every scan that no cache answers comes here; by hand, as
            # `MembershipRepository.role` is.
            row = database.execute_sql(sql, (key,)).fetchone()
        if row is None:
            return None
        (
            code_id, organization_id, slug, destination, title, tags, active, valid_from,
            valid_until, max_scans, forward_query, style, revision, created_at, updated_at, scans,
        ) = row  # fmt: skip
        return Code(
            id=to_uuid(code_id),
            organization_id=to_uuid(organization_id),
            slug=slug,
            destination=destination,
            title=title,
            tags=to_tags(tags),
            active=bool(active),
            valid_from=_moment_or_none(valid_from),
            valid_until=_moment_or_none(valid_until),
            max_scans=max_scans,
            forward_query=bool(forward_query),
            style=None if style is None else UUID(style),
            revision=revision,
            created_at=to_moment(created_at),
            updated_at=to_moment(updated_at),
            scans_total=scans,
        )

    def taken(self, slugs: Collection[str]) -> frozenset[str]:
        """Those of `slugs` that exist."""
        table = tables.Code
        keys = {slug_key(slug) for slug in slugs}
        found: set[str] = set()
        with self._connections.connection() as database:
            for batch in batches(sorted(keys), _BATCH):
                query = table.select(table.slug_key).where(table.slug_key.in_(list(batch)))
                found.update(key for (key,) in query.tuples().execute(database))
        return frozenset(slug for slug in slugs if slug_key(slug) in found)

    def list(self, organization_id: UUID, query: CodeQuery) -> CodePage:
        """A page of the organisation's codes, in two statements."""
        conditions = _conditions(organization_id, query)
        all_of_them = not query.search and query.tag is None and query.active is None
        selection = (
            _select()
            .where(*conditions)
            .order_by(self._order(query.sort), tables.Code.id)
            .paginate(query.page, query.per_page)
        )
        with self._connections.connection() as database:
            if all_of_them:
                key = self._connections.key(organization_id)
                (total,) = database.execute_sql(self._count, (key, key)).fetchone()
            else:
                counting = tables.Code.select(fn.COUNT(tables.Code.id)).where(*conditions)
                total = int(counting.scalar(database) or 0)
            items = tuple(Code(*row) for row in selection.tuples().execute(database))
        return CodePage(items=items, page=query.page, per_page=query.per_page, total=total)

    def following(
        self, organization_id: UUID, last: Code | None, limit: int, tag: str | None = None
    ) -> Sequence[Code]:
        """The codes that come after `last` in the order of their creation."""
        table = tables.Code
        conditions = _conditions(organization_id, CodeQuery(tag=tag))
        if last is not None:
            conditions += [
                # Said once more by itself, since this alone is looked up in an index.
                table.created_at >= last.created_at,
                (table.created_at > last.created_at) | (table.id > last.id),
            ]
        selection = _select().where(*conditions).order_by(table.created_at, table.id).limit(limit)
        with self._connections.connection() as database:
            return tuple(Code(*row) for row in selection.tuples().execute(database))

    def update(self, code: Code, expected_revision: int) -> bool:
        """Store what may change, unless the stored revision is another than expected."""
        table, tag = tables.Code, tables.CodeTag
        with self._connections.transaction() as database:
            _keep_styles(database, [code])
            cursor = database.execute(
                table.update(_changeable(code)).where(
                    (table.id == code.id)
                    & (table.organization == code.organization_id)
                    & (table.revision == expected_revision)
                    & ~table.deleted
                )
            )
            changed = _any(cursor)
            if changed:
                database.execute(tag.delete().where(tag.code == code.id))
                _add_tags(database, [code])
            return changed

    def delete(self, organization_id: UUID, code_id: UUID) -> bool:
        """Hide the code and free its slug; few scans go at once, many ones later."""
        table, count, tag = tables.Code, tables.CodeCount, tables.CodeTag
        own = (table.organization == organization_id) & (table.id == code_id) & ~table.deleted
        with self._connections.transaction() as database:
            # Appending to a code locks it before it counts, so nothing is added after this.
            if not _lock(database, table.select(table.id).where(own)):
                return False
            for of_code in (count, tag):
                database.execute(of_code.delete().where(of_code.code == code_id))
            _bury(database, own)
        # It is gone for everybody; what cannot be removed now is removed later.
        with suppress(StorageUnavailable):
            Removal(self._connections).code(code_id, organization_id, _REMOVED_AT_ONCE)
        return True

    def _order(self, sort: CodeSort) -> Any:
        name = sort.value.removeprefix("-")
        column: Any = {
            "created_at": tables.Code.created_at,
            "updated_at": tables.Code.updated_at,
            "title": tables.Code.title_key,
            "slug": tables.Code.slug_key,
            "scans_total": _scans_total(),
        }[name]
        order = column.desc() if sort.value.startswith("-") else column.asc()
        return order.collate(self._connections.collation) if name in ("title", "slug") else order


class StyleRepository(_Repository):
    """The style presets."""

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections)
        one = (
            "SELECT id, organization_id, name, look, is_default, created_at, updated_at"
            " FROM styles WHERE organization_id = ?"
        )
        self._by_id = connections.sql(f"{one} AND id = ?")
        self._default = connections.sql(f"{one} AND is_default")

    def add(self, style: Style) -> None:
        """Store it, or raise Conflict."""
        insert = tables.Style.insert(
            id=style.id,
            organization=style.organization_id,
            created_at=style.created_at,
            **_of_style(style),
        )
        self._store(style, insert)

    def get(self, organization_id: UUID, style_id: UUID) -> Style | None:
        """The organisation's style of that id."""
        return self._one(self._by_id, organization_id, style_id)

    def default(self, organization_id: UUID) -> Style | None:
        """The style that is the organisation's default."""
        return self._one(self._default, organization_id)

    def of_organization(self, organization_id: UUID) -> Sequence[Style]:
        """The organisation's styles, by name."""
        table = tables.Style
        query = table.select(*_columns(table, Style)).where(table.organization == organization_id)
        with self._connections.connection() as database:
            styles = [Style(*row) for row in query.tuples().execute(database)]
        return sorted(styles, key=lambda style: (style.name.casefold(), style.id))

    def update(self, style: Style) -> bool:
        """Store what may change, or raise Conflict."""
        table = tables.Style
        return self._store(
            style,
            table.update(_of_style(style)).where(
                (table.id == style.id) & (table.organization == style.organization_id)
            ),
        )

    def delete(self, organization_id: UUID, style_id: UUID) -> bool:
        """Remove it, or raise Conflict."""
        table, code = tables.Style, tables.Code
        own = (table.organization == organization_id) & (table.id == style_id)
        with self._connections.transaction() as database:
            # Who gives the style to a code locks it too, so that the count below stays true.
            if not _lock(database, table.select(table.id).where(own)):
                return False
            having = (code.organization == organization_id) & (code.style == style_id)
            count = int(code.select(fn.COUNT(code.id)).where(having).scalar(database) or 0)
            if count:
                codes = "1 code has" if count == 1 else f"{count} codes have"
                raise Conflict(f"{codes} this style; give them another, or none, first.")
            return _any(database.execute(table.delete().where(own)))

    def _store(self, style: Style, write: Any) -> bool:
        taken = f"there is a style {style.name!r} already; choose another name"
        with self._writing(taken) as database:
            if style.is_default:
                _unset_default(database, style)
            return _any(database.execute(write))

    def _one(self, sql: str, *ids: UUID) -> Style | None:
        with self._connections.connection() as database:
            # PERF: asked for each image; by hand, as `MembershipRepository.role` is.
            row = database.execute_sql(sql, tuple(map(self._connections.key, ids))).fetchone()
        if row is None:
            return None
        style_id, organization_id, name, look, is_default, created_at, updated_at = row
        return Style(
            id=to_uuid(style_id),
            organization_id=to_uuid(organization_id),
            name=name,
            look=to_look(look),
            is_default=bool(is_default),
            created_at=to_moment(created_at),
            updated_at=to_moment(updated_at),
        )


class LogoRepository(_Repository):
    """The logos."""

    def add(self, logo: Logo) -> None:
        """Store it."""
        values = _values(logo.info)
        insert = tables.Logo.insert(
            organization=values.pop("organization_id"), data=logo.data, **values
        )
        with self._writing("there is a logo of this id already") as database:
            database.execute(insert)

    def get(self, organization_id: UUID, logo_id: UUID) -> Logo | None:
        """The organisation's logo of that id."""
        table = tables.Logo
        query = table.select(*_logo_columns(), table.data).where(
            (table.organization == organization_id) & (table.id == logo_id)
        )
        with self._connections.connection() as database:
            row = query.tuples().first(database)
            return Logo(LogoInfo(*row[:-1]), bytes(row[-1])) if row else None

    def of_organization(self, organization_id: UUID) -> Sequence[LogoInfo]:
        """The organisation's logos, by name."""
        table = tables.Logo
        query = table.select(*_logo_columns()).where(table.organization == organization_id)
        with self._connections.connection() as database:
            logos = [LogoInfo(*row) for row in query.tuples().execute(database)]
        return sorted(logos, key=lambda logo: (logo.name.casefold(), logo.id))

    def delete(self, organization_id: UUID, logo_id: UUID) -> bool:
        """Remove it, or raise Conflict."""
        table, style = tables.Logo, tables.Style
        own = (table.organization == organization_id) & (table.id == logo_id)
        having = (style.organization == organization_id) & (style.logo == logo_id)
        try:
            with self._connections.transaction() as database:
                return _any(database.execute(table.delete().where(own)))
        except IntegrityError as error:
            with self._connections.connection() as database:
                names = style.select(style.name).where(having).order_by(style.name_key)
                found = [name for (name,) in names.tuples().execute(database)]
            raise Conflict(
                f"The logo is in use by the styles {_listed(found)}; give them another, or none, "
                "first."
            ) from error


class IdempotencyRepository(_Repository):
    """The answers that are kept for their Idempotency-Key."""

    def claim(self, organization_id: UUID, key: str, digest: bytes, now: datetime) -> bool:
        """Reserve the key."""
        insert = tables.IdempotencyKey.insert(
            organization=organization_id, key=key, request_digest=digest, claimed_at=now
        )
        # On a key that another transaction has claimed, the database waits until that one ends,
        # and then either inserts the row or knows that it is there.
        with self._writing("") as database:
            return _any(database.execute(insert.on_conflict_ignore()))

    def get(self, organization_id: UUID, key: str) -> RecordedAnswer | None:
        """The answer, if there is one yet."""
        table = tables.IdempotencyKey
        query = table.select(table.request_digest, table.body).where(
            (table.organization == organization_id) & (table.key == key) & table.body.is_null(False)
        )
        with self._connections.connection() as database:
            row = query.tuples().first(database)
            return RecordedAnswer(*row) if row else None

    def record(self, organization_id: UUID, key: str, body: bytes) -> None:
        """Keep the answer."""
        table = tables.IdempotencyKey
        with self._connections.transaction() as database:
            database.execute(
                table.update(body=body).where(
                    (table.organization == organization_id) & (table.key == key)
                )
            )

    def delete_before(self, moment: datetime) -> None:
        """Forget the older ones."""
        table = tables.IdempotencyKey
        with self._connections.transaction() as database:
            database.execute(table.delete().where(table.claimed_at < moment))


class CacheEpochRepository(_Repository):
    """The numbers in the keys of caches."""

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections)
        self._advance = connections.sql(
            "INSERT INTO cache_epochs (namespace, number) VALUES (?, 1) ON CONFLICT (namespace)"
            " DO UPDATE SET number = cache_epochs.number + 1 RETURNING number"
        )

    def all(self) -> Mapping[str, int]:
        """The numbers by namespace."""
        with self._connections.connection() as database:
            return dict(database.execute_sql("SELECT namespace, number FROM cache_epochs"))

    def advance(self, namespace: str) -> int:
        """Count on: the row is locked from here to the end of the transaction."""
        with self._connections.transaction() as database:
            return int(database.execute_sql(self._advance, (namespace,)).fetchone()[0])


class AuditLogRepository(_Repository):
    """What was changed in organisations."""

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections)
        columns = [field.column_name for field in tables.AuditEntry._meta.sorted_fields]
        self._append = connections.sql(
            f"INSERT INTO audit_entries ({', '.join(columns)})"  # noqa: S608
            f" VALUES {placeholders(1, len(columns))}"
        )

    def append(self, entry: AuditEntry) -> None:
        """Store it."""
        key, actor, subject = self._connections.key, entry.actor, entry.subject
        values = (
            key(entry.id),
            key(entry.organization_id),
            to_microseconds(entry.at),
            actor.kind.value,
            None if actor.id is None else key(actor.id),
            actor.name,
            entry.action.value,
            subject.kind.value,
            None if subject.id is None else key(subject.id),
            subject.label,
            msgspec.json.encode(entry.changes).decode(),
            entry.address,
            entry.request_id,
        )
        connections = self._connections
        # PERF: written with every change, hence by hand, as `MembershipRepository.role` is, and as
        # a part of the change without a savepoint of its own, which would take two more round
        # trips: where it fails, the change is to be undone as well.
        joins = connections.database.in_transaction()
        with connections.connection() if joins else connections.transaction() as database:
            database.execute_sql(self._append, values)

    def entries(
        self, organization_id: UUID, matching: AuditFilter, limit: int
    ) -> Sequence[AuditEntry]:
        """The newest entries that fulfil the filter."""
        table = tables.AuditEntry
        conditions: list[Any] = [table.organization_id == organization_id]
        for column, wanted in (
            (table.action, matching.action),
            (table.actor_id, matching.actor),
            (table.actor_kind, matching.actor_kind),
            (table.subject_id, matching.subject),
        ):
            if wanted is not None:
                conditions.append(column == wanted)
        if matching.first is not None:
            conditions.append(table.id >= matching.first)
        if matching.before is not None:
            conditions.append(table.id < matching.before)
        query = table.select().where(*conditions).order_by(table.id.desc()).limit(limit)
        with self._connections.connection() as database:
            return [_entry(*row) for row in query.tuples().execute(database)]

    def prune(self, before: UUID, limit: int) -> int:
        """Remove the oldest ones."""
        table = tables.AuditEntry
        old: Any = table.select(table.id).where(table.id < before).order_by(table.id).limit(limit)
        try:
            with self._connections.transaction() as database:
                if database.for_update:
                    # Whoever else prunes at this moment takes others.
                    old = old.for_update("FOR UPDATE SKIP LOCKED")
                cursor = database.execute(table.delete().where(table.id.in_(old)))
                return int(cursor.rowcount)
        except IntegrityError as error:
            raise StorageUnavailable(
                "The database does not remove audit entries of the last 30 days; set the clocks of "
                "both machines."
            ) from error


class DatabaseStorage:
    """A storage in the database behind `connections`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self.organizations = OrganizationRepository(connections)
        self.users = UserRepository(connections)
        self.memberships = MembershipRepository(connections)
        self.sessions = SessionRepository(connections)
        self.invitations = InvitationRepository(connections)
        self.password_resets = PasswordResetRepository(connections)
        self.second_factors = SecondFactorRepository(connections)
        self.api_keys = ApiKeyRepository(connections)
        self.codes = CodeRepository(connections)
        self.styles = StyleRepository(connections)
        self.logos = LogoRepository(connections)
        self.idempotency = IdempotencyRepository(connections)
        self.cache_epochs = CacheEpochRepository(connections)
        self.audit = AuditLogRepository(connections)

    def open(self) -> None:
        """Get ready in this process."""
        self._connections.open()

    def close(self) -> None:
        """Let go of every connection, unless the scan store still needs them."""
        self._connections.close()

    def transaction(self) -> AbstractContextManager[None]:
        """All writes inside happen together, or not at all."""
        return self._transaction()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._connections.transaction():
            yield

    def ping(self) -> None:
        """Read a row, so that a file that is no database is noticed too."""
        with self._connections.connection() as database:
            database.get_tables()

    def pending_migrations(self) -> Sequence[str]:
        """The names of the migrations that are still to be applied."""
        return self._connections.pending_migrations()

    def migrate(self) -> Sequence[str]:
        """Apply the pending migrations."""
        return self._connections.migrate()

    def describe(self) -> Mapping[str, str]:
        """What runs here."""
        return self._connections.describe()


def _entry(
    entry_id: UUID, organization_id: UUID, at: datetime, actor_kind: str, actor_id: UUID | None,
    actor: str, action: str, subject_kind: str, subject_id: UUID | None, subject: str,
    changes: str, address: str, request_id: str,
) -> AuditEntry:  # fmt: skip
    return AuditEntry(
        id=entry_id,
        organization_id=organization_id,
        at=at,
        actor=Actor(ActorKind(actor_kind), actor_id, actor),
        action=Action(action),
        subject=Subject(SubjectKind(subject_kind), subject_id, subject),
        changes=msgspec.json.decode(changes, type=dict[str, Change]),
        address=address,
        request_id=request_id,
    )


def _slug_taken(organization: Organization) -> str:
    return f"the organization slug {organization.slug!r} is taken; choose another"


def _by_name(organization: Organization) -> tuple[str, UUID]:
    return organization.name.casefold(), organization.id


def _values(struct: Any) -> dict[str, Any]:
    """The columns of a table that has one for each field, of the same name."""
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def _any(cursor: Any) -> bool:
    return bool(cursor.rowcount)


def _moment_or_none(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else to_moment(microseconds)


def _lock(database: Connection, query: Any, lock: str = "FOR UPDATE") -> list[Any]:
    """The rows, locked until the transaction ends; SQLite's writer is alone anyway."""
    locking = database.for_update and database.in_transaction()
    return list((query.for_update(lock) if locking else query).tuples().execute(database))


def _keep_styles(database: Connection, codes: Sequence[Code]) -> None:
    """Keep the codes' styles from being deleted until the transaction ends, or raise Conflict."""
    wanted = {(code.organization_id, code.style) for code in codes if code.style is not None}
    table = tables.Style
    for organization_id, style_id in sorted(wanted):
        own = (table.organization == organization_id) & (table.id == style_id)
        if not _lock(database, table.select(table.id).where(own), "FOR KEY SHARE"):
            raise Conflict("The style has been deleted in the meantime; choose another, or none.")


def _bury(database: Connection, which: Any, **changes: Any) -> None:
    """Take codes out of everybody's sight; `removal.py` removes them."""
    table = tables.Code
    # No slug begins so, and each has another one.
    slug = SQL("'~' || CAST(id AS TEXT)")
    nothing = {"style": None, "active": False, "slug": slug, "slug_key": slug}
    database.execute(table.update(deleted=True, **nothing, **changes).where(which))


def _unset_default(database: Connection, style: Style) -> None:
    if database.for_update:
        # Whoever makes another style the default waits here, where nobody has locked a row yet.
        key = int.from_bytes(style.organization_id.bytes[:8], signed=True)
        database.execute_sql("SELECT pg_advisory_xact_lock(%s)", (key,))
    table = tables.Style
    own = table.organization == style.organization_id
    _lock(database, table.select(table.id).where(own).order_by(table.id))
    others = own & table.is_default & (table.id != style.id)
    database.execute(table.update(is_default=False).where(others))


def _of_style(style: Style) -> dict[str, Any]:
    """The columns of all that may change of a style."""
    return {
        "name": style.name,
        "name_key": style.name.casefold(),
        "look": style.look,
        "logo": style.look.logo,
        "is_default": style.is_default,
        "updated_at": style.updated_at,
    }


def _logo_columns() -> list[Any]:
    return _columns(tables.Logo, LogoInfo)


def _columns(table: Any, struct: type[Any]) -> list[Any]:
    """The columns of a table that hold a struct's fields, in their order."""
    return [
        table.organization if name == "organization_id" else getattr(table, name)
        for name in struct.__struct_fields__
    ]


def _listed(names: Sequence[str]) -> str:
    """The first of the names, and how many more there are."""
    more = len(names) - _NAMED
    shown = ", ".join(repr(name) for name in names[:_NAMED])
    return f"{shown} and {more} more" if more > 0 else shown


def _scans_total() -> Any:
    return fn.COALESCE(tables.CodeCount.scans, 0)


def _select() -> Any:
    """A selection of codes whose columns are the fields of `Code`, in their order."""
    table = tables.Code
    columns: list[Any] = [
        table.organization if name == "organization_id" else getattr(table, name)
        for name in Code.__struct_fields__
        if name != "scans_total"
    ]
    return table.select(*columns, _scans_total()).join(
        tables.CodeCount, JOIN.LEFT_OUTER, on=(tables.CodeCount.code == table.id)
    )


def _conditions(organization_id: UUID, query: CodeQuery) -> list[Any]:
    table, tag = tables.Code, tables.CodeTag
    conditions: list[Any] = [table.organization == organization_id, ~table.deleted]
    if query.search:
        # Both sides are casefolded, and `contains` escapes %, _ and \.
        conditions.append(table.search_text.contains(query.search.casefold()))
    if query.tag is not None:
        tagged = tag.select(tag.code).where(
            (tag.organization == organization_id) & (tag.tag == query.tag.casefold())
        )
        conditions.append(table.id.in_(tagged))
    if query.active is not None:
        conditions.append(table.active == query.active)
    return conditions


def _changeable(code: Code) -> dict[str, Any]:
    """The columns of all that may change of a code."""
    texts = (code.title, code.slug, code.destination, *code.tags)
    return {
        "destination": code.destination,
        "title": code.title,
        "tags": code.tags,
        "active": code.active,
        "valid_from": code.valid_from,
        "valid_until": code.valid_until,
        "max_scans": code.max_scans,
        "forward_query": code.forward_query,
        "style": code.style,
        "revision": code.revision,
        "updated_at": code.updated_at,
        "title_key": code.title.casefold(),
        "search_text": "\n".join(texts).casefold(),
    }


def _add_tags(database: Connection, codes: Sequence[Code]) -> None:
    rows = [
        {"code": code.id, "organization": code.organization_id, "tag": tag}
        for code in codes
        for tag in dict.fromkeys(tag.casefold() for tag in code.tags)
    ]
    for batch in batches(rows, _BATCH):
        database.execute(tables.CodeTag.insert_many(batch))


def _first_repeated(codes: Sequence[Code]) -> str | None:
    seen: set[str] = set()
    for code in codes:
        key = slug_key(code.slug)
        if key in seen:
            return code.slug
        seen.add(key)
    return None
