"""The scannability guard: no look is served that a reader has not read first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib.metadata import version
from io import BytesIO
from itertools import islice

import zxingcpp
from msgspec import Struct
from msgspec.structs import replace
from PIL import Image, ImageFilter

from core.domain.codewords import repair_used
from core.domain.contrast import (
    darker,
    lighter,
    paper,
    ratio,
    remedy,
    suffices,
)
from core.domain.images import (
    QUIET_ZONE,
    Drawing,
    ErrorCorrection,
    Layout,
    SymbolKind,
    lay_out,
    smallest_size,
)
from core.domain.looks import (
    TRANSPARENT,
    WHITE,
    FinderShape,
    Look,
    ModuleShape,
    logo_hole,
)
from core.errors import FieldProblem, InvalidFields
from core.ports import Renderer

REVISION = 2
"""Grows whenever the code below comes to judge the same drawing in another way."""

_ZXING = version("zxing-cpp")

SMALL = 120
"""The width in pixels at which every look has to be read as well, as far as its modules allow."""

_SMALL_SCALE, _CLOSE_SCALE = 3, 12
"""Pixels a module: what the small picture has at least, and the blurred large one at most.

Looks are geometry, the same at any scale, and so is a blur in modules.
"""

_PAGE = 60
"""The least width in pixels of the white paper around the picture in the size that is asked for.

A reader looks for a symbol in all that it sees, and takes as dark what is darker than its
surroundings: neither is the same on a page as it is for the picture alone.
"""

_BLOCK = 8
"""The width in pixels of the blocks by which zxing-cpp tells dark from light."""

_BLUR, _BLURRED_SCALE = 0.35, 6
"""The blur in modules (standard deviation), and the pixels a module that it is applied to at least.

It stands for a hand not quite still and a camera not quite sharp. Measured on some 300 looks of
all shapes, with and without logos, in symbols of versions 2 to 25: up to 0.4 all are read, at 0.5
some 40 percent of them are not. A smaller picture is enlarged before, as it is by going closer:
blurred at 3 pixels a module, up to 14 percent of sound looks were not read, by chance.
"""

_MOST_REPAIR = 0.75
"""How much of what can be repaired a logo may use up: the rest is for dirt, folds and glare."""

_SMALLEST_LOGO = 5

_MOST_VIEWS, _MOST_READINGS = 4, 16
"""How many pictures are read of one drawing, and of all that are tried on the way to a refusal."""

_MORE_CONTRAST = (4.5, 7.0, 12.0)
"""Contrast ratios that are tried where one that is allowed turns out not to be enough."""

_NEEDED_MARGIN = 2

_FORMATS = {
    SymbolKind.QR: zxingcpp.BarcodeFormats([zxingcpp.BarcodeFormat.QRCode]),
    SymbolKind.MICRO: zxingcpp.BarcodeFormats([zxingcpp.BarcodeFormat.MicroQRCode]),
}


Alike = set[tuple[object, ...]]
"""Of which drawings one was read from every view: they differ in nothing but what they encode."""


class _Remedy(Struct, frozen=True):
    """A change that may help: the drawing with it, and what to say of which field if it does."""

    drawing: Drawing
    field: str
    message: str


class Scannability:
    """Judges looks: by rules first, which are cheap, and then by reading them.

    `raster` draws what is read; without it there is no proof, and so no look but the plain one.
    """

    def __init__(self, raster: Renderer | None, min_contrast: float) -> None:
        self._raster = raster
        self._min_contrast = min_contrast

    @property
    def fingerprint(self) -> str:
        """What a verdict depends on, besides the drawing."""
        raster = self._raster.fingerprint if self._raster else ""
        return f"guard-{REVISION}-{self._min_contrast:g}-zxing-{_ZXING}-{raster}"

    def check(self, drawing: Drawing, content: str, alike: Alike | None = None) -> bytes:
        """Raise InvalidFields, with the reason and a way out, unless readers read the drawing.

        A way out that is named has been tried: it passes this check, if nothing else is changed.
        Returns the picture that was read, which is what the raster makes of the drawing.

        For those who check many drawings: of those `alike` one only is read from every view, all
        others as they are. Shapes, colours and logo decide what small and blurred views lose, and
        of 2,024 drawings whose like had been read from all views, none was refused for one of them.
        """
        if self._raster is None:
            raise InvalidFields.of(
                "style",
                "every look but the plain one is read before it is served, and the renderer png "
                "that draws it for that is not enabled; take the plain look (in a query: "
                "style=plain), or add png to plugins.enabled",
            )
        problems = [*self._color_problems(drawing.look), *_margin_problems(drawing)]
        if problems:
            raise InvalidFields(problems)
        reader = _Reader(self._raster, content)
        likeness = _likeness(drawing)
        if alike is not None and likeness in alike:
            picture = reader.glance(drawing)
            if picture is not None:
                return picture
        too_large = not _spares_enough(drawing)
        try:
            picture = None if too_large else reader.read(drawing)
            if picture is not None:
                if alike is not None:
                    alike.add(likeness)
                return picture
            for candidate in self._remedies(drawing, too_large):
                if reader.read(candidate.drawing) is not None:
                    raise InvalidFields.of(candidate.field, candidate.message)
        except ValueError as error:
            # Two things of a look may be beyond a renderer: letters and pictures.
            field = "caption" if drawing.look.caption else "logo"
            raise InvalidFields.of(field, str(error)) from error
        raise InvalidFields.of(
            "logo_size" if too_large else "shape",
            "the code cannot be read in this look, and changing one thing alone does not help; "
            "begin with square modules and finders, dark on white, without logo and caption",
        )

    def _color_problems(self, look: Look) -> Iterator[FieldProblem]:
        color, background, needed = look.color, look.background, self._min_contrast
        if suffices(color, background, needed):
            return
        behind = paper(background)
        on = "the white paper behind it" if background == TRANSPARENT else background
        if suffices(behind, color, needed):
            yield FieldProblem(
                "color",
                f"{color} is lighter than the background {on}: the code is inverted, and many "
                f"readers do not read that; swap them: color {behind}, background {color}",
            )
            return
        better = remedy(color, background, needed)
        changes = {"color": better.color, "background": better.background}
        wanted = " with ".join(f"{name} {value}" for name, value in changes.items() if value)
        yield FieldProblem(
            "background" if better.color is None else "color",
            f"the contrast of {color} on {on} is too low: {_rounded_down(ratio(color, behind))} to "
            f"1, and at least {needed:g} to 1 is needed; the nearest that works is {wanted}",
        )

    def _remedies(self, drawing: Drawing, too_large: bool) -> Iterator[_Remedy]:
        """Changes that may help, one at a time, those first that change the look the least.

        With `too_large` only a smaller logo can, and the largest one that can is named.
        """
        look, layout = drawing.look, drawing.layout
        unread = "the code cannot be read"
        if too_large:
            for percent in _smaller_logos(drawing):
                smaller = _with(drawing, logo_size=percent)
                if _spares_enough(smaller):
                    message = f"{look.logo_size} percent is too large; at most {percent} works here"
                    yield _Remedy(smaller, "logo_size", message)
            return
        pixels = "1 pixel" if layout.scale == 1 else f"{layout.scale} pixels"
        for scale in range(layout.scale + 1, _SMALL_SCALE + 1):
            size = scale * _smallest_size(drawing)
            yield _Remedy(
                _resized(drawing, size),
                "size",
                f"{layout.size} is too small for this look, a module has only {pixels} there; "
                f"{size} works",
            )
        if drawing.logo is not None:
            for percent in islice(_smaller_logos(drawing), 3):
                yield _Remedy(
                    _with(drawing, logo_size=percent),
                    "logo_size",
                    f"{unread} with a logo of {look.logo_size} percent; {percent} works here",
                )
            yield _Remedy(
                replace(_with(drawing, logo=None), logo=None),
                "logo",
                f"{unread} with this logo; use another picture, or logo none",
            )
        if look.caption:
            yield _Remedy(
                _resized(_with(drawing, caption=""), layout.size),
                "caption",
                f"{unread} with a caption; leave it out",
            )
        for shape in _calmer(look.shape):
            yield _Remedy(
                _with(drawing, shape=shape),
                "shape",
                f"{unread} with {look.shape.value} modules; shape {shape.value} works",
            )
        if look.finder_shape is not FinderShape.SQUARE:
            yield _Remedy(
                _with(drawing, finder_shape=FinderShape.SQUARE),
                "finder_shape",
                f"{unread} with {look.finder_shape.value} finders; finder_shape square works",
            )
        if layout.margin < QUIET_ZONE:
            yield _Remedy(
                _resized(drawing, layout.size, QUIET_ZONE),
                "margin",
                f"{unread} with a margin of {layout.margin}; {QUIET_ZONE} works",
            )
        for needed in _MORE_CONTRAST:
            shade = darker(look.color, look.background, needed)
            if shade not in (None, look.color):
                yield _Remedy(
                    _with(drawing, color=shade),
                    "color",
                    f"{unread} in {look.color} on {look.background}; color {shade} works",
                )
            tint = lighter(look.color, look.background, needed)
            if tint not in (None, paper(look.background)):
                yield _Remedy(
                    _with(drawing, background=tint),
                    "background",
                    f"{unread} in {look.color} on {look.background}; background {tint} works",
                )


class _Reader:
    """Reads drawings the way cameras see them; `readings` is how many pictures it may still read.

    Once these are used up nothing counts as read any more: nothing is promised without proof.
    """

    def __init__(self, raster: Renderer, content: str) -> None:
        self._raster = raster
        self._content = content
        self.readings = _MOST_READINGS

    def glance(self, drawing: Drawing) -> bytes | None:
        """The picture of the drawing, if the content is read from it as it is, else None."""
        picture, grey, _ = self._drawn(drawing, drawing.layout.size)
        page = _framed(grey, _page_edge(drawing.layout))
        return picture if self._is_read(page, drawing) else None

    def read(self, drawing: Drawing) -> bytes | None:
        """The picture of the drawing, if the content is read from every view of it, else None.

        The views are what cameras may see: the picture as it is and small, each sharp and slightly
        blurred, in grey. Raises ValueError where the renderer cannot show the look.
        """
        if self.readings < _MOST_VIEWS:
            return None
        size, smallest = drawing.layout.size, _smallest_size(drawing)
        small = min(size, max(SMALL, _SMALL_SCALE * smallest))
        close = min(size, max(small, _CLOSE_SCALE * smallest))
        # PERF: the small one first: it is the cheapest, and almost always the one that fails.
        picture, grey, scale = self._drawn(drawing, small)
        sharp = _framed(grey, QUIET_ZONE * scale)
        if not (self._is_read(sharp, drawing) and self._is_read(_blurred(sharp, scale), drawing)):
            return None
        if small < size:
            picture, grey, scale = self._drawn(drawing, size)
        if not self._is_read(_framed(grey, _page_edge(drawing.layout)), drawing):
            return None
        if small < close:
            if close < size:
                _, grey, scale = self._drawn(drawing, close)
            if not self._is_read(_blurred(_framed(grey, QUIET_ZONE * scale), scale), drawing):
                return None
        return picture

    def _drawn(self, drawing: Drawing, size: int) -> tuple[bytes, Image.Image, int]:
        """The picture in some size, the same in grey, and how many pixels a module has."""
        seen = drawing if size == drawing.layout.size else _resized(drawing, size)
        picture = self._raster.render(seen)
        return picture, _opened(picture), seen.layout.scale

    def _is_read(self, picture: Image.Image, drawing: Drawing) -> bool:
        self.readings -= 1
        found = zxingcpp.read_barcodes(
            picture,
            formats=_FORMATS[drawing.symbol.kind],
            try_rotate=False,
            try_invert=False,
            text_mode=zxingcpp.TextMode.Plain,
        )
        return [barcode.text for barcode in found] == [self._content]


def _opened(data: bytes) -> Image.Image:
    """A picture in grey, and how opaque it is."""
    with Image.open(BytesIO(data)) as image:
        return image.convert("RGBA").convert("LA") if _transparent(image) else image.convert("L")


def _transparent(image: Image.Image) -> bool:
    return "A" in image.getbands() or "transparency" in image.info


def _framed(picture: Image.Image, edge: int) -> Image.Image:
    """A picture on white paper, which is the quiet zone of those that have none."""
    page = Image.new("L", (picture.width + 2 * edge, picture.height + 2 * edge), 255)
    mask = picture.getchannel("A") if picture.mode == "LA" else None
    page.paste(picture.getchannel("L"), (edge, edge), mask)
    return page


def _page_edge(layout: Layout) -> int:
    """How much white paper is around a picture on a page."""
    edge = max(_PAGE, QUIET_ZONE * layout.scale)
    # NOTE: where modules of 8 pixels lie on zxing-cpp's blocks exactly, no block has an edge in it,
    # and what is read is up to the blocks around it. No camera ever sees them so: half a block off.
    return edge + (_BLOCK // 2 - edge - layout.left) % _BLOCK


def _blurred(picture: Image.Image, scale: int) -> Image.Image:
    """A picture of so many pixels a module as it is seen from nearer by, not quite sharply."""
    nearer = math.ceil(_BLURRED_SCALE / scale)
    if nearer > 1:
        picture = picture.resize((nearer * picture.width, nearer * picture.height))
    return picture.filter(ImageFilter.GaussianBlur(_BLUR * nearer * scale))


def _likeness(drawing: Drawing) -> tuple[object, ...]:
    symbol = drawing.symbol
    return (drawing.look, drawing.layout, symbol.kind, symbol.version, symbol.error_correction)


def _margin_problems(drawing: Drawing) -> Iterator[FieldProblem]:
    background, margin = drawing.look.background, drawing.layout.margin
    if margin < _NEEDED_MARGIN and paper(background) != WHITE:
        yield FieldProblem(
            "margin",
            f"{margin} is too narrow on the background {background}: readers find a code by the "
            "quiet zone around it, and whatever it is put on may have another colour; use "
            f"{_NEEDED_MARGIN} or more, or background {WHITE}",
        )


def _spares_enough(drawing: Drawing) -> bool:
    """Whether a logo leaves enough in reserve; without it, a code that is read here is not worn."""
    if drawing.logo is None:
        return True
    symbol = drawing.symbol
    if symbol.error_correction is not ErrorCorrection.H:
        raise InvalidFields.of("error_correction", "a logo needs error correction H")
    hole = logo_hole(symbol.size, drawing.look.logo_size)
    used = repair_used(symbol.version, hole.start, hole.stop - 1)
    return used <= _MOST_REPAIR


def _smaller_logos(drawing: Drawing) -> Iterator[int]:
    """Smaller values of `logo_size`, largest first, that make a difference.

    A symbol has few modules, so that most values differ from the next one in name only.
    """
    size, seen = drawing.symbol.size, logo_hole(drawing.symbol.size, drawing.look.logo_size)
    for percent in range(drawing.look.logo_size - 1, _SMALLEST_LOGO - 1, -1):
        hole = logo_hole(size, percent)
        if hole != seen:
            seen = hole
            yield percent


def _calmer(shape: ModuleShape) -> tuple[ModuleShape, ...]:
    """Shapes that are easier to read, the most similar first."""
    if shape is ModuleShape.DOT:
        return (ModuleShape.ROUNDED, ModuleShape.SQUARE)
    return (ModuleShape.SQUARE,) if shape is ModuleShape.ROUNDED else ()


def _with(drawing: Drawing, **changes: object) -> Drawing:
    """The drawing in a look that is changed a little."""
    return replace(drawing, look=replace(drawing.look, **changes))


def _resized(drawing: Drawing, size: int, margin: int | None = None) -> Drawing:
    """The drawing, laid out anew; as it was where it does not fit."""
    return replace(drawing, layout=_layout(drawing, size, margin))


def _layout(drawing: Drawing, size: int, margin: int | None) -> Layout:
    wanted = drawing.layout.margin if margin is None else margin
    try:
        return lay_out(drawing.symbol, size, wanted, caption=bool(drawing.look.caption))
    except ValueError:
        return drawing.layout


def _smallest_size(drawing: Drawing) -> int:
    """The size at which a module is one pixel wide."""
    margin, caption = drawing.layout.margin, bool(drawing.look.caption)
    return smallest_size(drawing.symbol, margin, caption=caption)


def _rounded_down(number: float) -> str:
    """With one decimal, and no more than there is: 2.99 is not 3."""
    return f"{math.floor(number * 10) / 10:.1f}"
