"""The renderer `text`: half blocks for terminals, two rows of modules in a line of characters."""

from __future__ import annotations

from collections.abc import Mapping

from core.api import PLAIN, Drawing, PluginSettings, Renderer, hookimpl

REVISION = 1
"""Grows whenever the code below comes to write other characters for the same symbol and margin."""


class TextSettings(PluginSettings, frozen=True, kw_only=True):
    """`[plugin.text]`: whether the characters are for dark letters on a light ground."""

    invert: bool = False


class TextRenderer:
    """Writes one character for two modules, one above the other; the size has no effect.

    Terminals mostly show light letters on a dark ground, so blocks are the light modules and the
    quiet zone; with `invert` they are the dark ones, for dark letters on a light ground: paper,
    most mail programs, a light terminal. Shown on the wrong ground, the symbol is a negative, which
    many readers take, but not all.
    """

    media_type = "text/plain; charset=utf-8"
    extension = "txt"

    def __init__(self, *, invert: bool = False) -> None:
        self.fingerprint = f"text-{REVISION}-{'dark' if invert else 'light'}"
        # What is written for a pair of modules: the upper one counts 2, the lower one 1.
        self._blocks = str.maketrans("\x00\x01\x02\x03", " ▄▀█" if invert else "█▀▄ ")
        # An odd number of rows leaves half a line, which is to show no block: it lies outside of
        # the quiet zone and may look like the terminal around it.
        self._outside = 0 if invert else 1

    def render(self, drawing: Drawing) -> bytes:
        """The lines, each with its end, in a quiet zone of `layout.margin` modules."""
        if drawing.look != PLAIN:
            raise ValueError(
                "text shows black squares on white, and no other look; take none, or png or svg"
            )
        symbol, margin = drawing.symbol, drawing.layout.margin
        width = symbol.size + 2 * margin
        side, above = bytes(margin), [bytes(width)] * margin
        rows = [*above, *(side + symbol.row(y) + side for y in range(symbol.size)), *above]
        if width % 2:
            rows.append(bytes([self._outside]) * width)
        return "".join(
            bytes(2 * upper + lower for upper, lower in zip(rows[y], rows[y + 1], strict=True))
            .decode("ascii")
            .translate(self._blocks)
            + "\n"
            for y in range(0, len(rows), 2)
        ).encode("utf-8")


@hookimpl
def qz_settings() -> type[PluginSettings]:
    """The options of `[plugin.text]`."""
    return TextSettings


@hookimpl
def qz_renderers(settings: TextSettings) -> Mapping[str, Renderer]:
    """Offer the format `text`."""
    return {"text": TextRenderer(invert=settings.invert)}
