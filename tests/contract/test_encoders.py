from __future__ import annotations

from importlib.metadata import version

import pytest
import zxingcpp

from core.api import Encoder, ErrorCorrection, Symbol
from plugins.encoders.segno_encoder import SegnoEncoder, qz_encoders
from tests.contract.reading import raster, read


class ZxingEncoder:
    """A second encoder, so that the contract is not the habits of the first."""

    fingerprint = "zxing"

    def encode(self, content: str, error_correction: ErrorCorrection) -> Symbol:
        try:
            code = zxingcpp.create_barcode(
                content, zxingcpp.BarcodeFormat.QRCode, ec_level=error_correction.value
            )
        except ValueError as error:
            raise ValueError(f"{error}; at most 2956 codewords fit") from error
        matrix = memoryview(code.to_image(scale=1, add_quiet_zones=False))
        size = matrix.shape[0]
        return Symbol(
            version=(size - 17) // 4,
            error_correction=ErrorCorrection(code.ec_level),
            size=size,
            modules=bytes(0 if grey else 1 for grey in matrix.tobytes()),
        )


ENCODERS: list[Encoder] = [SegnoEncoder(), ZxingEncoder()]

# Bytes that a symbol of version 1, 2, 3... 40 holds at level L (ISO/IEC 18004, table 7).
BYTES_AT_L = (
    17, 32, 53, 78, 106, 134, 154, 192, 230, 271, 321, 367, 425, 458, 520, 586, 644, 718, 792, 858,
    929, 1003, 1091, 1171, 1273, 1367, 1465, 1528, 1628, 1732, 1840, 1952, 2068, 2188, 2303, 2431,
    2563, 2699, 2809, 2953,
)  # fmt: skip

CONTENTS = {
    "compact link": "HTTPS://QR.EXAMPLE/R/7KQ2VX9B",
    "link": "https://qr.example/r/Summer-Sale_2026?utm_source=print&x=%C3%BC",
    "digits": "0123456789" * 9,
    "one character": "x",
    "blanks at the ends": "  x  ",
    "lines": "BEGIN:VCARD\nFN:A. Person\nEND:VCARD\n",
    "one umlaut": "ü",
    "umlauts": "Käse & Brötchen, Größe ½, naïve café",
    "euro": "€",
    "hiragana": "あい",
    "japanese": "こんにちは、日本語のテキスト",
    "half-width katakana": "ｱｲｳ",
    "chinese": "中文测试",
    "cyrillic": "Привет",
    "arabic": "السلام عليكم",
    "emoji": "🎉",
    "joined emoji": "👩‍👩‍👧‍👦 ok",
    "long and mixed": "Zażółć gęślą jaźń 🐢 " * 20,
}


@pytest.fixture(params=ENCODERS, ids=lambda encoder: type(encoder).__name__)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return request.param


def test_the_plugin_offers_the_encoder_under_its_name() -> None:
    offered = qz_encoders()
    assert list(offered) == ["segno"]
    assert isinstance(offered["segno"], Encoder)


@pytest.mark.parametrize("level", ErrorCorrection)
@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
def test_what_is_encoded_is_what_a_reader_reads(
    encoder: Encoder, content: str, level: ErrorCorrection
) -> None:
    symbol = encoder.encode(content, level)
    barcode = read(raster(symbol))
    assert barcode.text == content
    assert barcode.ec_level == symbol.error_correction
    assert barcode.extra["Version"] == str(symbol.version)


@pytest.mark.parametrize("version_number", range(1, 41))
def test_every_version_is_reached_filled_and_read(encoder: Encoder, version_number: int) -> None:
    length = BYTES_AT_L[version_number - 1]
    content = ("quiet zone, " * 250)[:length]
    symbol = encoder.encode(content, ErrorCorrection.L)
    assert symbol.version == version_number
    assert symbol.size == 17 + 4 * version_number
    assert len(symbol.modules) == symbol.size**2
    assert set(symbol.modules) == {0, 1}
    assert read(raster(symbol)).text == content


@pytest.mark.parametrize("level", ErrorCorrection)
def test_the_level_asked_for_is_a_floor(encoder: Encoder, level: ErrorCorrection) -> None:
    order = list(ErrorCorrection)
    for length in (1, 9, 20, 33, 47):
        symbol = encoder.encode("x" * length, level)
        assert order.index(symbol.error_correction) >= order.index(level)


def test_the_same_content_gives_the_same_symbol(encoder: Encoder) -> None:
    first = encoder.encode("HTTPS://QR.EXAMPLE/R/7KQ2VX9B", ErrorCorrection.M)
    assert encoder.encode("HTTPS://QR.EXAMPLE/R/7KQ2VX9B", ErrorCorrection.M) == first


def test_empty_content_is_refused(encoder: Encoder) -> None:
    with pytest.raises(ValueError, match="empty"):
        encoder.encode("", ErrorCorrection.M)


@pytest.mark.parametrize("level", ErrorCorrection)
def test_content_that_no_symbol_holds_is_refused(encoder: Encoder, level: ErrorCorrection) -> None:
    for content in ("x" * 2954, "🎉" * 740, "1" * 7090):
        with pytest.raises(ValueError, match=r"\d"):
            encoder.encode(content, level)


def test_a_compact_link_is_a_version_smaller_than_the_same_link_in_small_letters(
    encoder: Encoder,
) -> None:
    link = "HTTPS://QR.EXAMPLE/R/7KQ2VX9B"
    assert encoder.encode(link, ErrorCorrection.M).version == 2
    assert encoder.encode(link.lower(), ErrorCorrection.M).version == 3


@pytest.mark.parametrize("content", ["Ã¼", "ÃŸ", "Â©"])
def test_segno_leaves_no_reader_guessing_the_character_set(content: str) -> None:
    # Written as Latin-1, these are read as the UTF-8 of another text.
    symbol = SegnoEncoder().encode(content, ErrorCorrection.M)
    assert read(raster(symbol)).text == content


def test_segno_raises_the_level_while_the_symbol_does_not_grow() -> None:
    symbol = SegnoEncoder().encode("HTTPS://QR.EXAMPLE/R/7KQ2VX9B", ErrorCorrection.L)
    assert (symbol.version, symbol.error_correction) == (2, ErrorCorrection.Q)


def test_segno_never_makes_a_micro_symbol() -> None:
    assert SegnoEncoder().encode("1", ErrorCorrection.L).size == 21


@pytest.mark.parametrize(
    ("character", "unit", "level", "most"),
    [
        ("7", "digits", "L", 7089),
        ("7", "digits", "M", 5596),
        ("7", "digits", "Q", 3993),
        ("7", "digits", "H", 3057),
        ("A", "capitals and digits", "L", 4296),
        ("A", "capitals and digits", "M", 3391),
        ("A", "capitals and digits", "Q", 2420),
        ("A", "capitals and digits", "H", 1852),
        ("a", "bytes", "L", 2953),
        ("a", "bytes", "M", 2331),
        ("a", "bytes", "Q", 1663),
        ("a", "bytes", "H", 1273),
        ("ü", "bytes in UTF-8", "L", 2952),
        ("ü", "bytes in UTF-8", "M", 2330),
        ("ü", "bytes in UTF-8", "Q", 1662),
        ("ü", "bytes in UTF-8", "H", 1272),
    ],
)
def test_segno_says_exactly_how_much_fits(character: str, unit: str, level: str, most: int) -> None:
    encoder = SegnoEncoder()
    width = len(character.encode())
    fitting = character * (most // width)
    symbol = encoder.encode(fitting, ErrorCorrection(level))
    assert symbol.version == 40
    assert read(raster(symbol, scale=4)).text == fitting
    with pytest.raises(ValueError, match=f"{most + width} {unit}, and at .* at most {most} fit"):
        encoder.encode(fitting + character, ErrorCorrection(level))


def test_segno_proposes_a_lower_level_only_where_there_is_one() -> None:
    with pytest.raises(ValueError, match="choose a lower level"):
        SegnoEncoder().encode("x" * 2500, ErrorCorrection.H)
    with pytest.raises(ValueError, match=r"shorten it$"):
        SegnoEncoder().encode("x" * 3000, ErrorCorrection.L)


def test_a_lone_surrogate_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="lone surrogate"):
        SegnoEncoder().encode("x\ud800", ErrorCorrection.L)


def test_the_fingerprint_tells_the_version_of_segno() -> None:
    assert SegnoEncoder().fingerprint.startswith(f"segno-{version('segno')}-")
