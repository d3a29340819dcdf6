"""Looks: colours, shapes, logo and caption of a symbol, and the presets that keep them."""

from __future__ import annotations

import enum
import re
import unicodedata
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import replace

from core.domain.validation import field_rules

_HEX = re.compile(r"#?([0-9A-Fa-f]{3}|[0-9A-Fa-f]{6})")

BLACK, WHITE, TRANSPARENT = "#000000", "#ffffff", "transparent"

MAX_CAPTION = 40

NO_LOGO = "none"
"""What `logo` holds where there is to be none."""


class ModuleShape(enum.StrEnum):
    """How modules are drawn."""

    SQUARE = "square"
    ROUNDED = "rounded"
    DOT = "dot"


class FinderShape(enum.StrEnum):
    """How the finder patterns, the three large squares, are drawn."""

    SQUARE = "square"
    ROUNDED = "rounded"
    CIRCLE = "circle"


class Look(Struct, frozen=True):
    """How a symbol is drawn. Colours are `#rrggbb` in lower case; `background` may be transparent.

    `logo_size` is the width of the square kept free for the logo, in percent of the symbol's.
    """

    color: str = BLACK
    background: str = WHITE
    shape: ModuleShape = ModuleShape.SQUARE
    finder_shape: FinderShape = FinderShape.SQUARE
    logo: UUID | None = None
    logo_size: int = 20
    caption: str = ""

    @property
    def flat(self) -> bool:
        """Whether whole modules of two colours are all there is to draw."""
        return (
            self.shape is ModuleShape.SQUARE
            and self.finder_shape is FinderShape.SQUARE
            and self.logo is None
            and not self.caption
        )


PLAIN = Look()
"""Black squares on white: the look that needs no proof."""


def logo_hole(size: int, percent: int) -> range:
    """The rows, and the columns, that a logo has for itself in a symbol of `size` modules.

    They are whole modules in the middle, as many as come nearest to `percent` of the width.
    """
    # A symbol has an odd number of modules: an odd number in its middle cuts none in half.
    half = max(0, round((size * percent / 100 - 1) / 2))
    return range(size // 2 - half, size // 2 + half + 1)


# What `extra_json_schema` holds is for descriptions of the interface alone; `look_rules` say in
# better words what is wrong.
Color = Annotated[str, Meta(extra_json_schema={"pattern": f"^{_HEX.pattern}$"})]
Background = Annotated[
    str, Meta(extra_json_schema={"pattern": f"^({_HEX.pattern}|{TRANSPARENT})$"})
]
LogoSize = Annotated[int, Meta(ge=5, le=100)]
Caption = Annotated[str, Meta(max_length=MAX_CAPTION)]
StyleName = Annotated[str, Meta(min_length=1, max_length=60)]


class LookOptions(Struct, frozen=True):
    """A look as a caller gives it, in a query or a body: what is left out stays as it was.

    `logo` is the id of an uploaded logo, or "none".
    """

    color: Color | UnsetType = UNSET
    background: Background | UnsetType = UNSET
    shape: ModuleShape | UnsetType = UNSET
    finder_shape: FinderShape | UnsetType = UNSET
    logo: str | UnsetType = UNSET
    logo_size: LogoSize | UnsetType = UNSET
    caption: Caption | UnsetType = UNSET


def changed(look: Look, options: LookOptions) -> Look:
    """`look` with what `options` name in its place; raises ValueError for a colour that is none.

    Expects `options.logo`, where it is not "none", to be an id.
    """
    values: dict[str, Any] = {
        field: value
        for field in LookOptions.__struct_fields__
        if (value := getattr(options, field)) is not UNSET
    }
    if "color" in values:
        values["color"] = color(values["color"])
    if "background" in values:
        values["background"] = background(values["background"])
    if "logo" in values:
        values["logo"] = None if values["logo"] == NO_LOGO else UUID(values["logo"])
    return replace(look, **values)


def options_of(look: Look) -> dict[str, Any]:
    """What `LookOptions` would have to hold to make `look` of the plain one."""
    values = {
        field: value
        for field in LookOptions.__struct_fields__
        if (value := getattr(look, field)) != getattr(PLAIN, field)
    }
    return values | ({"logo": str(look.logo)} if look.logo else {})


class Style(Struct, frozen=True):
    """A look that an organisation keeps under a name; at most one style is its default."""

    id: UUID
    organization_id: UUID
    name: str
    look: Look
    is_default: bool
    created_at: datetime
    updated_at: datetime


def color(text: str) -> str:
    """A colour as `#rrggbb`; takes `#rgb` as well, and both without `#`, which URLs have to escape.

    Raises ValueError for anything else.
    """
    match = _HEX.fullmatch(text)
    if match is None:
        raise ValueError("write a colour as 6 or 3 hexadecimal digits, such as #0a3d62")
    digits = match.group(1).lower()
    return "#" + (digits if len(digits) == 6 else "".join(2 * digit for digit in digits))


def background(text: str) -> str:
    """A background: a colour, or `transparent`."""
    try:
        return TRANSPARENT if text.lower() == TRANSPARENT else color(text)
    except ValueError as error:
        raise ValueError(f"{error}, or transparent") from None


def _check_logo(text: str) -> None:
    if text != NO_LOGO:
        try:
            UUID(text)
        except ValueError:
            raise ValueError(
                f"{text!r} is not the id of a logo; upload one (POST .../logos), or write none"
            ) from None


def _check_caption(text: str) -> None:
    # Blanks of all kinds, and characters that only steer others: Unicode's separators and controls.
    if text and all(unicodedata.category(character)[0] in "ZC" for character in text):
        raise ValueError("has no letter that could be seen; leave it empty for no caption")


look_rules = field_rules(
    color=color, background=background, logo=_check_logo, caption=_check_caption
)
"""What `LookOptions` must fulfil beyond their types."""
