"""Keeps an organisation's style presets, and finds the look of an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID, uuid4

from msgspec import UNSET, UnsetType
from msgspec.structs import asdict, replace

from core.domain.audit import Action, Changes, Origin, Subject, SubjectKind, differences
from core.domain.logos import Logo
from core.domain.looks import (
    NO_LOGO,
    PLAIN,
    Look,
    LookOptions,
    Style,
    StyleName,
    changed,
    look_rules,
)
from core.domain.validation import read
from core.errors import Conflict, FieldProblem, InvalidFields, NotFound
from core.ports import Storage
from core.services.audit import Audit
from core.services.recent import Recall
from core.settings import ImagesSettings

NO_STYLE = "plain"
"""What `style` holds where no preset is wanted, not even the default one."""

Prove = Callable[[UUID, Look, Logo | None], None]
"""Raises InvalidFields for a look with which the organisation's codes could not be scanned."""


class StyleDraft(LookOptions, frozen=True, kw_only=True):
    """What is needed to create a style; what is left out of its look is as in the plain one."""

    name: StyleName
    default: bool = False


class StyleChanges(LookOptions, frozen=True, kw_only=True):
    """What may be changed of a style; what is left out stays."""

    name: StyleName | UnsetType = UNSET
    default: bool | UnsetType = UNSET


Looks = Callable[[UUID | None], tuple[Look, Logo | None]]
"""The look of an image, with its logo where it has one, by the style of its code."""


_Sent = TypeVar("_Sent", StyleDraft, StyleChanges)


class Styles:
    """The style presets of all organisations; every method names the one that it is for."""

    def __init__(
        self,
        storage: Storage,
        audit: Audit,
        settings: ImagesSettings,
        clock: Callable[[], datetime],
        prove: Prove,
        plans: Recall[Any, Any],
    ) -> None:
        self._storage = storage
        self._audit = audit
        self._settings = settings
        self._clock = clock
        self._prove = prove
        self._plans = plans

    def draft(self, data: object) -> StyleDraft:
        """A draft from untyped input; raises InvalidFields with every bad field."""
        return _read(StyleDraft, data)

    def changes(self, data: object) -> StyleChanges:
        """Changes from untyped input; raises InvalidFields with every bad field."""
        return _read(StyleChanges, data)

    def create(self, organization_id: UUID, draft: StyleDraft, *, by: Origin) -> Style:
        """Store a new style; raises Conflict, or InvalidFields for a look that does not work."""
        limit = self._settings.max_styles
        if len(self.list(organization_id)) >= limit:
            raise Conflict(
                f"The organization has as many styles as it may have, {limit} (setting "
                "images.max_styles); delete one first."
            )
        now = self._clock()
        style = Style(
            id=uuid4(),
            organization_id=organization_id,
            name=draft.name,
            look=self._proven(organization_id, changed(PLAIN, draft)),
            is_default=draft.default,
            created_at=now,
            updated_at=now,
        )
        with self._storage.transaction():
            self._storage.styles.add(style)
            self._record(by, Action.STYLE_CREATE, style, differences(None, _told(style)))
        self._plans.clear()
        return style

    def get(self, organization_id: UUID, style_id: UUID) -> Style:
        """The style; raises NotFound."""
        style = self._storage.styles.get(organization_id, style_id)
        if style is None:
            raise NotFound("There is no such style.")
        return style

    def list(self, organization_id: UUID) -> Sequence[Style]:
        """The organisation's styles, by name."""
        return self._storage.styles.of_organization(organization_id)

    def change(
        self, organization_id: UUID, style_id: UUID, changes: StyleChanges, *, by: Origin
    ) -> Style:
        """Apply the changes; raises NotFound, Conflict or InvalidFields."""
        style = self.get(organization_id, style_id)
        wanted = replace(
            style,
            name=style.name if changes.name is UNSET else changes.name,
            look=changed(style.look, changes),
            is_default=style.is_default if changes.default is UNSET else changes.default,
        )
        if wanted == style:
            # Others may have made it so a moment ago, and it is to be so here from now on.
            self._plans.clear()
            return style
        if wanted.look != style.look:
            self._proven(organization_id, wanted.look)
        wanted = replace(wanted, updated_at=self._clock())
        with self._storage.transaction():
            if not self._storage.styles.update(wanted):
                raise NotFound("There is no such style.")
            differing = differences(_told(style), _told(wanted))
            self._record(by, Action.STYLE_CHANGE, style, differing)
        self._plans.clear()
        return wanted

    def delete(self, organization_id: UUID, style_id: UUID, *, by: Origin) -> None:
        """Remove the style; raises NotFound, or Conflict where codes have it."""
        style = self.get(organization_id, style_id)
        with self._storage.transaction():
            if not self._storage.styles.delete(organization_id, style_id):
                raise NotFound("There is no such style.")
            self._record(by, Action.STYLE_DELETE, style, differences(_told(style), None))
        self._plans.clear()

    def resolve(
        self,
        organization_id: UUID,
        look_options: LookOptions,
        style: str | None,
        code_style: UUID | None,
    ) -> tuple[Look, Logo | None]:
        """The look of an image, with its logo where it has one; raises InvalidFields.

        `style` is the id of a preset, or "plain". Without it the code's own style holds, else the
        organisation's default, else the plain look. The options replace single fields of that.
        """
        problems = [*self._refused(look_options), *look_rules(_given(look_options))]
        try:
            base = self._base(organization_id, style, code_style)
        except InvalidFields as error:
            raise InvalidFields([*error.problems, *problems]) from error
        if problems:
            raise InvalidFields(problems)
        look = changed(base, look_options)
        return look, self.logo(organization_id, look)

    def looks(self, organization_id: UUID, look_options: LookOptions, style: str | None) -> Looks:
        """`resolve` for many codes, which looks up each style once; checks the options at once."""
        found: dict[UUID | None, tuple[Look, Logo | None]] = {}
        found[None] = self.resolve(organization_id, look_options, style, None)

        def look(code_style: UUID | None) -> tuple[Look, Logo | None]:
            if code_style not in found:
                found[code_style] = self.resolve(organization_id, look_options, style, code_style)
            return found[code_style]

        return look

    def signed(self, organization_id: UUID, look_options: LookOptions) -> tuple[Look, Logo | None]:
        """The look that a signed address names, whatever has become of presets.

        It may also be one that only presets have by now. Raises NotFound where its logo is gone.
        """
        problems = list(look_rules(_given(look_options)))
        if problems:
            raise InvalidFields(problems)
        look = changed(PLAIN, look_options)
        try:
            return look, self.logo(organization_id, look)
        except InvalidFields:
            raise NotFound("The logo of this image has been deleted.") from None

    def _base(self, organization_id: UUID, style: str | None, code_style: UUID | None) -> Look:
        if style == NO_STYLE:
            return PLAIN
        if style is not None:
            try:
                return self.get(organization_id, UUID(style)).look
            except (ValueError, NotFound):
                raise InvalidFields.of(
                    "style",
                    f"{style!r} is no style of the organization; GET .../styles lists them, "
                    f"{NO_STYLE} stands for none",
                ) from None
        styles = self._storage.styles
        found = styles.get(organization_id, code_style) if code_style is not None else None
        found = found or styles.default(organization_id)
        return found.look if found else PLAIN

    def _refused(self, options: LookOptions) -> Sequence[FieldProblem]:
        if self._settings.ad_hoc_styles:
            return []
        reason = "only presets are allowed here (setting images.ad_hoc_styles); choose with style="
        return [FieldProblem(field, reason) for field in _given(options)]

    def logo(self, organization_id: UUID, look: Look) -> Logo | None:
        """The logo of a look; raises InvalidFields where it is gone."""
        if look.logo is None:
            return None
        logo = self._storage.logos.get(organization_id, look.logo)
        if logo is None:
            raise InvalidFields.of(
                "logo",
                f"the organization has no logo {look.logo}; GET .../logos lists them, {NO_LOGO} "
                "stands for none",
            )
        return logo

    def _record(self, by: Origin, action: Action, style: Style, changes: Changes) -> None:
        subject = Subject(SubjectKind.STYLE, style.id, style.name)
        self._audit.record(by, style.organization_id, action, subject, changes)

    def _proven(self, organization_id: UUID, look: Look) -> Look:
        self._prove(organization_id, look, self.logo(organization_id, look))
        return look


def _told(style: Style) -> dict[str, object]:
    """What the audit log tells of a style."""
    return {"name": style.name, "default": style.is_default, **asdict(style.look)}


def _read(kind: type[_Sent], data: object) -> _Sent:
    # A style tells `"logo": null` where it has none, so it may be sent back like that.
    if isinstance(data, Mapping) and data.get("logo", NO_LOGO) is None:
        data = {**data, "logo": NO_LOGO}
    return read(kind, data, _rules)


def _rules(values: Mapping[str, object]) -> Sequence[FieldProblem]:
    problems = list(look_rules(values))
    name = values.get("name")
    if isinstance(name, str) and name != name.strip():
        problems.append(FieldProblem("name", "begins or ends with a blank; leave the blank out"))
    return problems


def _given(options: LookOptions) -> dict[str, object]:
    """The fields of a look that the caller names."""
    values = {name: getattr(options, name) for name in LookOptions.__struct_fields__}
    return {name: value for name, value in values.items() if value is not UNSET}
