"""Creates, lists, changes and deletes codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID, uuid4

import msgspec
from msgspec import UNSET
from msgspec.structs import asdict, replace

from core.domain.audit import Action, Change, Changes, Origin, Subject, SubjectKind, differences
from core.domain.codes import (
    Code,
    CodeChanges,
    CodeDraft,
    CodePage,
    CodeQuery,
    changes_rules,
    draft_rules,
    random_slug,
    short_link,
    slug_key,
    validity_rule,
)
from core.domain.validation import collect, read
from core.errors import (
    Conflict,
    FieldProblem,
    InvalidFields,
    KeyReused,
    NotFound,
    SlugTaken,
)
from core.ports import Storage
from core.services.audit import Audit
from core.services.destinations import Destinations
from core.services.lookups import Lookups
from core.settings import CodesSettings

_TRIES = 20
_WALK = 500
_KEY_LIFE = timedelta(days=1)
_MAX_PROBLEMS = 1000
_MAX_NAMED = 100
"""Of many codes that are created at once, the audit log names so many."""

_NO_STYLE = "the organization has no such style; GET .../styles lists them, null stands for none"


class CodeService:
    """The codes of all organisations; every method names the one that it is for."""

    def __init__(
        self,
        storage: Storage,
        audit: Audit,
        lookups: Lookups,
        destinations: Destinations,
        settings: CodesSettings,
        base_url: str,
        clock: Callable[[], datetime],
        token_bytes: Callable[[int], bytes],
    ) -> None:
        self._storage = storage
        self._audit = audit
        self._lookups = lookups
        self._settings = settings
        self._base_url = base_url
        self._clock = clock
        self._token_bytes = token_bytes
        self._draft_rules = draft_rules(destinations.check)
        self._changes_rules = changes_rules(destinations.check)

    def draft(self, data: object) -> CodeDraft:
        """A draft from untyped input; raises InvalidFields with every bad field."""
        return read(CodeDraft, data, self._draft_rules)

    def drafts(self, data: object) -> Sequence[CodeDraft]:
        """Drafts from `{"codes": [...]}`; raises InvalidFields with every bad field of each."""
        if not isinstance(data, Mapping) or set(data) != {"codes"}:
            raise InvalidFields.of("codes", "send an object with the one field codes, a list")
        items = data["codes"]
        if not isinstance(items, list) or not items:
            raise InvalidFields.of("codes", "must be a list of at least one code")
        if len(items) > self._settings.max_bulk:
            raise InvalidFields.of(
                "codes",
                f"{len(items)} codes are too many for one request; send at most "
                f"{self._settings.max_bulk}",
            )
        drafts: list[CodeDraft] = []
        problems: list[FieldProblem] = []
        seen: dict[str, int] = {}
        for number, item in enumerate(items):
            if len(problems) > _MAX_PROBLEMS:
                problems.append(FieldProblem("codes", f"is not checked from codes[{number}] on"))
                break
            draft, wrong = collect(CodeDraft, item, self._draft_rules, where=f"codes[{number}].")
            problems += wrong
            if draft is None:
                continue
            drafts.append(draft)
            if draft.slug is not None:
                first = seen.setdefault(slug_key(draft.slug), number)
                if first != number:
                    problems.append(
                        FieldProblem(
                            f"codes[{number}].slug",
                            f"is the slug of codes[{first}] too; give each code its own",
                        )
                    )
        if problems:
            raise InvalidFields(problems)
        return drafts

    def changes(self, data: object) -> CodeChanges:
        """Changes from untyped input; raises InvalidFields with every bad field."""
        return read(CodeChanges, data, self._changes_rules)

    def glimpse(self, organization_id: UUID, code_id: UUID) -> Code:
        """The code as it is or was within the last second; raises NotFound."""
        code = self._lookups.by_id(code_id)
        if code is None or code.organization_id != organization_id:
            raise NotFound("There is no such code.")
        return code

    def short_url(self, code: Code) -> str:
        """The link that the code's symbol encodes."""
        return short_link(self._base_url, code.slug, compact=self._settings.compact_links)

    def sample_url(self) -> str:
        """A link as long as those of random slugs, for trying out a look."""
        slug = "0" * self._settings.slug_length
        return short_link(self._base_url, slug, compact=self._settings.compact_links)

    def create(self, organization_id: UUID, draft: CodeDraft, *, by: Origin) -> Code:
        """Store a new code; raises SlugTaken, or InvalidFields for a style that is not there."""
        self._check_style(organization_id, draft.style)

        def record(codes: Sequence[Code]) -> None:
            (code,) = codes
            self._record(by, Action.CODE_CREATE, code, differences(None, _told(code)))

        (code,) = self._add(organization_id, [draft], record)
        self._lookups.forget(code)
        return code

    def create_many(
        self,
        organization_id: UUID,
        drafts: Sequence[CodeDraft],
        idempotency_key: str | None,
        *,
        by: Origin,
    ) -> Sequence[Code]:
        """Store all of the codes or none; raises Conflict naming every slug that is taken.

        Raises InvalidFields naming every style that is not there.
        With a key, the same drafts give the same codes again for a day, instead of new ones;
        other drafts under the same key raise KeyReused.
        """
        if idempotency_key is None:
            codes = self._add_all(organization_id, drafts, by)
            self._lookups.forget(*codes)
            return codes
        digest = sha256(msgspec.json.encode(drafts)).digest()
        answers = self._storage.idempotency
        now = self._clock()
        with self._storage.transaction():
            answers.delete_before(now - _KEY_LIFE)
            if answers.claim(organization_id, idempotency_key, digest, now):
                codes = self._add_all(organization_id, drafts, by)
                answers.record(organization_id, idempotency_key, msgspec.json.encode(codes))
            else:
                codes, recorded = (), answers.get(organization_id, idempotency_key)
        if codes:
            # Not before others can see them, or a scan in between would bring the miss back.
            self._lookups.forget(*codes)
            return codes
        if recorded is None or recorded.request_digest != digest:
            raise KeyReused(
                "This Idempotency-Key came with another body within the last day; use a new key."
            )
        return msgspec.json.decode(recorded.body, type=tuple[Code, ...])

    def _add_all(
        self, organization_id: UUID, drafts: Sequence[CodeDraft], by: Origin
    ) -> Sequence[Code]:
        def record(codes: Sequence[Code]) -> None:
            label = f"{len(codes)} codes"
            subject = Subject(SubjectKind.CODE, None, label if len(codes) > 1 else "1 code")
            ids = [str(code.id) for code in codes[:_MAX_NAMED]]
            changes = {"count": Change(None, len(codes)), "ids": Change(None, ids)}
            self._audit.record(by, organization_id, Action.CODE_CREATE_MANY, subject, changes)

        self._refuse_unknown_styles(organization_id, drafts)
        self._refuse_taken_slugs(drafts)
        try:
            return self._add(organization_id, drafts, record)
        except SlugTaken:
            # Taken between the look and the insertion: look again, to name the right items.
            self._refuse_taken_slugs(drafts)
            raise

    def get(self, organization_id: UUID, code_id: UUID) -> Code:
        """The code; raises NotFound."""
        code = self._storage.codes.get(organization_id, code_id)
        if code is None:
            raise NotFound("There is no such code.")
        return code

    def list(self, organization_id: UUID, query: CodeQuery) -> CodePage:
        """One page of the organisation's codes."""
        if query.per_page > self._settings.max_per_page:
            raise InvalidFields.of(
                "per_page", f"{query.per_page} is too many; at most {self._settings.max_per_page}"
            )
        return self._storage.codes.list(organization_id, query)

    def check_number(
        self, organization_id: UUID, tag: str | None, most: int, setting: str, copies: int = 1
    ) -> None:
        """Raise InvalidFields where `walk` gives too many codes, or none that has the tag.

        `most` is how many there may be with all their copies, which `setting` says.
        """
        found = self._storage.codes.list(organization_id, CodeQuery(per_page=1, tag=tag)).total
        if tag is not None and not found:
            raise InvalidFields.of(
                "tag", f"no code has the tag {tag!r}; leave it out for all codes"
            )
        if found * copies > most:
            limit = f"are too many for one answer; at most {most} (setting codes.{setting})"
            if copies > 1:
                reason = f"{copies} copies of {found} codes {limit}: take fewer, or choose a tag"
                raise InvalidFields.of("copies", reason)
            reason = f"{found} codes {limit}: choose some of them by a tag"
            raise InvalidFields.of("tag", reason)

    def walk(self, organization_id: UUID, tag: str | None) -> Iterator[Code]:
        """All codes of the organisation, or those with `tag`, oldest first, a few at a time.

        Codes that are created or deleted meanwhile may be among them or not; no other is left out
        or comes twice.
        """
        last = None
        while codes := self._storage.codes.following(organization_id, last, _WALK, tag):
            yield from codes
            last = codes[-1]

    def change(
        self, organization_id: UUID, code_id: UUID, changes: CodeChanges, *, by: Origin
    ) -> Code:
        """Apply the changes on top of whatever is stored; raises NotFound or InvalidFields."""
        wanted = {name: value for name, value in asdict(changes).items() if value is not UNSET}
        for _ in range(_TRIES):
            code = self.get(organization_id, code_id)
            changed = replace(code, **wanted)
            if changed == code:
                # Others may have made it so a moment ago, and it is to be so here from now on.
                self._lookups.forget(code)
                return code
            if changed.style != code.style:
                self._check_style(organization_id, changed.style)
            problems = validity_rule(asdict(changed))
            if problems:
                raise InvalidFields(problems)
            differing = differences(_told(code), _told(changed))
            changed = replace(changed, revision=code.revision + 1, updated_at=self._clock())
            with self._storage.transaction():
                stored = self._storage.codes.update(changed, expected_revision=code.revision)
                if stored:
                    self._record(by, Action.CODE_CHANGE, code, differing)
            if stored:
                self._lookups.forget(code)
                return changed
        raise Conflict("The code is being changed by others at this moment; try again.")

    def delete(self, organization_id: UUID, code_id: UUID, *, by: Origin) -> None:
        """Remove the code and its scans; raises NotFound."""
        code = self.get(organization_id, code_id)
        with self._storage.transaction():
            if not self._storage.codes.delete(organization_id, code_id):
                raise NotFound("There is no such code.")
            self._record(by, Action.CODE_DELETE, code, differences(_told(code), None))
        self._lookups.forget(code)

    def _add(
        self,
        organization_id: UUID,
        drafts: Sequence[CodeDraft],
        record: Callable[[Sequence[Code]], None],
    ) -> Sequence[Code]:
        for attempt in range(_TRIES):
            codes = [self._new(organization_id, draft) for draft in drafts]
            own = {slug_key(draft.slug) for draft in drafts if draft.slug is not None}
            try:
                with self._storage.transaction():
                    self._storage.codes.add(codes)
                    record(codes)
            except SlugTaken as taken:
                # A random slug that is taken is drawn anew; an own one is for its giver to change.
                if slug_key(taken.slug) in own or attempt == _TRIES - 1:
                    raise
            else:
                return codes
        raise AssertionError("the loop above returns or raises")

    def _record(self, by: Origin, action: Action, code: Code, changes: Changes) -> None:
        subject = Subject(SubjectKind.CODE, code.id, code.slug)
        self._audit.record(by, code.organization_id, action, subject, changes)

    def _new(self, organization_id: UUID, draft: CodeDraft) -> Code:
        now = self._clock()
        return Code(
            id=uuid4(),
            organization_id=organization_id,
            slug=draft.slug or random_slug(self._token_bytes(self._settings.slug_length)),
            destination=draft.destination,
            title=draft.title,
            tags=draft.tags,
            active=draft.active,
            valid_from=draft.valid_from,
            valid_until=draft.valid_until,
            max_scans=draft.max_scans,
            forward_query=draft.forward_query,
            style=draft.style,
            revision=1,
            created_at=now,
            updated_at=now,
        )

    def _check_style(self, organization_id: UUID, style: UUID | None) -> None:
        if style is not None and self._storage.styles.get(organization_id, style) is None:
            raise InvalidFields.of("style", _NO_STYLE)

    def _refuse_unknown_styles(self, organization_id: UUID, drafts: Sequence[CodeDraft]) -> None:
        if all(draft.style is None for draft in drafts):
            return
        known = {style.id for style in self._storage.styles.of_organization(organization_id)}
        problems = [
            FieldProblem(f"codes[{number}].style", _NO_STYLE)
            for number, draft in enumerate(drafts)
            if draft.style is not None and draft.style not in known
        ]
        if problems:
            raise InvalidFields(problems)

    def _refuse_taken_slugs(self, drafts: Sequence[CodeDraft]) -> None:
        fields = {
            draft.slug: f"codes[{number}].slug"
            for number, draft in enumerate(drafts)
            if draft.slug is not None
        }
        taken = self._storage.codes.taken(list(fields))
        if taken:
            raise Conflict(
                "Some of the slugs are taken; no code was created.",
                [
                    FieldProblem(field, f"{slug!r} is taken; choose another, or leave it out")
                    for slug, field in fields.items()
                    if slug in taken
                ],
            )


def _told(code: Code) -> dict[str, object]:
    """What the audit log tells of a code: all that somebody has chosen."""
    return {name: getattr(code, name) for name in CodeDraft.__struct_fields__}
