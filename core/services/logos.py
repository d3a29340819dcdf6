"""Takes in logos, checked and written anew, and hands them out."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from datetime import datetime
from io import BytesIO
from typing import Any, cast
from uuid import UUID, uuid4

from PIL import Image, UnidentifiedImageError

from core.domain.audit import Action, Changes, Origin, Subject, SubjectKind, differences
from core.domain.logos import Logo, LogoInfo, LogoType
from core.errors import Conflict, InvalidFields, NotFound
from core.ports import Storage
from core.services.audit import Audit
from core.services.offload import Offload, call_inline
from core.services.recent import Recall
from core.services.svg import clean_svg
from core.settings import ImagesSettings

MIN_SIDE = 16
"""The smallest width and height of a PNG, in pixels: less is a blot in print."""

MAX_RATIO = 16

_SIGNATURE = b"\x89PNG\r\n\x1a\n"

# Where the type of colours lies in the chunk IHDR, its length and name included, and the type of
# pixels that are numbers of the palette's colours.
_COLOR_TYPE, _INDEXED = 17, 3

# Compression, filter and interlace methods that there are (W3C PNG, 11.2.1).
_METHODS = frozenset({b"\0\0\0", b"\0\0\1"})

_MAX_PALETTE = 3 * 256

_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})


class Logos:
    """The logos of all organisations; every method names the one that it is for."""

    def __init__(
        self,
        storage: Storage,
        audit: Audit,
        settings: ImagesSettings,
        clock: Callable[[], datetime],
        plans: Recall[Any, Any],
    ) -> None:
        self._storage = storage
        self._audit = audit
        self._settings = settings
        self._clock = clock
        self._plans = plans
        self._offload: Offload = call_inline

    def open(self, offload: Offload) -> None:
        """Get ready: `offload` does the checking from now on."""
        self._offload = offload

    def add(
        self, organization_id: UUID, name: str, media_type: LogoType, data: bytes, *, by: Origin
    ) -> LogoInfo:
        """Check the picture and store what is left of it; raises InvalidFields or Conflict."""
        self._refuse_too_many(organization_id)
        logo = self.check(organization_id, name, media_type, data)
        with self._storage.transaction():
            self._storage.logos.add(logo)
            told = differences(None, _told(logo.info))
            self._record(by, Action.LOGO_CREATE, logo.info, told)
        return logo.info

    def check(self, organization_id: UUID, name: str, media_type: LogoType, data: bytes) -> Logo:
        """The logo that the picture would become; raises InvalidFields."""
        if name != name.strip():
            raise InvalidFields.of("name", "begins or ends with a blank; leave the blank out")
        if len(data) > self._settings.max_logo_bytes:
            raise InvalidFields.of(
                "body",
                f"{len(data)} bytes are too many; at most {self._settings.max_logo_bytes} "
                "(setting images.max_logo_bytes)",
            )
        limit = self._settings.max_logo_pixels
        try:
            clean, width, height = self._offload(sanitize, data, media_type, limit)
        except ValueError as error:
            raise InvalidFields.of("body", str(error)) from error
        info = LogoInfo(
            id=uuid4(),
            organization_id=organization_id,
            name=name,
            media_type=media_type,
            width=width,
            height=height,
            created_at=self._clock(),
        )
        return Logo(info, clean)

    def get(self, organization_id: UUID, logo_id: UUID) -> Logo:
        """The logo with its picture; raises NotFound."""
        logo = self._storage.logos.get(organization_id, logo_id)
        if logo is None:
            raise NotFound("There is no such logo.")
        return logo

    def list(self, organization_id: UUID) -> Sequence[LogoInfo]:
        """The organisation's logos, by name."""
        return self._storage.logos.of_organization(organization_id)

    def delete(self, organization_id: UUID, logo_id: UUID, *, by: Origin) -> None:
        """Remove the logo; raises NotFound, or Conflict where styles have it."""
        info = self.get(organization_id, logo_id).info
        with self._storage.transaction():
            if not self._storage.logos.delete(organization_id, logo_id):
                raise NotFound("There is no such logo.")
            self._record(by, Action.LOGO_DELETE, info, differences(_told(info), None))
        self._plans.clear()

    def _record(self, by: Origin, action: Action, logo: LogoInfo, changes: Changes) -> None:
        subject = Subject(SubjectKind.LOGO, logo.id, logo.name)
        self._audit.record(by, logo.organization_id, action, subject, changes)

    def _refuse_too_many(self, organization_id: UUID) -> None:
        limit = self._settings.max_logos
        if len(self.list(organization_id)) >= limit:
            raise Conflict(
                f"The organization has as many logos as it may have, {limit} (setting "
                "images.max_logos); delete one first."
            )


def _told(logo: LogoInfo) -> dict[str, object]:
    """What the audit log tells of a logo: not its picture."""
    return {name: getattr(logo, name) for name in ("name", "media_type", "width", "height")}


def sanitize(data: bytes, media_type: LogoType, max_pixels: int) -> tuple[bytes, float, float]:
    """A picture of a stranger, safe to embed as it is, with its width and height.

    Raises ValueError, with the reason, for whatever is not such a picture.
    """
    if media_type is LogoType.SVG:
        return clean_svg(data)
    return _clean_png(data, max_pixels)


def _clean_png(data: bytes, max_pixels: int) -> tuple[bytes, float, float]:
    """A PNG with nothing in it but its pixels (W3C PNG, third edition).

    The header is looked at before anything is decompressed: a few bytes may claim gigabytes.
    """
    if not data.startswith(_SIGNATURE):
        raise ValueError("the file is no PNG: its first bytes are others")
    bare = _bare_png(data)
    width, height = struct.unpack_from(">II", bare, 16)
    if width * height > max_pixels:
        raise ValueError(
            f"{width} by {height} pixels are too many; at most {max_pixels} in all (setting "
            "images.max_logo_pixels)"
        )
    if min(width, height) < MIN_SIDE:
        raise ValueError(
            f"{width} by {height} pixels are too few; at least {MIN_SIDE} each way, better 300"
        )
    if max(width, height) > MAX_RATIO * min(width, height):
        raise ValueError(
            f"the picture is {width} by {height}; one side may be at most {MAX_RATIO} times the "
            "other"
        )
    try:
        with Image.open(BytesIO(bare), formats=["PNG"]) as image:
            image.load()
            _refuse_missing_colors(image)
            pixels = _usual_mode(image)
    except UnidentifiedImageError:
        raise ValueError("the file is broken: it is not what its header says") from None
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error, EOFError) as error:
        raise ValueError(f"the file is broken: {error}") from None
    if pixels.mode in ("LA", "RGBA") and pixels.getchannel("A").getbbox() is None:
        raise ValueError("the picture is transparent everywhere; nothing of it would be seen")
    # What is not in `info` is not written: no resolution, no profile, no text.
    pixels.info = {}
    file = BytesIO()
    pixels.save(file, "PNG", compress_level=9)
    return file.getvalue(), float(width), float(height)


def _bare_png(data: bytes) -> bytes:
    """The PNG without the chunks that are not needed: texts, profiles, times, animations."""
    kept = [_SIGNATURE]
    at = len(_SIGNATURE)
    names: list[bytes] = []
    while not names or names[-1] != b"IEND":
        if at + 12 > len(data):
            raise ValueError("the file is broken: it ends too early")
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise ValueError("the file is broken: it ends too early")
        if not names and (name != b"IHDR" or length != 13):
            raise ValueError("the file is broken: it does not begin with its header")
        names.append(name)
        if name == b"IHDR" and data[at + 18 : at + 21] not in _METHODS:
            raise ValueError("the file is broken: it is packed in a way that PNG does not know")
        if name == b"PLTE" and (not 0 < length <= _MAX_PALETTE or length % 3):
            raise ValueError("the file is broken: its palette has no whole colours")
        if name in _KEPT:
            kept.append(data[at:end])
        at = end
    if names.count(b"IHDR") != 1 or b"IDAT" not in names:
        raise ValueError("the file is broken: it needs one header, and pixels")
    if kept[1][_COLOR_TYPE] == _INDEXED and b"PLTE" not in names[: names.index(b"IDAT")]:
        raise ValueError("the file is broken: its pixels are numbers of colours that it lacks")
    return b"".join(kept)


def _refuse_missing_colors(image: Image.Image) -> None:
    if image.mode == "P" and image.palette is not None:
        _, highest = cast("tuple[int, int]", image.getextrema())
        if highest >= len(image.palette.palette) // 3:
            raise ValueError("a pixel has a colour that its palette lacks")


def _usual_mode(image: Image.Image) -> Image.Image:
    """The picture with 8 bits a channel, and alpha wherever anything is transparent."""
    if image.mode.startswith("I"):
        # 16 bits of grey; Pillow's own conversion would cut them off instead of scaling.
        return image.convert("I").point(lambda value: value / 257).convert("L")
    if "transparency" in image.info or image.mode == "PA":
        return image.convert("LA" if image.mode in ("1", "L") else "RGBA")
    if image.mode in ("L", "LA", "RGB", "RGBA"):
        return image.copy()
    return image.convert("L" if image.mode == "1" else "RGB")
