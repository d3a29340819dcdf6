"""Contrast: how well modules stand out from what is behind them, and which colours would do.

Luminance and ratio are those of the Web Content Accessibility Guidelines (WCAG) 2.2, "relative
luminance" and "contrast ratio". They weigh colours roughly as the grey picture does that a reader
makes of what its camera sees: red and green may look different to the eye, and yet be one grey.
Colours are `#rrggbb`.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from core.domain.looks import BLACK, TRANSPARENT, WHITE

_STEPS = 255
# A ratio that is reached but for the last binary digits is reached: black on white has to be 21.
_TOLERANCE = 1e-9


class Remedy(Struct, frozen=True):
    """Colours of which modules and background would do; None stays as it is."""

    color: str | None = None
    background: str | None = None


def luminance(color: str) -> float:
    """The relative luminance: 0 for black, 1 for white."""
    red, green, blue = (_linear(channel / 255) for channel in _channels(color))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def ratio(one: str, other: str) -> float:
    """The contrast ratio: 1 for equal luminance, 21 for black and white."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def paper(background: str) -> str:
    """What is behind the modules: a transparent background is put on white paper."""
    return WHITE if background == TRANSPARENT else background


def is_inverted(color: str, background: str) -> bool:
    """Whether the modules are lighter than what is behind them, which many readers refuse."""
    return luminance(color) > luminance(paper(background))


def suffices(color: str, background: str, needed: float) -> bool:
    """Whether modules are dark enough, and their background light enough, for the ratio needed."""
    behind = paper(background)
    return not is_inverted(color, behind) and ratio(color, behind) >= needed - _TOLERANCE


def remedy(color: str, background: str, needed: float) -> Remedy:
    """The smallest change that suffices: a darker shade of the color, or else a lighter background.

    Where neither is enough alone, the background becomes white, and the color as dark as needed.
    """
    shade = darker(color, background, needed)
    if shade is not None:
        return Remedy(color=shade)
    tint = lighter(color, background, needed)
    if tint is not None:
        return Remedy(background=tint)
    return Remedy(color=darker(color, WHITE, needed) or BLACK, background=WHITE)


def darker(color: str, background: str, needed: float) -> str | None:
    """The nearest darker shade of `color`, of the same hue, that suffices on `background`."""
    shades = _shades(color)
    return next((shade for shade in shades if suffices(shade, background, needed)), None)


def lighter(color: str, background: str, needed: float) -> str | None:
    """The nearest lighter tint of `background` on which `color` suffices."""
    return next((tint for tint in _tints(background) if suffices(color, tint, needed)), None)


def _shades(color: str) -> Iterator[str]:
    """`color` on its way to black: all channels shrink in proportion, which keeps the hue."""
    channels = _channels(color)
    for step in range(_STEPS, -1, -1):
        yield _hex([channel * step // _STEPS for channel in channels])


def _tints(background: str) -> Iterator[str]:
    """`background` on its way to white."""
    channels = _channels(paper(background))
    for step in range(_STEPS + 1):
        yield _hex([channel + (255 - channel) * step // _STEPS for channel in channels])


def _channels(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _hex(channels: list[int]) -> str:
    return "#" + "".join(f"{channel:02x}" for channel in channels)


def _linear(channel: float) -> float:
    """A channel of sRGB (0-1) without its gamma."""
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)
