"""The renderer `svg`: a white square and one path, pixel for pixel where the PNG has them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from core.api import Drawing, Renderer, Symbol, hookimpl

REVISION = 1
"""Grows whenever the code below comes to write other bytes for the same symbol and layout."""

_RUN = re.compile(b"\x01+")


class SvgRenderer:
    """Writes SVG 1.1 without a prologue, so that it can stand in an HTML page as it is."""

    media_type = "image/svg+xml"
    extension = "svg"

    def __init__(self) -> None:
        self.fingerprint = f"svg-{REVISION}"

    def render(self, drawing: Drawing) -> bytes:
        """The image; the path is in modules, and `matrix` puts them where the layout says."""
        symbol, layout = drawing.symbol, drawing.layout
        size, scale, offset = layout.size, layout.scale, layout.left
        # NOTE: one path for all modules: drawn as separate shapes, neighbours would show hairlines
        # between them wherever a program scales or prints the image with smoothed edges.
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}" '
            f'viewBox="0 0 {size} {size}" shape-rendering="crispEdges">'
            f'<rect width="{size}" height="{size}" fill="#fff"/>'
            f'<path fill="#000" transform="matrix({scale} 0 0 {scale} {offset} {offset})" '
            f'd="{"".join(_runs(symbol))}"/></svg>'
        ).encode("ascii")


def _runs(symbol: Symbol) -> Iterator[str]:
    """Each run of dark modules in a row as a closed rectangle, one module high."""
    for y in range(symbol.size):
        for run in _RUN.finditer(symbol.row(y)):
            start, end = run.span()
            yield f"M{start} {y}h{end - start}v1H{start}z"


@hookimpl
def qz_renderers() -> Mapping[str, Renderer]:
    """Offer the format `svg`."""
    return {"svg": SvgRenderer()}
