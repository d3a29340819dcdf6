"""Rasters: a drawing as pixels in Pillow's hands, for the formats that Pillow writes."""

from __future__ import annotations

import io

import resvg_py
from PIL import Image

from core.api import TRANSPARENT, Drawing, Logo, LogoType, Look
from plugins.renderers import tiles

FINGERPRINT = tiles.FINGERPRINT
"""What the pixels depend on."""

_OPAQUE, _CLEAR = 255, 0
_LIGHT_AND_DARK = bytes.maketrans(b"\x00\x01", b"\x00\xff")


def paint(drawing: Drawing) -> Image.Image:
    """The pixels that the PNG shows: RGBA where the background is transparent, else RGB.

    Where both colours of a flat look are grey, and nothing is transparent, the image is L.
    """
    look, layout = drawing.look, drawing.layout
    if not look.flat:
        return _composed(drawing)
    mode, light, dark = _colors(look)
    symbol = drawing.symbol
    modules = (symbol.size, symbol.size)
    # PERF: colours are given to modules, not to pixels: 3 ms at 2000 pixels, not 30.
    mask = Image.frombytes("L", modules, symbol.modules.translate(_LIGHT_AND_DARK))
    small = Image.new(mode, modules, light)
    small.paste(dark, (0, 0, *modules), mask)
    side = layout.scale * symbol.size
    image = Image.new(mode, (layout.size, layout.size), light)
    image.paste(small.resize((side, side), Image.Resampling.NEAREST), (layout.left, layout.top))
    return image


def _composed(drawing: Drawing) -> Image.Image:
    """A look of more than whole modules."""
    image, look = tiles.coverage(drawing), drawing.look
    if look.background == TRANSPARENT:
        shape = image
        image = Image.new("RGBA", shape.size, look.color)
        image.putalpha(shape)
    else:
        image.putpalette(blends(look.color, look.background))
        image = image.convert("RGB")
    logo = tiles.logo(drawing)
    if logo is not None:
        picture, place = logo
        if image.mode == "RGBA":
            image.alpha_composite(picture, place)
        else:
            image.paste(picture, place, picture)
    return image


def blends(color: str, background: str) -> bytes:
    """The colours of pixels of which 0 to 255 parts of 255 have `color`, three bytes each."""
    parts = zip(bytes.fromhex(background[1:]), bytes.fromhex(color[1:]), strict=True)
    channels = [
        bytes((light * (255 - part) + dark * part + 127) // 255 for part in range(256))
        for light, dark in parts
    ]
    return b"".join(map(bytes, zip(*channels, strict=True)))


def logo_picture(logo: Logo, pixels: int) -> Image.Image:
    """A logo as RGBA, its longer side of so many pixels at most; a PNG is never enlarged."""
    data = logo.data
    if logo.info.media_type is LogoType.SVG:
        wide = logo.info.width >= logo.info.height
        data = resvg_py.svg_to_bytes(
            svg_string=data.decode("utf-8"),
            skip_system_fonts=True,
            width=pixels if wide else None,
            height=None if wide else pixels,
        )
    with Image.open(io.BytesIO(data)) as opened:
        picture = opened.convert("RGBA")
    picture.thumbnail((pixels, pixels), Image.Resampling.LANCZOS)
    return picture


def _colors(look: Look) -> tuple[str, tuple[int, ...] | int, tuple[int, ...] | int]:
    """The mode that holds both colours of a flat look, its background, and its modules."""
    dark = tuple(bytes.fromhex(look.color[1:]))
    if look.background == TRANSPARENT:
        return "RGBA", (255, 255, 255, _CLEAR), (*dark, _OPAQUE)
    light = tuple(bytes.fromhex(look.background[1:]))
    if len(set(light)) == len(set(dark)) == 1:
        return "L", light[0], dark[0]
    return "RGB", light, dark
