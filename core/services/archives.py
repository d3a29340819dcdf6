"""Archives: the images of all of an organisation's codes in one ZIP file.

It never exists as a whole: a few images at a time are drawn, packed and handed on.
"""

from __future__ import annotations

import csv
import io
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import chain, islice
from uuid import UUID

from core.domain.codes import Code
from core.domain.images import ImageOptions
from core.errors import InvalidFields
from core.services.codes import CodeService
from core.services.images import ImageService, Plan
from core.services.scannability import Alike
from core.services.spreadsheets import cell
from core.services.styles import Looks, Styles
from core.settings import CodesSettings

CATALOGUE = "codes.csv"
"""The file of an archive that tells which image belongs to which code, and why one is missing."""

_COLUMNS = ("file", "slug", "title", "short_url", "destination", "tags", "problem")

# Images that one trip to another thread draws: few, so that other requests get their turn.
_BATCH = 16

# What of the catalogue is held in memory; the rest goes to a temporary file.
_CATALOGUE_BYTES = 1_048_576

# Packed by themselves; anything else is worth deflating.
_PACKED = frozenset({"image/png", "image/webp", "image/jpeg"})

# Names that Windows keeps for devices, whatever their ending.
_DEVICES = frozenset(
    ["CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))]
)

_Drawn = tuple[Code, bytes | InvalidFields]


class Archives:
    """Archives of codes; every method names the organisation that it is for."""

    def __init__(
        self,
        codes: CodeService,
        images: ImageService,
        styles: Styles,
        settings: CodesSettings,
        clock: Callable[[], datetime],
    ) -> None:
        self._codes = codes
        self._images = images
        self._styles = styles
        self._settings = settings
        self._clock = clock
        self._drawing = threading.Lock()

    def stream(
        self, organization_id: UUID, options: ImageOptions, tag: str | None
    ) -> Iterator[bytes]:
        """The archive of all codes, or of those with `tag`, piece by piece.

        Each image is named by its code's slug; `codes.csv` comes last. A code whose image cannot be
        drawn has the reason there. Raises InvalidFields, before the first piece, for options that
        are not offered or work for none of the first codes, and for more codes than the settings
        allow.
        """
        self._images.check(options)
        looks = self._styles.looks(organization_id, options, options.style)
        self._codes.check_number(organization_id, tag, self._settings.max_archive, "max_archive")
        batches = self._batches(organization_id, options, tag, looks)
        first = next(batches, [])
        refusals = [picture for _, picture in first if isinstance(picture, InvalidFields)]
        if refusals and len(refusals) == len(first):
            raise refusals[0]
        return self._packed(chain([first], batches), options)

    def _batches(
        self, organization_id: UUID, options: ImageOptions, tag: str | None, looks: Looks
    ) -> Iterator[list[_Drawn]]:
        codes = self._codes.walk(organization_id, tag)
        alike: Alike = set()
        while batch := list(islice(codes, _BATCH)):
            yield self._drawn(batch, options, looks, alike)

    def _drawn(
        self, codes: list[Code], options: ImageOptions, looks: Looks, alike: Alike
    ) -> list[_Drawn]:
        planned: list[Plan | InvalidFields] = []
        for code in codes:
            try:
                link = self._codes.short_url(code)
                planned.append(self._images.plan_code(link, options, *looks(code.style)))
            except InvalidFields as error:
                planned.append(error)
        # Archives take turns, so that they never take all threads from the images that people see.
        with self._drawing:
            pictures = self._images.pictures(planned, alike)
        return list(zip(codes, pictures, strict=True))

    def _packed(self, batches: Iterator[list[_Drawn]], options: ImageOptions) -> Iterator[bytes]:
        extension = self._images.extension(options.format)
        stored = self._images.media_type(options.format) in _PACKED
        method = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
        window = _Window()
        with (
            zipfile.ZipFile(window, "w") as archive,
            tempfile.SpooledTemporaryFile(_CATALOGUE_BYTES) as lines,
            # A byte order mark, because spreadsheets take a file without one for Latin-1.
            io.TextIOWrapper(lines, encoding="utf-8-sig", newline="") as catalogue,
        ):
            rows = csv.writer(catalogue)
            rows.writerow(_COLUMNS)
            for batch in batches:
                for code, picture in batch:
                    name = problem = ""
                    if isinstance(picture, InvalidFields):
                        problem = str(picture)
                    else:
                        name = f"{file_stem(code.slug)}.{extension}"
                        archive.writestr(_entry(name, code.updated_at, method), picture)
                    rows.writerow(self._row(code, name, problem))
                yield window.take()
            entry = _entry(CATALOGUE, self._clock(), zipfile.ZIP_DEFLATED)
            catalogue.flush()
            lines.seek(0)
            with archive.open(entry, "w") as packed:
                shutil.copyfileobj(lines, packed)
            archive.close()
            yield window.take()

    def _row(self, code: Code, name: str, problem: str) -> list[str]:
        """A code's line of the catalogue."""
        link, tags = self._codes.short_url(code), ", ".join(code.tags)
        values = (name, code.slug, code.title, link, code.destination, tags, problem)
        return [cell(value) for value in values]


class _Window(io.RawIOBase):
    """A file of which only the end is kept: what was taken is gone.

    The packer goes back to the head of a file to write its size and checksum, and to nothing that
    lies before it.
    """

    def __init__(self) -> None:
        self._taken = 0
        self._kept = io.BytesIO()

    def take(self) -> bytes:
        """What was written since the last time."""
        data = self._kept.getvalue()
        self._taken += len(data)
        self._kept = io.BytesIO()
        return data

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._taken + self._kept.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET:
            raise io.UnsupportedOperation("only from the beginning")
        return self._taken + self._kept.seek(offset - self._taken)

    def write(self, data: bytes) -> int:  # type: ignore[override]
        return self._kept.write(data)


def file_stem(slug: str) -> str:
    """The name of a code's file, without its ending; no two codes have the same one.

    A tilde, which no slug has, keeps names apart from devices and from options of commands.
    """
    if slug.startswith("-"):
        return f"~{slug}"
    return f"{slug}~" if slug.upper() in _DEVICES else slug


def _entry(name: str, moment: datetime, method: int) -> zipfile.ZipInfo:
    """The head of a file in the archive; its time is written in UTC."""
    # ZIP knows no years before 1980.
    time = max(moment.timetuple()[:6], (1980, 1, 1, 0, 0, 0))
    entry = zipfile.ZipInfo(name, time)
    entry.compress_type = method
    entry.external_attr = 0o644 << 16
    return entry
