"""The Protocols that plugins fulfil and that services rely on.

Nothing here opens anything when it is constructed: `open()` is called once in each worker process,
after any fork, `close()` once before the process ends. All methods may be called from several
threads or greenlets at a time. Points in time are aware datetimes in UTC, kept to the microsecond.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date, datetime
from typing import Protocol, runtime_checkable
from uuid import UUID
from zoneinfo import ZoneInfo

from msgspec import Struct

from core.domain.accounts import (
    ApiKey,
    Invitation,
    Member,
    Membership,
    Organization,
    PasswordReset,
    Role,
    SecondFactor,
    Session,
    User,
)
from core.domain.audit import AuditEntry, AuditFilter
from core.domain.codes import BusinessCode, Code, CodePage, CodeQuery, Target
from core.domain.images import Drawing, ErrorCorrection, Symbol, SymbolKind
from core.domain.letters import Letter
from core.domain.logos import Logo, LogoInfo
from core.domain.looks import Style
from core.domain.periods import Interval, Window
from core.domain.scans import (
    Count,
    DayCounts,
    Dimension,
    Drained,
    Generation,
    RecordedScan,
    Scan,
    Span,
    Totals,
    Visit,
)
from core.domain.sheets import Label, Sheet
from core.domain.traits import Traits


@runtime_checkable
class Encoder(Protocol):
    """Turns text into a QR symbol (ISO/IEC 18004)."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the symbols may change: goes into every entity tag."""

    @property
    def kinds(self) -> frozenset[SymbolKind]:
        """The kinds of symbols that it makes; QR is always among them."""

    def encode(
        self,
        content: str,
        error_correction: ErrorCorrection,
        kind: SymbolKind = SymbolKind.QR,
        *,
        boost: bool = True,
    ) -> Symbol:
        """The smallest symbol of one of `kinds` for `content` at `error_correction`.

        With `boost` the level is raised as far as the symbol does not grow by it. Raises ValueError
        where no symbol can hold the content, saying how much fits.
        """


@runtime_checkable
class Renderer(Protocol):
    """Turns a drawing into an image in one format, named by its registry name (`png`)."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the bytes may change: goes into every entity tag."""

    @property
    def media_type(self) -> str:
        """The media type of what `render` returns, as for Content-Type."""

    @property
    def extension(self) -> str:
        """How the name of a file of this format ends, without the dot."""

    def render(self, drawing: Drawing) -> bytes:
        """The image: `layout.size` pixels wide and high, the same bytes for the same input.

        Raises ValueError where the format cannot show the look, saying what it cannot.
        """


@runtime_checkable
class SheetPrinter(Protocol):
    """Turns labels into a document to print, in one format, named by its registry name (`pdf`)."""

    @property
    def media_type(self) -> str:
        """The media type of what `print` returns, as for Content-Type."""

    @property
    def extension(self) -> str:
        """How the name of a file of this format ends, without the dot."""

    def check(self, text: str) -> None:
        """Raise ValueError for a text of a label that `print` cannot letter, naming the letter."""

    def print(self, sheet: Sheet, labels: Iterable[Label]) -> bytes:
        """The document: each label in its place on as many pages as are needed, in true size.

        The same bytes for the same input. `labels` are drawn as they come, and may be many. Raises
        ValueError for a look that the format cannot show, or a text that it cannot letter.
        """


@runtime_checkable
class Period(Protocol):
    """A named window for timelines, such as `7d`."""

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """How long its buckets may be; the first one is taken where nobody asks for another."""

    def window(
        self,
        now: datetime,
        timezone: ZoneInfo,
        first: datetime | None,
        interval: Interval | None = None,
    ) -> Window:
        """The window as seen at `now` from `timezone`, in buckets of one of `intervals`.

        `first` is when the first scan of what is counted was, None where there was none.
        """

    def previous(self, window: Window) -> Window | None:
        """What a window of this period is compared with; None where nothing compares.

        Mostly the span just before it, which is `window.previous()`.
        """


class CacheTraits(Struct, frozen=True):
    """What a cache cannot do, for services that would otherwise rely on it.

    `shared` says whether all processes of a machine see the same values, and those of all machines
    where the cache is not of one: where it is false, what one process deletes or counts, the others
    never notice. `lag` is for how many seconds a process
    may go on to see what another one has replaced or deleted. `max_value` is the size in bytes
    beyond which no value is kept, None where there is no such bound.
    """

    shared: bool
    lag: float = 0.0
    max_value: int | None = None


class CacheFigures(Struct, frozen=True):
    """What only the cache itself knows of its state; None stands for what cannot be told.

    `size` is in bytes. `evictions` are entries that made room for others. `errors` are failed
    operations and values that were not what had been kept, `too_large` are values beyond
    `CacheTraits.max_value`; these two count what this process has met since it began. `servers` are
    those that the cache is spread over, and `aside` those of them that do without for now.
    """

    entries: int | None = None
    size: int | None = None
    evictions: int | None = None
    errors: int = 0
    too_large: int = 0
    servers: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()


class SpaceFigures(Struct, frozen=True):
    """What a cache knows of the keys of one namespace in this process; None: it cannot tell.

    `size` is in bytes, with all that the entries cost; those that have expired count until they are
    removed. The others count what this process has met since it began: `evictions` are entries that
    made room for others, `errors` are failed operations and values that were not what had been
    kept, `too_large` are values beyond `CacheTraits.max_value`, which were not kept.
    """

    entries: int | None = None
    size: int | None = None
    evictions: int | None = None
    errors: int = 0
    too_large: int = 0


@runtime_checkable
class Cache(Protocol):
    """Keeps bytes for a while; may forget any of them at any time.

    A cache that is away is an empty one: no method but `open` raises, and none takes long. A key is
    that of a value (`set`, `add`) or that of a counter (`increment`); which of both it is must not
    change while either lives. It begins with its namespace and a colon, as `image:...` does; the
    namespaces are few, and none comes from a request. The namespace of a key without a colon is "".
    """

    @property
    def traits(self) -> CacheTraits:
        """What the cache cannot do; the same for as long as it lives."""

    def open(self) -> None:
        """Get ready in this process. Raises ConfigurationError where it can never work."""

    def close(self) -> None:
        """Let go of whatever `open` took."""

    def get(self, key: str) -> bytes | None:
        """The value, or None where there is none or it has expired; a counter in ASCII digits."""

    def get_many(self, keys: Collection[str]) -> Mapping[str, bytes]:
        """Those of the values that `get` would find, in as few round trips as possible."""

    def set(self, key: str, value: bytes, ttl: float) -> None:
        """Keep `value` for `ttl` seconds; one that is too large, or has no time, is not kept.

        Whatever was kept under the key is forgotten in any case.
        """

    def delete(self, key: str) -> None:
        """Forget the value or the counter, if there is one."""

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        """Keep `value` as `set` does where there is none yet; False where there is one.

        Of several who add at a time one is told True. A cache that is away answers True to all, so
        that whoever asks for a lease goes on.
        """

    def increment(self, key: str, ttl: float, by: int = 1) -> int | None:
        """Count `by` (0 or more) on, and the counter's new value, which begins at `by`.

        No two callers are told the same value of one counter, unless `by` is 0. A counter lives for
        `ttl` seconds from its beginning, or up to two seconds longer. None where the value cannot
        be told; it may have been counted then or not.
        """

    def figures(self) -> CacheFigures:
        """The state of the cache, for monitoring: may ask servers, so not for every request."""

    def spaces(self) -> Mapping[str, SpaceFigures]:
        """The figures of each namespace that this process has used, without asking any server.

        So it may be called often. A namespace may be missing while there is nothing to tell of it.
        What belongs to no key, a server that is tried again in vain for instance, counts for "".
        """


@runtime_checkable
class ScanEnricher(Protocol):
    """Tells of a scan what may be kept of it: where it came from, or what it was made with.

    It is asked in one process at a time, when scans are taken over into the scan store, never while
    somebody waits for a redirect.
    """

    def open(self) -> None:
        """Get ready in this process. Raises ConfigurationError where it can never work."""

    def close(self) -> None:
        """Let go of whatever `open` took."""

    def enrich(self, visit: Visit, traits: Traits) -> Traits:
        """`traits` with this enricher's own fields filled, the others as they were.

        `traits` hold what the enrichers before it have found. Where it raises, the error is logged
        and the traits stay as they were.
        """


@runtime_checkable
class TargetCheck(Protocol):
    """Decides whether codes may lead somewhere, beyond the rules of the settings.

    It is asked when a code is created or gets another destination, once for each link, never when
    it is scanned. Codes that lead somewhere already are not asked about again.
    """

    def open(self) -> None:
        """Get ready in this process. Raises ConfigurationError where something is missing."""

    def close(self) -> None:
        """Let go of whatever `open` took."""

    def check(self, target: Target) -> None:
        """Raise DestinationRefused, saying why and what to do, where nothing may lead there.

        Where it raises anything else, the error is logged, and the link is refused.
        """


@runtime_checkable
class Notifier(Protocol):
    """Brings letters to people: invitations, and links that set a new password.

    It is called in the background, by one thread of a process at a time, and may take its time.
    """

    def deliver(self, letter: Letter) -> None:
        """Deliver the letter, or raise: ValueError where it can never be delivered.

        After any other error it is tried again, a few times. The error's text is logged; it must
        hold nothing of the letter's text, whose link is as good as a password.
        """


class Organizations(Protocol):
    """The repository of organisations and of the business code that each may have."""

    def add(self, organization: Organization) -> None:
        """Store it. Raises Conflict where its slug is taken."""

    def get(self, organization_id: UUID) -> Organization | None: ...

    def by_slug(self, slug: str) -> Organization | None: ...

    def all(self) -> Sequence[Organization]:
        """Every organisation, by name."""

    def update(self, organization: Organization) -> None:
        """Store its name and slug. Raises Conflict where the slug is taken."""

    def delete(self, organization_id: UUID) -> None:
        """Remove it and everything that belongs to it, scans included."""

    def business_code(self, organization_id: UUID) -> BusinessCode | None:
        """What the organisation's business code encodes, or None where it was never set."""

    def set_business_code(self, organization_id: UUID, code: BusinessCode, now: datetime) -> None:
        """Set or replace what the business code encodes."""


class Users(Protocol):
    """The repository of people."""

    def add(self, user: User) -> None:
        """Store it. Raises Conflict where its e-mail address is taken."""

    def get(self, user_id: UUID) -> User | None: ...

    def by_email(self, email: str) -> User | None: ...

    def lock(self, user_id: UUID) -> User | None:
        """The person, as he is now; in a transaction, others who ask so wait until it ends."""

    def set_password_hash(self, user_id: UUID, password_hash: str) -> None: ...

    def set_operator(self, user_id: UUID, operator: bool) -> bool:
        """Make the person an operator, or none any more; False where there is nobody of that id."""

    def operators(self) -> Sequence[User]:
        """The people who are operators, by e-mail address."""


class Memberships(Protocol):
    """The repository of who belongs where."""

    def add(self, membership: Membership) -> None:
        """Store it. Raises Conflict where the user is a member already."""

    def role(self, organization_id: UUID, user_id: UUID) -> Role | None: ...

    def members(self, organization_id: UUID) -> Sequence[Member]:
        """Everybody in the organisation, by e-mail address."""

    def of_user(self, user_id: UUID) -> Sequence[tuple[Organization, Role]]:
        """The user's organisations with his role in each, by name."""

    def set_role(self, organization_id: UUID, user_id: UUID, role: Role) -> bool:
        """Change the role; False where there is no such member."""

    def remove(self, organization_id: UUID, user_id: UUID) -> bool:
        """Remove the member; False where there was none."""

    def owners(self, organization_id: UUID) -> int:
        """How many owners the organisation has; in a transaction, others wait until it ends."""


class Sessions(Protocol):
    """The repository of sign-ins."""

    def add(self, session: Session) -> None: ...

    def get(self, token_hash: bytes) -> tuple[Session, User] | None:
        """The session and its user, whether it has expired or not."""

    def touch(self, token_hash: bytes, last_seen_at: datetime, expires_at: datetime) -> None:
        """Note that the session was used."""

    def delete(self, token_hash: bytes) -> None: ...

    def of_user(self, user_id: UUID) -> Sequence[Session]:
        """The person's sign-ins, newest first, whether they have expired or not."""

    def delete_of_user(self, user_id: UUID, keep: bytes | None = None) -> None:
        """End all sign-ins of one person, but for the one whose token hash is `keep`."""

    def delete_expired(self, now: datetime) -> int:
        """Remove the sessions whose `expires_at` has passed; how many there were."""


class Invitations(Protocol):
    """The repository of invitations that were not accepted yet."""

    def put(self, invitation: Invitation) -> None:
        """Store it, in place of the one that the organisation has made to the same address.

        Raises Conflict where the organisation has been deleted.
        """

    def by_hash(self, token_hash: bytes) -> Invitation | None:
        """The invitation of that token, whether it has expired or not."""

    def of_organization(self, organization_id: UUID) -> Sequence[Invitation]:
        """The organisation's invitations, oldest first, whether they have expired or not."""

    def delete(self, organization_id: UUID, token_hash: bytes) -> bool:
        """Remove the invitation of that token; False where the organisation has none.

        Of several who remove one at a time, one is told True.
        """

    def delete_expired(self, now: datetime) -> None:
        """Remove those whose `expires_at` has passed."""


class PasswordResets(Protocol):
    """The repository of links that set a new password."""

    def add(self, reset: PasswordReset) -> None: ...

    def get(self, token_hash: bytes) -> tuple[PasswordReset, User] | None:
        """The link and whose it is, whether it has expired or not."""

    def count(self, user_id: UUID, now: datetime) -> int:
        """How many links of one person have not expired."""

    def delete(self, token_hash: bytes) -> bool:
        """Remove the link; of several who do so at a time, one is told True."""

    def delete_of_user(self, user_id: UUID) -> None:
        """Remove all links of one person."""

    def delete_expired(self, now: datetime) -> None:
        """Remove those whose `expires_at` has passed."""


class SecondFactors(Protocol):
    """The repository of second factors and of the recovery codes that go with them."""

    def put(self, factor: SecondFactor) -> None:
        """Store it, in place of the one that the person has."""

    def get(self, user_id: UUID) -> SecondFactor | None: ...

    def confirm(self, user_id: UUID, step: int, recovery_codes: Sequence[bytes]) -> None:
        """Put it in force, with the hashes of its recovery codes, `step` being used already."""

    def advance(self, user_id: UUID, step: int) -> bool:
        """Note that the code of `step` was used; False where that or a later one was already.

        Of several who do so with one step at a time, one is told True.
        """

    def take_recovery_code(self, user_id: UUID, code_hash: bytes) -> bool:
        """Remove the recovery code; of several who do so at a time, one is told True."""

    def recovery_codes(self, user_id: UUID) -> int:
        """How many recovery codes are left."""

    def delete(self, user_id: UUID) -> bool:
        """Remove it and its recovery codes; False where the person has none."""


class ApiKeys(Protocol):
    """The repository of API keys."""

    def add(self, key: ApiKey) -> None: ...

    def get(self, key_id: UUID) -> ApiKey | None:
        """The key of any organisation with this id."""

    def by_hash(self, token_hash: bytes) -> ApiKey | None: ...

    def of_organization(self, organization_id: UUID) -> Sequence[ApiKey]:
        """The organisation's keys, oldest first."""

    def touch(self, key_id: UUID, last_used_at: datetime) -> None:
        """Note that the key was used."""

    def delete(self, organization_id: UUID, key_id: UUID) -> bool:
        """Remove the key; False where the organisation has none of that id."""

    def hand_over(self, key_ids: Collection[UUID], user_id: UUID | None) -> None:
        """Make the person the one who has made these keys."""

    def set_operator(self, key_id: UUID, operator: bool) -> bool:
        """Make the key an operator's, or not any more; False where there is none of that id."""

    def operators(self) -> Sequence[ApiKey]:
        """The operators' keys of all organisations, oldest first."""


class Codes(Protocol):
    """The repository of codes; those returned carry their current `scans_total`."""

    def add(self, codes: Sequence[Code]) -> None:
        """Store all of them or none. Raises SlugTaken for the first slug that exists.

        Raises Conflict where a style does not exist, as `update` does.
        """

    def get(self, organization_id: UUID, code_id: UUID) -> Code | None: ...

    def find(self, code_id: UUID) -> Code | None:
        """The code of any organisation with this id."""

    def by_slug(self, slug: str) -> Code | None:
        """The code of any organisation with this slug, without regard to case."""

    def taken(self, slugs: Collection[str]) -> frozenset[str]:
        """Those of `slugs` that exist, in the spelling in which they were asked for."""

    def list(self, organization_id: UUID, query: CodeQuery) -> CodePage:
        """A page of the organisation's codes.

        `search` is found anywhere in title, slug, destination or tags, without regard to case (as
        `str.casefold` sees it, in every database); ties of the order are broken by the id.
        """

    def following(
        self, organization_id: UUID, last: Code | None, limit: int, tag: str | None = None
    ) -> Sequence[Code]:
        """At most `limit` codes, oldest first, ties by id: those after `last`, or the first ones.

        With `tag` only those that have it. `last` need not exist any more.
        """

    def update(self, code: Code, expected_revision: int) -> bool:
        """Store everything but slug and counts; False where the stored revision is another."""

    def delete(self, organization_id: UUID, code_id: UUID) -> bool:
        """Remove the code with its scans; False where there was none."""


class Styles(Protocol):
    """The repository of style presets."""

    def add(self, style: Style) -> None:
        """Store it. Raises Conflict where the organisation has one of this name already.

        Names are compared without regard to case. A default one takes the place of the default
        before it.
        """

    def get(self, organization_id: UUID, style_id: UUID) -> Style | None: ...

    def default(self, organization_id: UUID) -> Style | None:
        """The organisation's default style, if it has one."""

    def of_organization(self, organization_id: UUID) -> Sequence[Style]:
        """The organisation's styles, by name."""

    def update(self, style: Style) -> bool:
        """Store it, as `add` does; False where there is no such style."""

    def delete(self, organization_id: UUID, style_id: UUID) -> bool:
        """Remove the style; False where there was none. Raises Conflict where codes have it."""


class Logos(Protocol):
    """The repository of logos."""

    def add(self, logo: Logo) -> None: ...

    def get(self, organization_id: UUID, logo_id: UUID) -> Logo | None: ...

    def of_organization(self, organization_id: UUID) -> Sequence[LogoInfo]:
        """The organisation's logos, by name."""

    def delete(self, organization_id: UUID, logo_id: UUID) -> bool:
        """Remove the logo; False where there was none. Raises Conflict where styles have it."""


class RecordedAnswer(Struct, frozen=True):
    """An answer that is kept for its Idempotency-Key: the request's digest and the body sent."""

    request_digest: bytes
    body: bytes


class Idempotency(Protocol):
    """The repository of answers that are repeated for a repeated Idempotency-Key."""

    def claim(self, organization_id: UUID, key: str, digest: bytes, now: datetime) -> bool:
        """Reserve the key within the running transaction; False where it is taken.

        A second claim of the key waits until the first one's transaction has ended.
        """

    def get(self, organization_id: UUID, key: str) -> RecordedAnswer | None: ...

    def record(self, organization_id: UUID, key: str, body: bytes) -> None:
        """Keep the answer of a claimed key."""

    def delete_before(self, moment: datetime) -> None:
        """Forget the keys that were claimed before `moment`."""


class CacheEpochs(Protocol):
    """The repository of the numbers that are part of the keys under which caches keep values.

    Whoever advances the number of a namespace makes every machine pass over what was kept in it.
    """

    def all(self) -> Mapping[str, int]:
        """The numbers by namespace; those that were never advanced are absent."""

    def advance(self, namespace: str) -> int:
        """Count the namespace's number on, and the new one, which is 1 the first time.

        Of several who advance it at a time each is told another number.
        """


class AuditLog(Protocol):
    """The repository of what was changed in organisations: nothing in it is ever changed.

    What was written of an organisation stays when that is deleted, until it is old enough.
    """

    def append(self, entry: AuditEntry) -> None:
        """Store it, in the running transaction where there is one; that fails where this does."""

    def entries(
        self, organization_id: UUID, matching: AuditFilter, limit: int
    ) -> Sequence[AuditEntry]:
        """Up to `limit` entries of the organisation, the largest ids first."""

    def prune(self, before: UUID, limit: int) -> int:
        """Remove up to `limit` entries with smaller ids, of all organisations; how many it were.

        Raises StorageUnavailable for entries of the last 30 days, which are not removed.
        """


class Storage(Protocol):
    """Keeps everything but scans. Every method may raise StorageUnavailable."""

    @property
    def organizations(self) -> Organizations: ...
    @property
    def users(self) -> Users: ...
    @property
    def memberships(self) -> Memberships: ...
    @property
    def sessions(self) -> Sessions: ...
    @property
    def invitations(self) -> Invitations: ...
    @property
    def password_resets(self) -> PasswordResets: ...
    @property
    def second_factors(self) -> SecondFactors: ...
    @property
    def api_keys(self) -> ApiKeys: ...
    @property
    def codes(self) -> Codes: ...
    @property
    def styles(self) -> Styles: ...
    @property
    def logos(self) -> Logos: ...
    @property
    def idempotency(self) -> Idempotency: ...
    @property
    def cache_epochs(self) -> CacheEpochs: ...
    @property
    def audit(self) -> AuditLog: ...

    def open(self) -> None:
        """Get ready in this process. Raises ConfigurationError where it can never work."""

    def close(self) -> None:
        """Let go of every connection."""

    def transaction(self) -> AbstractContextManager[None]:
        """All writes inside happen together or, where an exception leaves the block, not at all."""

    def ping(self) -> None:
        """Raise StorageUnavailable unless the database answers."""

    def pending_migrations(self) -> Sequence[str]:
        """The names of the migrations that are still to be applied, in order."""

    def migrate(self) -> Sequence[str]:
        """Apply the pending migrations, under a lock between processes; the names applied here."""

    def describe(self) -> Mapping[str, str]:
        """What runs here, for `quietzone check`: versions and settings, never a secret."""


class ScanStore(Protocol):
    """Keeps scans and answers counts of them. Every method may raise StorageUnavailable."""

    def open(self) -> None:
        """Get ready in this process."""

    def close(self) -> None:
        """Let go of every connection."""

    def append(self, scans: Sequence[Scan], drained: Drained | None = None) -> None:
        """Store the scans and count them, in one transaction that is on the disk at its end.

        A scan is unique where no scan of the same code and day (in UTC) that was stored before has
        the same `visitor`; a bot, or a scan without a visitor, never is. Scans of codes that have
        been deleted are dropped. With `drained` the position in the journal file is stored in the
        same transaction; raises Conflict, and stores nothing, unless it was `drained.start` before.
        """

    def rebuild(self, progress: Callable[[int, int], None]) -> None:
        """Count everything anew from the scans that are kept, while others append.

        Days of which scans were removed for their age keep their numbers. `progress` is told how
        much has been done and how much there is to do.
        """

    def position(self, source: str) -> int | None:
        """How far the journal file was read, or None where nothing of it was stored yet."""

    def tidy(self, today: date, before: datetime | None, limit: int) -> int:
        """Remove up to `limit` rows of each kind that must not stay; the most that were of one.

        These are salts and visitors of days before yesterday (in UTC), what is left of deleted
        codes and organisations and, with `before`, scans that are older; what was counted of those
        stays.
        """

    def tallies(self, first: date) -> Mapping[date, tuple[int, int]]:
        """Scans of unknown slugs, and scans that were not recorded, by day, from `first` on."""

    def forget(self, sources: Sequence[str]) -> None:
        """Forget the positions of journal files that exist no more."""

    def salt(self, day: date, proposal: bytes) -> bytes:
        """The salt of `day`, the same for every process: `proposal` where there was none yet.

        Salts of days before the day before `day` are deleted.
        """

    def snapshot(self) -> AbstractContextManager[None]:
        """All that is asked in the block is answered as of one moment, whatever is stored then."""

    def generation(self, organization_id: UUID, code_id: UUID | None) -> Generation:
        """A number that grows whenever something that is counted of them changes, and when it did.

        Cheap: it tells whether an answer that was kept is still the right one.
        """

    def counts(
        self, organization_id: UUID, code_id: UUID | None, spans: Sequence[Span]
    ) -> Sequence[Count]:
        """What was counted in each of the spans.

        `code_id` None means all codes of the organisation. The price does not depend on how many
        scans there were, and hardly on how long the spans are.
        """

    def days(self, organization_id: UUID, code_id: UUID | None, span: Span) -> Sequence[DayCounts]:
        """What was counted in the quarter hours of each day of UTC that has scans, in order.

        Quarter hours of these days that are outside of the span have none.
        """

    def breakdowns(
        self, organization_id: UUID, code_id: UUID | None, span: Span
    ) -> Mapping[Dimension, Mapping[str, Count]]:
        """What was counted in the span for each value of each dimension; "" is what is not known.

        As with `counts`, the price hardly depends on how long the span is.
        """

    def latest(
        self, code_id: UUID, before: tuple[datetime, int] | None, limit: int
    ) -> Sequence[RecordedScan]:
        """Up to `limit` scans of a code, newest first, ties broken by the id.

        `before` is time and id of the scan after which to go on.
        """

    def totals(self, organization_id: UUID, code_id: UUID | None) -> Totals:
        """What has been counted so far."""
