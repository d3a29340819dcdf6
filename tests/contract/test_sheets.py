from __future__ import annotations

from collections.abc import Iterable, Iterator

import pypdfium2
import pytest
import zxingcpp
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from PIL import Image, ImageChops

from core.api import (
    Drawing,
    ErrorCorrection,
    Label,
    LabelText,
    LogoType,
    Look,
    ModuleShape,
    Sheet,
    SheetPrinter,
    lay_out,
)
from core.domain.sheets import PRESETS, SheetOptions, sheet_of
from plugins.encoders.segno_encoder import SegnoEncoder
from plugins.renderers import pdf
from tests.contract.test_looks import make_drawing, make_logo
from tests.contract.viewing import pages

DPI = 300
PIXELS_PER_MM = DPI / 25.4
MARGIN = 4

PRINTER = pdf.PdfSheets()


def link(number: int) -> str:
    return f"HTTPS://QR.EXAMPLE/R/{number:04}"


def draw(number: int, look: Look | None = None) -> Drawing:
    symbol = SegnoEncoder().encode(link(number), ErrorCorrection.M)
    layout = lay_out(symbol, 12 * (symbol.size + 2 * MARGIN), MARGIN)
    return Drawing(symbol, layout, look or Look())


def make_labels(count: int, text: str = "") -> Iterator[Label]:
    return (Label(draw(number), text) for number in range(count))


def box(sheet: Sheet, number: int) -> tuple[int, int, int, int]:
    """Where a label lies on its page, in pixels."""
    _, left, top = sheet.place(number)
    edges = (left, top, left + sheet.label_width_mm, top + sheet.label_height_mm)
    x, y, right, bottom = (round(edge * PIXELS_PER_MM) for edge in edges)
    return x, y, right, bottom


def ink(image: Image.Image) -> tuple[int, int, int, int] | None:
    return image.convert("L").point(lambda value: 255 if value < 200 else 0).getbbox()


def codes(page: Image.Image) -> dict[str, tuple[float, float, float, float]]:
    """The left, top, right and bottom of each code, in millimetres of the page, by its text."""
    found = {}
    for code in zxingcpp.read_barcodes(page, formats=zxingcpp.BarcodeFormat.QRCode):
        corners = code.position
        xs = [corners.top_left.x, corners.bottom_left.x, corners.top_right.x]
        ys = [corners.top_left.y, corners.bottom_left.y, corners.top_right.y]
        edges = (min(xs), min(ys), max(xs), max(ys))
        found[code.text] = tuple(edge / PIXELS_PER_MM for edge in edges)
    return found


def check_places(sheet: Sheet, printed: list[Image.Image], count: int) -> None:
    """Hold every code of a document against the place that its label has."""
    found = [codes(page) for page in printed]
    assert sum(map(len, found)) == count
    size = draw(0).symbol.size
    module = sheet.code_mm / (size + 2 * MARGIN)
    for number in range(count):
        page, label_left, label_top = sheet.place(number)
        left, top, right, bottom = found[page][link(number)]
        assert right - left == pytest.approx(module * size, abs=0.4)
        assert bottom - top == pytest.approx(module * size, abs=0.4)
        code_left, code_top = left - MARGIN * module, top - MARGIN * module
        if sheet.beside:
            assert code_left == pytest.approx(label_left + sheet.padding_mm, abs=0.3)
        else:
            middle = label_left + sheet.label_width_mm / 2
            assert code_left + sheet.code_mm / 2 == pytest.approx(middle, abs=0.3)
        if sheet.beside or sheet.caption is LabelText.NONE:
            middle = label_top + sheet.label_height_mm / 2
            assert code_top + sheet.code_mm / 2 == pytest.approx(middle, abs=0.3)
        else:
            assert code_top >= label_top + sheet.padding_mm - 0.3
            end = label_top + sheet.label_height_mm - sheet.padding_mm - sheet.line_mm
            assert code_top + sheet.code_mm <= end + 0.3


def test_the_plugin_offers_a_printer_under_the_name_of_its_format() -> None:
    printers = pdf.qz_sheets()
    assert {name: printer.media_type for name, printer in printers.items()} == {
        "pdf": "application/pdf"
    }
    assert isinstance(printers["pdf"], SheetPrinter)
    assert printers["pdf"].extension == "pdf"


@pytest.mark.parametrize(
    ("name", "caption"),
    [
        *((name, LabelText.TITLE) for name in PRESETS),
        *((name, LabelText.NONE) for name in ("L7160", "L7164", "5164", "22805")),
    ],
)
def test_every_label_is_where_the_preset_says(name: str, caption: LabelText) -> None:
    sheet = sheet_of(SheetOptions(preset=name, caption=caption))
    count = sheet.rows * sheet.columns
    (page,) = printed = pages(PRINTER.print(sheet, make_labels(count, "Table 12")), DPI)
    width, height = page.size
    assert width / PIXELS_PER_MM == pytest.approx(sheet.page_width_mm, abs=0.1)
    assert height / PIXELS_PER_MM == pytest.approx(sheet.page_height_mm, abs=0.1)
    check_places(sheet, printed, count)


@pytest.mark.parametrize(
    "options",
    [
        SheetOptions(page="100x150", rows=2, columns=2, gap_x_mm=3, outline=True),
        SheetOptions(page="62x100", rows=3, columns=1, caption=LabelText.SLUG),
        SheetOptions(page="a5", rows=2, columns=4, caption=LabelText.TITLE, skip=5),
    ],
)
def test_grids_of_ones_own_are_printed_on_as_many_pages_as_they_need(
    options: SheetOptions,
) -> None:
    sheet = sheet_of(options)
    on_page = sheet.rows * sheet.columns
    printed = pages(PRINTER.print(sheet, make_labels(on_page + 2, "Table 12")), DPI)
    assert len(printed) == 2 + (sheet.skip + 2 > on_page)
    check_places(sheet, printed, on_page + 2)


@pytest.mark.parametrize(
    ("count", "skip", "expected"), [(0, 0, 1), (1, 0, 1), (21, 0, 1), (22, 0, 2), (21, 1, 2)]
)
def test_a_document_has_as_many_pages_as_it_needs(count: int, skip: int, expected: int) -> None:
    sheet = sheet_of(SheetOptions(preset="L7160", skip=skip))
    with pypdfium2.PdfDocument(PRINTER.print(sheet, make_labels(count))) as document:
        assert len(document) == expected
        for page in document:
            width, height = (side / 72 * 25.4 for side in page.get_size())
            assert width == pytest.approx(210, abs=0.01)
            assert height == pytest.approx(297, abs=0.01)


def test_a_sheet_without_labels_is_an_empty_page() -> None:
    (page,) = pages(PRINTER.print(sheet_of(SheetOptions(outline=True)), []), 72)
    assert ink(page) is None


def test_labels_that_are_used_stay_free() -> None:
    sheet = sheet_of(SheetOptions(preset="5160", skip=4, outline=True))
    (page,) = pages(PRINTER.print(sheet, make_labels(1)), DPI)
    found = ink(page)
    assert found is not None
    assert found == tuple(pytest.approx(edge, abs=2) for edge in box(sheet, 0))


@pytest.mark.parametrize("name", ["5160", "22805", "L7164"])
def test_a_text_stands_on_its_label_and_off_its_code(name: str) -> None:
    sheet = sheet_of(SheetOptions(preset=name, caption=LabelText.TITLE))
    bare, lettered = (
        pages(PRINTER.print(sheet, make_labels(2, text)), DPI)[0] for text in ("", "Table 12")
    )
    for number in range(2):
        area = box(sheet, number)
        code, both = ink(bare.crop(area)), ink(lettered.crop(area))
        assert code is not None
        assert both is not None
        # The code has not moved; the text lies beyond its quiet zone, and within the padding.
        assert both[:2] == code[:2]
        padding = round(sheet.padding_mm * PIXELS_PER_MM) - 1
        if sheet.beside:
            text = ink(lettered.crop((area[0] + code[2] + 1, *area[1:])))
            assert both[2] > code[2]
            assert both[2] <= area[2] - area[0] - padding
        else:
            text = ink(lettered.crop((area[0], area[1] + code[3] + 1, *area[2:])))
            assert both[3] > code[3]
            assert both[3] <= area[3] - area[1] - padding
            assert text is not None
            assert text[0] + text[2] == pytest.approx(area[2] - area[0], abs=6)
        assert text is not None
    assert ink(lettered.crop(box(sheet, 2))) is None


def is_lettered(character: str) -> bool:
    try:
        pdf._legible(character)
    except ValueError:
        return False
    return True


LETTERED = st.characters(max_codepoint=0x2200).filter(is_lettered)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    text=st.text(LETTERED, max_size=60) | st.text("aÅgjyЖΩ→/- WM", max_size=400),
    shape=st.sampled_from(["60x30", "40x40", "30x70", "12x8", "5x5"]),
)
def test_no_text_leaves_its_label_or_stops_the_printing(text: str, shape: str) -> None:
    width, height = map(int, shape.split("x"))
    sheet = sheet_of(
        SheetOptions(
            page=f"{width + 10}x{height + 10}",
            rows=1,
            columns=1,
            label_width_mm=width,
            label_height_mm=height,
            caption=LabelText.TITLE,
        )
    )
    (page,) = pages(PRINTER.print(sheet, make_labels(1, text)), DPI)
    found, (left, top, right, bottom) = ink(page), box(sheet, 0)
    assert found is not None
    assert left <= found[0]
    assert top <= found[1]
    assert found[2] <= right
    assert found[3] <= bottom


def typeset(text: str, options: SheetOptions) -> tuple[float, list[str]]:
    room = pdf._Places(sheet_of(options)).text
    assert room is not None
    size, lines = pdf._typeset(pdf._legible(text), room)
    assert all(pdf._width(line) * size <= room.width + 1e-6 for line in lines)
    assert len(lines) * size * pdf._LINE <= room.height + 1e-6
    return size, lines


BESIDE = SheetOptions(preset="L7160", caption=LabelText.TITLE)
BELOW = SheetOptions(preset="22805", caption=LabelText.TITLE)


def test_long_texts_are_wrapped_then_shrunk_and_then_cut_off() -> None:
    full, one = typeset("Table 12", BESIDE)
    assert one == ["Table 12"]
    assert typeset("Fire extinguisher 0815", BESIDE) == (full, ["Fire", "extinguisher", "0815"])
    long = "A fire extinguisher of the second floor, by the lift to the kitchen"
    small, lines = typeset(long, BESIDE)
    assert small < full
    assert " ".join(lines) == long
    smallest, lines = typeset("on and " * 40, BESIDE)
    assert len(lines) == 4
    assert lines[-1].endswith("…")
    # Five points.
    assert smallest == pytest.approx(4.92, abs=0.1)


def test_links_are_broken_after_their_slashes() -> None:
    _, lines = typeset("HTTPS://QR.EXAMPLE/R/7KQ2VX9B", BESIDE)
    assert lines == ["HTTPS://", "QR.EXAMPLE/", "R/7KQ2VX9B"]
    assert typeset("HTTPS://QR.EXAMPLE/R/7KQ2VX9B", BELOW)[1] == ["HTTPS://QR.EXAMPLE/R/7KQ2VX9B"]


def test_words_are_broken_only_where_no_size_can_save_them() -> None:
    assert typeset("Rindfleischetikettierung", BELOW)[1] == ["Rindfleischetikettierung"]
    assert "".join(typeset("W" * 40, BESIDE)[1]) == "W" * 40


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Cafe\N{COMBINING ACUTE ACCENT}", "Café"),
        ("Ｒｏｏｍ ①", "Room 1"),
        ("two\nlines\tand  blanks ", "two lines and blanks"),
        ("\x00\u200d\ud800", ""),
    ],
)
def test_what_the_font_does_not_have_is_shown_by_simpler_characters(text: str, shown: str) -> None:
    assert pdf._legible(text) == shown


@pytest.mark.parametrize(("text", "named"), [("Menü 菜单", "菜"), ("party 🎉", "🎉")])
def test_a_label_that_cannot_be_lettered_is_refused(text: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        PRINTER.print(sheet_of(SheetOptions(caption=LabelText.TITLE)), make_labels(1, text))
    with pytest.raises(ValueError, match=named):
        PRINTER.check(text)


def test_labels_have_their_looks_and_share_their_logo() -> None:
    look = Look("#0a3d62", "#fff3d0", ModuleShape.ROUNDED, caption="Scan me")
    drawing = make_drawing(look, make_logo(LogoType.SVG))
    sheet = sheet_of(SheetOptions(preset="L7164"))
    data = PRINTER.print(sheet, [Label(drawing), Label(replace(drawing, title="other"))])
    assert data.count(b"/Subtype /Image") == 1 + data.count(b"/SMask")
    (page,) = pages(data, DPI)
    assert len(zxingcpp.read_barcodes(page)) == 2
    assert {color for _, color in page.getcolors(1 << 16) or ()} >= {
        (10, 61, 98),
        (255, 243, 208),
        (227, 54, 44),
    }


def test_a_caption_that_cannot_be_lettered_is_refused() -> None:
    with pytest.raises(ValueError, match="菜"):
        PRINTER.print(sheet_of(SheetOptions()), [Label(make_drawing(Look(caption="菜")))])


def test_copies_are_kept_once_and_look_like_the_first() -> None:
    sheet = sheet_of(SheetOptions(preset="L7160"))
    label = Label(draw(0))

    def size(count: int) -> int:
        return len(PRINTER.print(sheet, [label] * count))

    assert size(21) - size(2) < size(2) / 2
    # Copies are drawn in another way than the first; the second row stands below the first.
    (page,) = pages(PRINTER.print(sheet, [label] * 4), DPI)
    first, copy = (page.crop(box(sheet, number)).convert("L") for number in (0, 3))
    assert ImageChops.difference(first, copy).getextrema()[1] < 8


def test_codes_between_copies_of_others_are_themselves() -> None:
    sheet = sheet_of(SheetOptions(preset="5163"))
    numbers = [0, 0, 1, 0, 0, 0, 2, 2]
    (page,) = pages(PRINTER.print(sheet, [Label(draw(number)) for number in numbers]), DPI)
    found = [code.text for code in zxingcpp.read_barcodes(page)]
    assert sorted(found) == sorted(map(link, numbers))


def test_labels_are_drawn_as_they_come() -> None:
    sheet = sheet_of(SheetOptions(preset="L7160"))
    drawn: list[int] = []

    def stop_after(count: int) -> Iterable[Label]:
        for number in range(count):
            drawn.append(number)
            yield Label(draw(number))
        raise ValueError("the rest cannot be drawn")

    with pytest.raises(ValueError, match="the rest"):
        PRINTER.print(sheet, stop_after(3))
    assert drawn == [0, 1, 2]


def test_the_same_labels_give_the_same_bytes() -> None:
    sheet = sheet_of(SheetOptions(preset="5160", caption=LabelText.TITLE, outline=True))
    first, second = (pdf.PdfSheets().print(sheet, make_labels(40, "Größe")) for _ in range(2))
    assert first == second
    assert first != PRINTER.print(sheet, make_labels(40, "Größen"))
