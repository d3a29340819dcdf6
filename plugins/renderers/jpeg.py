"""The renderer `jpeg`: the pixels of the PNG, for programs that take nothing but JPEG."""

from __future__ import annotations

import io
from collections.abc import Mapping

from PIL import features

from core.api import TRANSPARENT, Drawing, Renderer, hookimpl
from plugins.renderers import raster

REVISION = 2
"""Grows whenever the code below comes to write other bytes for the same drawing."""

_QUALITY = 95

_DENSEST = 65_535
"""The most pixels an inch that the header of a JFIF file can tell."""


class JpegRenderer:
    """Writes JPEG files (JFIF) of high quality; the same input gives the same bytes.

    JPEG blurs sharp edges: PNG shows the same better and is smaller.
    """

    media_type = "image/jpeg"
    extension = "jpg"

    def __init__(self) -> None:
        self.fingerprint = f"jpeg-{REVISION}-{raster.FINGERPRINT}-libjpeg-{features.version('jpg')}"

    def render(self, drawing: Drawing) -> bytes:
        """The image; its density in print is rounded to whole pixels an inch.

        A density that JFIF cannot tell is left out.
        """
        if drawing.look.background == TRANSPARENT:
            raise ValueError(
                "JPEG knows no transparency; take a look with a background, or png, svg or webp"
            )
        size = drawing.layout.size
        per_inch = 0 if drawing.width_mm is None else round(size / drawing.width_mm * 25.4)
        density = (per_inch, per_inch) if 1 <= per_inch <= _DENSEST else (0, 0)
        image, file = raster.paint(drawing), io.BytesIO()
        # Without subsampling colours keep the sharpness that brightness has. Tables made for the
        # image take a quarter off the file, and 0.2 ms at 300 pixels.
        image.save(file, "JPEG", quality=_QUALITY, subsampling=0, optimize=True, dpi=density)
        return file.getvalue()


@hookimpl
def qz_renderers() -> Mapping[str, Renderer]:
    """Offer the format `jpeg`."""
    return {"jpeg": JpegRenderer()}
