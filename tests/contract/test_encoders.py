from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from zxingcpp import BarcodeFormat

from core.api import Encoder, ErrorCorrection, Symbol, SymbolKind
from plugins.encoders import segno_encoder, zxing_encoder
from plugins.encoders.segno_encoder import SegnoEncoder
from plugins.encoders.zxing_encoder import ZxingEncoder
from tests.contract.reading import raster, read, read_with_zbar

SEGNO, ZXING = SegnoEncoder(), ZxingEncoder()
ENCODERS: list[Encoder] = [SEGNO, ZXING]

LEVELS = list(ErrorCorrection)
L, M, Q, H = LEVELS

LINK = "HTTPS://QR.EXAMPLE/R/7KQ2VX9B"

ALPHANUMERIC = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"

# Bytes that a symbol of version 1, 2, 3... 40 holds at level L (ISO/IEC 18004, table 7).
BYTES_AT_L = (
    17, 32, 53, 78, 106, 134, 154, 192, 230, 271, 321, 367, 425, 458, 520, 586, 644, 718, 792, 858,
    929, 1003, 1091, 1171, 1273, 1367, 1465, 1528, 1628, 1732, 1840, 1952, 2068, 2188, 2303, 2431,
    2563, 2699, 2809, 2953,
)  # fmt: skip

CONTENTS = {
    "compact link": LINK,
    "link": "https://qr.example/r/Summer-Sale_2026?utm_source=print&x=%C3%BC",
    "digits": "0123456789" * 9,
    "capitals": ALPHANUMERIC,
    "one character": "x",
    "blanks at the ends": "  x  ",
    "lines": "BEGIN:VCARD\nFN:A. Person\nEND:VCARD\n",
    "every ASCII character": "".join(map(chr, range(128))),
    "NUL": "\x00",
    "NUL between": "a\x00b\x00\x00c",
    "controls": "\x01\x02\x1b\x1d\x1e\x04\x7f",
    "escapes": r"\u00e9 \x41 \\ \n \d026 ^1 %d {GS} &amp;",
    "elements of GS1": "[01]04012345678901[10]ABC",
    "elements of GS1 in parentheses": "(01)04012345678901(10)ABC",
    "an option": "ec_level=L,eci=3",
    "one umlaut": "ü",
    "umlauts": "Käse & Brötchen, Größe ½, naïve café",
    "euro": "€",
    "controls of Latin-1": "\x80\x9f\xa0\xff",
    "hiragana": "あい",
    "japanese": "こんにちは、日本語のテキスト",
    "half-width katakana": "ｱｲｳ",
    "chinese": "中文测试",
    "cyrillic": "Привет",
    "arabic": "السلام عليكم",
    "emoji": "🎉",
    "joined emoji": "👩‍👩‍👧‍👦 ok",
    "byte order mark": "\ufeffx",
    "no characters": "\ufffe\uffff\U0010ffff",
    # Written as Latin-1, these are read as the UTF-8 of another text.
    "two that look like one": "Ã¼ ÃŸ Â©",
    "long and mixed": "Zażółć gęślą jaźń 🐢 " * 20,
}

# What version 40 holds of each mode (ISO/IEC 18004, table 7); the designator of UTF-8 is a byte.
MOST = [
    (character, unit, level, most)
    for character, unit, row in (
        ("7", "digits", (7089, 5596, 3993, 3057)),
        ("A", "capitals and digits", (4296, 3391, 2420, 1852)),
        ("a", "bytes", (2953, 2331, 1663, 1273)),
        ("\x00", "bytes", (2953, 2331, 1663, 1273)),
        ("ü", "bytes in UTF-8", (2952, 2330, 1662, 1272)),
    )
    for level, most in zip(LEVELS, row, strict=True)
]

# The same of Micro QR, whose largest is M4.
MOST_IN_MICRO = [
    (character, unit, level, most)
    for character, unit, row in (
        ("7", "digits", (35, 30, 21)),
        ("A", "capitals and digits", (21, 18, 13)),
        ("a", "bytes", (15, 13, 9)),
        ("\x00", "bytes", (15, 13, 9)),
    )
    for level, most in zip(LEVELS[:3], row, strict=True)
]

# What each version of Micro QR holds (the same table): digits, capitals and digits, bytes.
HELD_BY_MICRO = {
    (2, L): (10, 6, 0),
    (2, M): (8, 5, 0),
    (3, L): (23, 14, 9),
    (3, M): (18, 11, 7),
    (4, L): (35, 21, 15),
    (4, M): (30, 18, 13),
    (4, Q): (21, 13, 9),
}


@pytest.fixture(params=ENCODERS, ids=lambda encoder: type(encoder).__name__)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return request.param


def read_micro(symbol: Symbol) -> str:
    barcode = read(raster(symbol), BarcodeFormat.MicroQRCode)
    assert barcode.ec_level == symbol.error_correction
    assert barcode.extra["Version"] == f"M{symbol.version}"
    return barcode.text


@pytest.mark.parametrize(
    ("name", "plugin", "kinds"),
    [
        ("segno", segno_encoder, {SymbolKind.QR, SymbolKind.MICRO}),
        ("zxing", zxing_encoder, {SymbolKind.QR}),
    ],
)
def test_a_plugin_offers_its_encoder_under_its_name(
    name: str, plugin: object, kinds: set[SymbolKind]
) -> None:
    offered = plugin.qz_encoders()
    assert list(offered) == [name]
    assert isinstance(offered[name], Encoder)
    assert offered[name].kinds == kinds


@pytest.mark.parametrize("boost", [True, False], ids=["boosted", "as asked"])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
def test_what_is_encoded_is_what_a_reader_reads(
    encoder: Encoder, content: str, level: ErrorCorrection, boost: bool
) -> None:
    symbol = encoder.encode(content, level, boost=boost)
    assert symbol.kind is SymbolKind.QR
    barcode = read(raster(symbol))
    assert barcode.text == content
    assert barcode.bytes == content.encode()
    assert barcode.ec_level == symbol.error_correction
    assert barcode.extra["Version"] == str(symbol.version)


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
def test_another_reader_reads_the_same(encoder: Encoder, content: str, tmp_path: Path) -> None:
    pixels = raster(encoder.encode(content, M))
    path = tmp_path / "symbol.png"
    Image.frombytes("L", pixels.shape, pixels.tobytes()).save(path)
    assert read_with_zbar(path) == content


@pytest.mark.parametrize("version_number", range(1, 41))
def test_every_version_is_reached_filled_and_read(encoder: Encoder, version_number: int) -> None:
    length = BYTES_AT_L[version_number - 1]
    content = ("quiet zone, " * 250)[:length]
    symbol = encoder.encode(content, L)
    assert symbol.version == version_number
    assert symbol.size == 17 + 4 * version_number
    assert len(symbol.modules) == symbol.size**2
    assert set(symbol.modules) == {0, 1}
    assert read(raster(symbol)).text == content


@pytest.mark.parametrize("level", LEVELS)
def test_the_level_asked_for_is_a_floor_and_without_boost_the_level(
    encoder: Encoder, level: ErrorCorrection
) -> None:
    for content in ("x" * 9, "x" * 20, "x" * 33, "x" * 47, LINK, "x" * 20 + "7" * 20):
        boosted = encoder.encode(content, level)
        plain = encoder.encode(content, level, boost=False)
        assert plain.error_correction is level
        assert LEVELS.index(boosted.error_correction) >= LEVELS.index(level)
        assert boosted.version == plain.version


def test_the_level_is_raised_while_the_symbol_does_not_grow(encoder: Encoder) -> None:
    symbol = encoder.encode(LINK, L)
    assert (symbol.version, symbol.error_correction) == (2, Q)
    # The level above needs a larger one.
    assert encoder.encode(LINK, H).version == 3


TEXT = st.one_of(
    st.text(min_size=1, max_size=300),
    st.text("0123456789", min_size=1, max_size=300),
    st.text(ALPHANUMERIC, min_size=1, max_size=300),
    st.text(st.characters(max_codepoint=127), min_size=1, max_size=300),
    st.lists(
        st.one_of(
            st.text("0123456789", min_size=1, max_size=12),
            st.text("ABCDEFGHIJKLM$%/:", min_size=1, max_size=12),
            st.text("abcdefghijklm#?&ü", min_size=1, max_size=12),
        ),
        min_size=1,
        max_size=8,
    ).map("".join),
)


@settings(max_examples=300, deadline=None)
@given(content=TEXT, level=st.sampled_from(LEVELS), boost=st.booleans())
def test_zxing_makes_the_symbol_that_segno_makes_or_a_better_one(
    content: str, level: ErrorCorrection, boost: bool
) -> None:
    segnos = SEGNO.encode(content, level, boost=boost)
    ours = ZXING.encode(content, level, boost=boost)
    assert ours.version <= segnos.version
    if ours.version == segnos.version:
        assert LEVELS.index(ours.error_correction) >= LEVELS.index(segnos.error_correction)
    assert read(raster(ours)).bytes == content.encode()


@settings(max_examples=300, deadline=None)
@given(content=TEXT, level=st.sampled_from(LEVELS))
def test_zxings_level_is_the_highest_of_the_smallest_symbol(
    content: str, level: ErrorCorrection
) -> None:
    boosted = ZXING.encode(content, level)
    assert boosted.version == ZXING.encode(content, level, boost=False).version
    for higher in LEVELS[LEVELS.index(boosted.error_correction) + 1 :]:
        assert ZXING.encode(content, higher, boost=False).version > boosted.version


@settings(max_examples=120, deadline=None)
@given(
    unit=st.sampled_from(["7", "A", "a", "\x00", "é", "🎉"]),
    length=st.integers(1, 1200),
    level=st.sampled_from(LEVELS),
    boost=st.booleans(),
)
def test_content_all_in_one_mode_gets_the_same_version_and_level_from_both(
    unit: str, length: int, level: ErrorCorrection, boost: bool
) -> None:
    content = unit * (length // len(unit.encode()) + 1)
    segnos, ours = (encoder.encode(content, level, boost=boost) for encoder in (SEGNO, ZXING))
    assert (ours.version, ours.error_correction) == (segnos.version, segnos.error_correction)


def test_zxing_splits_content_where_that_makes_a_smaller_symbol() -> None:
    content = "https://qr.example/r/" + "0123456789" * 3
    symbols = [encoder.encode(content, M) for encoder in ENCODERS]
    assert [symbol.version for symbol in symbols] == [4, 3]
    assert read(raster(symbols[1])).text == content


def test_the_same_content_gives_the_same_symbol(encoder: Encoder) -> None:
    first = encoder.encode(LINK, M)
    assert encoder.encode(LINK, M) == first


@pytest.mark.parametrize(("character", "unit", "level", "most"), MOST)
def test_an_encoder_says_exactly_how_much_fits(
    encoder: Encoder, character: str, unit: str, level: ErrorCorrection, most: int
) -> None:
    width = len(character.encode())
    fitting = character * (most // width)
    symbol = encoder.encode(fitting, level)
    assert symbol.version == 40
    assert read(raster(symbol, scale=4)).text == fitting
    with pytest.raises(ValueError, match=f"{most + width} {unit}, and at .* at most {most} fit; "):
        encoder.encode(fitting + character, level)


REFUSED = {
    "empty": "",
    "lone surrogate": "x\ud800",
    "two lone surrogates": "\udfff\ud800",
    "too many bytes": "x" * 2954,
    "too many emoji": "🎉" * 740,
    "too many digits": "1" * 7090,
    "far too much": "x" * 100_000,
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("content", REFUSED.values(), ids=REFUSED.keys())
def test_all_encoders_refuse_the_same_in_the_same_words(
    content: str, level: ErrorCorrection
) -> None:
    messages = []
    for encoder in ENCODERS:
        with pytest.raises(ValueError) as caught:
            encoder.encode(content, level)
        messages.append(str(caught.value))
    assert len(set(messages)) == 1
    assert ("; " in messages[0]) or ("empty" in messages[0])


def test_empty_content_is_refused(encoder: Encoder) -> None:
    with pytest.raises(ValueError, match="empty"):
        encoder.encode("", M)


def test_a_lone_surrogate_is_refused_in_words(encoder: Encoder) -> None:
    with pytest.raises(ValueError, match="lone surrogate"):
        encoder.encode("x\ud800", L)


def test_a_lower_level_is_proposed_only_where_there_is_one(encoder: Encoder) -> None:
    with pytest.raises(ValueError, match="choose a lower level"):
        encoder.encode("x" * 2500, H)
    with pytest.raises(ValueError, match=r"shorten it$"):
        encoder.encode("x" * 3000, L)


def test_a_compact_link_is_a_version_smaller_than_the_same_link_in_small_letters(
    encoder: Encoder,
) -> None:
    assert encoder.encode(LINK, M).version == 2
    assert encoder.encode(LINK.lower(), M).version == 3


def test_a_micro_symbol_is_made_only_where_it_is_asked_for(encoder: Encoder) -> None:
    assert encoder.encode("1", L).size == 21


def test_zxing_makes_no_micro_symbols() -> None:
    with pytest.raises(ValueError, match="symbol=qr"):
        ZXING.encode("1", L, SymbolKind.MICRO)


@pytest.mark.parametrize(("version_number", "level"), HELD_BY_MICRO)
@pytest.mark.parametrize("column", range(3), ids=["digits", "capitals", "bytes"])
def test_the_smallest_micro_symbol_is_made_filled_and_read(
    version_number: int, level: ErrorCorrection, column: int
) -> None:
    most = HELD_BY_MICRO[version_number, level][column]
    if most == 0:
        smallest = SEGNO.encode("a", level, SymbolKind.MICRO)
        assert smallest.version == version_number + 1
        return
    content = ("0123456789" * 4, "QUIET ZONE:" * 4, "quiet zone #" * 4)[column][:most]
    symbol = SEGNO.encode(content, level, SymbolKind.MICRO, boost=False)
    assert symbol.kind is SymbolKind.MICRO
    assert (symbol.version, symbol.error_correction) == (version_number, level)
    assert symbol.size == 9 + 2 * version_number
    assert len(symbol.modules) == symbol.size**2
    assert set(symbol.modules) == {0, 1}
    assert read_micro(symbol) == content


@pytest.mark.parametrize("level", LEVELS[:3])
@pytest.mark.parametrize("content", ["7", "12345", "A", "a", "QUIET ZONE", "\x00\x1b\x7f", "a\nb"])
def test_a_micro_symbol_has_the_level_asked_for_or_a_better_one(
    content: str, level: ErrorCorrection
) -> None:
    boosted = SEGNO.encode(content, level, SymbolKind.MICRO)
    plain = SEGNO.encode(content, level, SymbolKind.MICRO, boost=False)
    assert plain.error_correction is level
    assert LEVELS.index(boosted.error_correction) >= LEVELS.index(level)
    assert boosted.version == plain.version >= 2
    assert read_micro(boosted) == read_micro(plain) == content


@pytest.mark.parametrize(("character", "unit", "level", "most"), MOST_IN_MICRO)
def test_what_no_micro_symbol_holds_is_refused_with_what_does(
    character: str, unit: str, level: ErrorCorrection, most: int
) -> None:
    symbol = SEGNO.encode(character * most, level, SymbolKind.MICRO)
    assert symbol.version == 4
    assert read_micro(symbol) == character * most
    message = rf"{most + 1} {unit}, and at error correction {level} at most {most} fit .*symbol=qr"
    with pytest.raises(ValueError, match=message):
        SEGNO.encode(character * (most + 1), level, SymbolKind.MICRO)


def test_level_h_in_micro_is_refused_with_the_ways_out() -> None:
    with pytest.raises(ValueError, match="error correction H; choose Q or lower, or symbol=qr"):
        SEGNO.encode("1", H, SymbolKind.MICRO)


@pytest.mark.parametrize(
    ("content", "level", "way_out"),
    [
        ("1" * 36, L, "choose symbol=qr, or shorten it"),
        ("1" * 36, M, "choose symbol=qr, or shorten it"),
        ("1" * 35, M, "choose symbol=qr, or choose a lower level: L holds 35, or shorten it"),
        ("1" * 35, H, "choose L or lower, or symbol=qr"),
        ("1" * 30, H, "choose M or lower, or symbol=qr"),
        ("1" * 36, H, "choose symbol=qr"),
    ],
)
def test_a_lower_level_is_advised_only_where_it_holds_the_content(
    content: str, level: ErrorCorrection, way_out: str
) -> None:
    with pytest.raises(ValueError, match=f"; {way_out}$"):
        SEGNO.encode(content, level, SymbolKind.MICRO)


@pytest.mark.parametrize("content", ["ü", "Ã¼", "€", "あ", "🎉", "\x80"])
def test_micro_symbols_leave_no_reader_guessing_the_character_set(content: str) -> None:
    with pytest.raises(ValueError, match=r"ASCII.* symbol=qr"):
        SEGNO.encode(content, L, SymbolKind.MICRO)


@pytest.mark.parametrize("content", ["", "x\ud800"])
def test_micro_symbols_refuse_what_is_no_text_in_the_words_for_all(content: str) -> None:
    messages = []
    for kind in SymbolKind:
        with pytest.raises(ValueError) as caught:
            SEGNO.encode(content, L, kind)
        messages.append(str(caught.value))
    assert len(set(messages)) == 1


@pytest.mark.parametrize(("encoder_", "driver"), [(SEGNO, "segno"), (ZXING, "zxing-cpp")])
def test_the_fingerprint_tells_the_version_of_the_library(encoder_: Encoder, driver: str) -> None:
    assert f"-{version(driver)}-" in encoder_.fingerprint
    assert encoder_.fingerprint.startswith(driver.removesuffix("-cpp"))
