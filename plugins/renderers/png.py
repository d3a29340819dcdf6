"""The renderer `png`: flat looks at one bit a pixel, shapes at one byte, logos in full colour.

PERF: what stands here was measured with 29 modules (version 3), black on white, on a two-core
machine; milliseconds are the best of some hundred rounds.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache

from core.api import TRANSPARENT, Drawing, Layout, Renderer, Symbol, hookimpl
from plugins.renderers import tiles
from plugins.renderers.raster import blends, paint

REVISION = 4
"""Grows whenever the code below comes to write other bytes for the same drawing."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">IIBBBBB")
_LENGTH = struct.Struct(">I")

# Kinds of pixels (PNG specification, section 6.1): entries of a palette, or colours themselves.
_PALETTE, _RGB, _RGBA = 3, 2, 6
_BIT, _BYTE = 1, 8

_DIGITS = bytes.maketrans(b"\x00\x01", b"01")

# The filter type of a row that is given as the difference from the row above it (PNG
# specification, section 9.2); 0 is that of a row as it is.
_UP = b"\x02"

_SMALL = 512
"""Up to so many pixels few bytes matter most, because caches hold these; beyond it time."""

_BANDED = 24
"""The scale from which on a row of modules is compressed as a band of its own."""

_ADLER = 65521
"""The modulus of the checksum Adler-32 (RFC 1950, section 8.2)."""


def _chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk (PNG specification, section 5.3)."""
    return b"".join(
        (_LENGTH.pack(len(data)), kind, data, _LENGTH.pack(zlib.crc32(data, zlib.crc32(kind))))
    )


_END = _chunk(b"IEND", b"")


class PngRenderer:
    """Writes PNG files (ISO/IEC 15948); the same input gives the same bytes with the same zlib."""

    media_type = "image/png"
    extension = "png"

    def __init__(self) -> None:
        self.fingerprint = f"png-{REVISION}-zlib-{zlib.ZLIB_RUNTIME_VERSION}-{tiles.FINGERPRINT}"

    def render(self, drawing: Drawing) -> bytes:
        """The image; with a flat look, palette index 0 is the background and 1 the modules.

        Raises ValueError for a caption with letters that the font does not have.
        """
        look, size = drawing.look, drawing.layout.size
        density = b"" if drawing.width_mm is None else _density(size, drawing.width_mm)
        if look.flat:
            header = _header(size, _BIT, _PALETTE)
            palette = _palette(look.color, look.background)
            pixels = _pixels(drawing.symbol, drawing.layout)
        elif drawing.logo is None:
            image = tiles.coverage(drawing)
            # As few colours as there are: smoothed edges have some thirty.
            used = bytes(level for level, pixels in enumerate(image.histogram()) if pixels)
            header = _header(size, _BYTE, _PALETTE)
            palette = _shades(look.color, look.background, used)
            indices = bytes.maketrans(used, bytes(range(len(used))))
            pixels = _packed(image.tobytes().translate(indices), size)
        else:
            image = paint(drawing)
            header = _header(size, _BYTE, _RGBA if image.mode == "RGBA" else _RGB)
            palette = b""
            pixels = _packed(image.tobytes(), size)
        parts = (_SIGNATURE, header, palette, density, _chunk(b"IDAT", pixels), _END)
        return b"".join(parts)


@lru_cache(maxsize=64)
def _header(size: int, depth: int, kind: int) -> bytes:
    return _chunk(b"IHDR", _HEADER.pack(size, size, depth, kind, 0, 0, 0))


@lru_cache(maxsize=256)
def _palette(color: str, background: str) -> bytes:
    """The two colours; a transparent background is white to those who ignore transparency."""
    transparent = background == TRANSPARENT
    behind = b"\xff\xff\xff" if transparent else bytes.fromhex(background[1:])
    palette = _chunk(b"PLTE", behind + bytes.fromhex(color[1:]))
    return palette + _chunk(b"tRNS", b"\x00") if transparent else palette


@lru_cache(maxsize=64)
def _shades(color: str, background: str, levels: bytes) -> bytes:
    """The palette of pixels that are covered to these parts of 255."""
    if background == TRANSPARENT:
        colors = bytes.fromhex(color[1:]) * len(levels)
        return _chunk(b"PLTE", colors) + _chunk(b"tRNS", levels)
    every = blends(color, background)
    return _chunk(b"PLTE", b"".join(every[3 * level : 3 * level + 3] for level in levels))


def _packed(data: bytes, size: int) -> bytes:
    """The content of IDAT: rows of whole bytes, none of them filtered, as a zlib stream."""
    rows = _slices(len(data) // size, size).unpack(data)
    compressor = zlib.compressobj(3)
    return compressor.compress(b"\x00" + b"\x00".join(rows)) + compressor.flush()


def _density(size: int, width_mm: float) -> bytes:
    """How many pixels a metre has, in both directions."""
    per_metre = round(size / width_mm * 1000)
    return _chunk(b"pHYs", struct.pack(">IIB", per_metre, per_metre, 1))


def _pixels(symbol: Symbol, layout: Layout) -> bytes:
    """The content of IDAT: the rows of pixels, each behind its filter type, as a zlib stream."""
    size, scale = layout.size, layout.scale
    stride = 1 + (size + 7) // 8
    rows, blank = _expand(symbol, layout, stride), bytes(stride)
    below = size - layout.top - scale * symbol.size
    if scale >= _BANDED:
        bands = [(row, scale) for row in rows]
        return _banded([(blank, layout.top), *bands, (blank, below)])
    # PERF: in a small image equal rows stand in full, which zlib has as copies: 400 bytes and
    # 0.04 ms at 300 pixels. As zeros, by the filter "up", they would take 475 bytes and 0.02 ms;
    # but caches hold these images. Larger ones, which take longer, have zeros: version 40 at 2000
    # pixels 15,600 bytes in 1.7 ms, and not 12,000 in 3.1.
    if size <= _SMALL:
        parts = [row * scale for row in rows]
        compressor = zlib.compressobj(4, zlib.DEFLATED, 13, 5)
    else:
        same = (_UP + blank[1:]) * (scale - 1)
        parts = [row + same for row in rows]
        compressor = zlib.compressobj(3)
    data = b"".join((blank * layout.top, *parts, blank * below))
    return compressor.compress(data) + compressor.flush()


def _expand(symbol: Symbol, layout: Layout, stride: int) -> Sequence[bytes]:
    """One row of pixels for each row of modules: `stride` bytes, the filter type, a bit a pixel.

    PERF: eight modules become `scale` bytes by one look-up, and all rows together are shifted to
    where the layout has them, as one number: 0.02 ms whatever the size, where a number for each row
    took 0.04 ms at 300 pixels and 0.12 ms at 2000.
    """
    size, scale = symbol.size, layout.scale
    octets = (size + 7) // 8
    filler = bytes(8 * octets - size)
    digits = filler.join(_slices(size, size).unpack(symbol.modules)) + filler
    packed = int(digits.translate(_DIGITS), 2).to_bytes(octets * size, "big")
    wide = [*map(_octets(scale).__getitem__, packed)]
    # The filter type 0, light modules and what fills the last octet are all zeros: the last octet
    # is cut off behind its modules, and what is then lacking in a row is filled up.
    last = (size % 8 * scale + 7) // 8 or scale
    wide[octets - 1 :: octets] = [octet[:last] for octet in wide[octets - 1 :: octets]]
    parts = [bytes(stride - (octets - 1) * scale - last)] * ((octets + 1) * size)
    for octet in range(octets):
        parts[octet :: octets + 1] = wide[octet::octets]
    whole = b"".join(parts)
    placed = int.from_bytes(whole, "big") >> (8 + layout.left)
    whole = placed.to_bytes(len(whole), "big")
    return _slices(stride, size).unpack(whole)


@lru_cache(maxsize=256)
def _slices(length: int, count: int) -> struct.Struct:
    """PERF: cuts bytes into rows four times as fast as slices in a loop do."""
    return struct.Struct(f"{length}s" * count)


@lru_cache(maxsize=64)
def _octets(scale: int) -> Sequence[bytes]:
    """What eight modules in a row, the bits of the index, look like in pixels.

    PERF: 0.2 ms and 25,000 bytes for each scale, once in a process.
    """
    digits = "".join([f"{octet:08b}" for octet in range(256)])
    wide = "".join([digit * scale for digit in digits])
    pixels = int(wide, 2).to_bytes(256 * scale, "big")
    return [pixels[at : at + scale] for at in range(0, len(pixels), scale)]


def _banded(bands: Sequence[tuple[bytes, int]]) -> bytes:
    """A zlib stream of rows, each given with how many times it follows upon itself.

    PERF: at 2000 pixels zlib would have to look at 500,000 bytes to find what is known: that a row
    is the same as the one above it. Here it sees each different row once, by itself; the block that
    repeats it is always the same one, and the checksum is worked out: 0.25 ms for 4,000 bytes,
    where zlib alone takes 0.7 ms for 6,000 at level 1.
    """
    compressor = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS, 1)
    parts = [_ZLIB_HEADER]
    a, b = 1, 0
    for row, count in bands:
        if count == 0:
            continue
        # A full flush ends a block at a whole byte and makes zlib forget what it saw. It must: with
        # the repetitions in between, nothing of that is still as far back as zlib believes.
        again = _repetition(len(row), count - 1)
        parts.append(compressor.compress(row * count if again is None else row))
        parts.append(compressor.flush(zlib.Z_FULL_FLUSH))
        if again is not None:
            parts.append(again)
        # Adler-32 of a row that is appended `count` times, from the row's own sums.
        sums = zlib.adler32(row, 0)
        low, high, length = sums & 0xFFFF, sums >> 16, len(row)
        b += count * (length * a + high) + length * low * (count * (count - 1) // 2)
        a += count * low
    parts += (compressor.flush(), _LENGTH.pack((b % _ADLER) << 16 | a % _ADLER))
    return b"".join(parts)


_ZLIB_HEADER = b"\x78\x01"
"""Deflate with a window of 32,768 bytes, compressed fast (RFC 1950, section 2.2)."""


@lru_cache(maxsize=1024)
def _repetition(length: int, count: int) -> bytes | None:
    """Deflate blocks, whole bytes in all, that say the last `length` bytes `count` times again.

    zlib makes them: of noise, in which nothing repeats but the whole. None where they hold for that
    noise alone, because some byte of it stands there as it is.
    """
    if count == 0:
        return b""
    noise = hashlib.shake_128(b"a row").digest(length)
    data = noise * count
    # zlib's longest match has 258 bytes, its shortest 3: what would be left over goes with the
    # block's last ten bytes into a block of its own.
    end = len(data) - 10 if len(data) % 258 in (1, 2) else len(data)
    # NOTE: one byte goes before the noise, because zlib never finds the first one of a dictionary.
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=b"\x00" + noise)
    blocks = b"".join(
        compressor.compress(part) + compressor.flush(zlib.Z_SYNC_FLUSH)
        for part in (data[:end], data[end:])
        if part
    )
    other = hashlib.shake_128(b"another row").digest(length)
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS, zdict=other)
    return blocks if decompressor.decompress(blocks) == other * count else None


@hookimpl
def qz_renderers() -> Mapping[str, Renderer]:
    """Offer the format `png`."""
    return {"png": PngRenderer()}
