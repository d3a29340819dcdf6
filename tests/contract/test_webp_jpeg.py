from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageChops

from core.api import (
    TRANSPARENT,
    Drawing,
    ErrorCorrection,
    FinderShape,
    Layout,
    Look,
    ModuleShape,
    Renderer,
    Symbol,
    lay_out,
)
from plugins.encoders.segno_encoder import SegnoEncoder
from plugins.renderers import jpeg, png, webp
from tests.contract.reading import read, read_with_zbar

LINK = "HTTPS://QR.EXAMPLE/R/7KQ2VX9B"
SYMBOL = SegnoEncoder().encode(LINK, ErrorCorrection.M)
LARGEST = SegnoEncoder().encode("quiet zone " * 211, ErrorCorrection.M)

PNG: Renderer = png.qz_renderers()["png"]
WEBP: Renderer = webp.qz_renderers()["webp"]
JPEG: Renderer = jpeg.qz_renderers()["jpeg"]
BOTH = [pytest.param(WEBP, id="webp"), pytest.param(JPEG, id="jpeg")]

PLAIN = Look()
BLUE_ON_CREAM = Look(color="#0a3d62", background="#fff8e7")
ROUNDED = Look(shape=ModuleShape.ROUNDED, finder_shape=FinderShape.CIRCLE, color="#0a3d62")
ON_NOTHING = Look(color="#0a3d62", background=TRANSPARENT)
FLOATING = Look(shape=ModuleShape.DOT, color="#0a3d62", background=TRANSPARENT)
OPAQUE = [PLAIN, BLUE_ON_CREAM, ROUNDED]


def drawing(
    look: Look = PLAIN,
    size: int = 300,
    margin: int = 4,
    symbol: Symbol = SYMBOL,
    width_mm: float | None = None,
) -> Drawing:
    return Drawing(symbol, lay_out(symbol, size, margin), look=look, width_mm=width_mm)


def opened(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image


def seen(data: bytes) -> Image.Image:
    """The image as it is seen on white."""
    image = opened(data).convert("RGBA")
    page = Image.new("RGBA", image.size, "white")
    page.alpha_composite(image)
    return page.convert("RGB")


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    symbol=st.sampled_from([SYMBOL, LARGEST]),
    size=st.integers(min_value=21, max_value=700),
    margin=st.integers(min_value=0, max_value=20),
    look=st.sampled_from([PLAIN, BLUE_ON_CREAM, ON_NOTHING]),
)
def test_webp_shows_exactly_what_the_png_shows(
    symbol: Symbol, size: int, margin: int, look: Look
) -> None:
    what = drawing(look, max(size, symbol.size + 2 * margin), margin, symbol)
    ours, theirs = opened(WEBP.render(what)), opened(PNG.render(what))
    assert ours.convert("RGBA").tobytes() == theirs.convert("RGBA").tobytes()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    size=st.integers(min_value=100, max_value=700),
    margin=st.integers(min_value=0, max_value=20),
    look=st.sampled_from([PLAIN, BLUE_ON_CREAM]),
)
def test_jpeg_shows_what_the_png_shows_but_for_some_blur(
    size: int, margin: int, look: Look
) -> None:
    what = drawing(look, size, margin)
    difference = ImageChops.difference(seen(JPEG.render(what)), seen(PNG.render(what)))
    assert max(high for _, high in difference.getextrema()) <= 40


@pytest.mark.parametrize("look", [ROUNDED, FLOATING])
def test_webp_shows_round_shapes_as_the_png_shows_them(look: Look) -> None:
    ours, theirs = opened(WEBP.render(drawing(look))), opened(PNG.render(drawing(look)))
    assert ours.convert("RGBA").tobytes() == theirs.convert("RGBA").tobytes()


@pytest.mark.parametrize("renderer", BOTH)
@pytest.mark.parametrize("look", OPAQUE)
@pytest.mark.parametrize("size", [177, 300, 1024])
def test_the_image_has_the_exact_size_and_is_read(
    renderer: Renderer, look: Look, size: int, tmp_path: Path
) -> None:
    image = seen(renderer.render(drawing(look, size)))
    assert image.size == (size, size)
    assert read(image.convert("L")).text == LINK
    path = tmp_path / "image.png"
    image.save(path)
    assert read_with_zbar(path) == LINK


@pytest.mark.parametrize("renderer", BOTH)
def test_a_symbol_of_version_40_is_read_from_the_largest_image(renderer: Renderer) -> None:
    image = seen(renderer.render(drawing(size=2000, symbol=LARGEST)))
    assert read(image.convert("L")).text == "quiet zone " * 211


@pytest.mark.parametrize("look", [ON_NOTHING, FLOATING])
def test_webp_keeps_a_background_transparent(look: Look) -> None:
    image = opened(WEBP.render(drawing(look)))
    assert image.mode == "RGBA"
    assert image.getchannel("A").getextrema() == (0, 255)
    assert image.getpixel((0, 0))[3] == 0
    assert read(seen(WEBP.render(drawing(look))).convert("L")).text == LINK


@pytest.mark.parametrize("look", [ON_NOTHING, FLOATING])
def test_jpeg_refuses_a_transparent_background_with_a_way_out(look: Look) -> None:
    with pytest.raises(
        ValueError, match=r"JPEG knows no transparency; .* background, or png, svg or webp"
    ):
        JPEG.render(drawing(look))


def test_jpeg_is_grey_where_both_colours_are_and_keeps_the_sharpness_of_others() -> None:
    assert opened(JPEG.render(drawing())).mode == "L"
    assert opened(JPEG.render(drawing(Look(color="#222222", background="#eeeeee")))).mode == "L"
    colourful = opened(JPEG.render(drawing(BLUE_ON_CREAM)))
    assert colourful.mode == "RGB"
    # Each of the three components is sampled once a pixel.
    assert [(layer[1], layer[2]) for layer in colourful.layer] == [(1, 1)] * 3


def test_the_width_in_print_becomes_pixels_an_inch() -> None:
    image = opened(JPEG.render(drawing(width_mm=25.4)))
    assert (image.info["jfif_unit"], image.info["jfif_density"]) == (1, (300, 300))
    exif = opened(WEBP.render(drawing(width_mm=50.0))).getexif()
    assert float(exif[ExifTags.Base.XResolution]) == pytest.approx(152.4)
    assert float(exif[ExifTags.Base.YResolution]) == pytest.approx(152.4)
    assert exif[ExifTags.Base.ResolutionUnit] == 2


def test_nothing_is_said_of_print_where_nobody_said_it() -> None:
    assert opened(JPEG.render(drawing())).info["jfif_unit"] == 0
    assert not opened(WEBP.render(drawing())).getexif()


@pytest.mark.parametrize(("width_mm", "size"), [(1.0, 3000), (10_000.0, 100)])
def test_a_density_that_jpeg_cannot_tell_is_left_out(width_mm: float, size: int) -> None:
    image = opened(JPEG.render(drawing(size=size, width_mm=width_mm)))
    assert image.info["jfif_unit"] == 0
    assert image.size == (size, size)


def test_more_pixels_than_webp_knows_are_refused_with_a_way_out() -> None:
    layout = Layout(size=16_384, scale=400, left=0, top=0, margin=0)
    with pytest.raises(ValueError, match=r"at most 16383 pixels a side, not 16384; take png"):
        WEBP.render(Drawing(SYMBOL, layout))


@pytest.mark.parametrize("renderer", BOTH)
@pytest.mark.parametrize("look", OPAQUE)
def test_the_same_drawing_gives_the_same_bytes(renderer: Renderer, look: Look) -> None:
    assert renderer.render(drawing(look, width_mm=40.0)) == renderer.render(
        drawing(look, width_mm=40.0)
    )


def test_the_formats_are_told_by_their_media_types_and_names_of_files() -> None:
    assert (WEBP.media_type, WEBP.extension) == ("image/webp", "webp")
    assert (JPEG.media_type, JPEG.extension) == ("image/jpeg", "jpg")
    assert opened(WEBP.render(drawing())).format == "WEBP"
    assert opened(JPEG.render(drawing())).format == "JPEG"


def test_the_fingerprints_tell_what_the_bytes_depend_on() -> None:
    assert "libwebp-" in WEBP.fingerprint
    assert "libjpeg-" in JPEG.fingerprint
    for renderer in (WEBP, JPEG):
        assert f"pillow-{Image.__version__}-resvg-" in renderer.fingerprint
        assert "tiles-" in renderer.fingerprint


@pytest.mark.parametrize("renderer", BOTH)
def test_a_very_large_image_of_ours_is_nothing_to_warn_of(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)
    assert renderer.render(drawing(ROUNDED))
