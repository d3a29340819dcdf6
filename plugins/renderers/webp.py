"""The renderer `webp`: the pixels of the PNG as lossless WebP, which is smaller with most looks."""

from __future__ import annotations

import io
from collections.abc import Mapping

from PIL import ExifTags, Image, features
from PIL.TiffImagePlugin import IFDRational

from core.api import Drawing, Renderer, hookimpl
from plugins.renderers import raster

REVISION = 2
"""Grows whenever the code below comes to write other bytes for the same drawing."""

_LARGEST = 16_383
"""The largest width and height that WebP knows, in pixels."""

_INCH = 2
"""The value of the Exif tag ResolutionUnit that says that the other two count pixels an inch."""


class WebpRenderer:
    """Writes lossless WebP; the same input gives the same bytes with the same libwebp."""

    media_type = "image/webp"
    extension = "webp"

    def __init__(self) -> None:
        self.fingerprint = (
            f"webp-{REVISION}-{raster.FINGERPRINT}-libwebp-{features.version('webp')}"
        )

    def render(self, drawing: Drawing) -> bytes:
        """The image; its width in print stands in Exif data, where it is known."""
        size = drawing.layout.size
        if size > _LARGEST:
            raise ValueError(
                f"WebP images have at most {_LARGEST} pixels a side, not {size}; take png or svg"
            )
        image, file = raster.paint(drawing), io.BytesIO()
        # NOTE: `exact` keeps the colours beneath full transparency, which libwebp would change
        # otherwise, and not each of its versions in the same way.
        # PERF: method and quality say how hard libwebp tries. With these a flat look at 2000 pixels
        # takes 40 ms and 840 bytes, with the usual ones 62 ms and 740 bytes.
        image.save(
            file,
            "WEBP",
            lossless=True,
            exact=True,
            method=1,
            quality=0,
            exif=b"" if drawing.width_mm is None else _exif(size, drawing.width_mm),
        )
        return file.getvalue()


def _exif(size: int, width_mm: float) -> bytes:
    """Exif data that say nothing but how many pixels an inch has."""
    per_inch = IFDRational(round(size / width_mm * 25_400), 1000)
    exif = Image.Exif()
    exif[ExifTags.Base.XResolution] = per_inch
    exif[ExifTags.Base.YResolution] = per_inch
    exif[ExifTags.Base.ResolutionUnit] = _INCH
    return exif.tobytes()


@hookimpl
def qz_renderers() -> Mapping[str, Renderer]:
    """Offer the format `webp`."""
    return {"webp": WebpRenderer()}
