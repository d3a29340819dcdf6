"""What is done to the logos of strangers before anything else touches them."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import pytest
import resvg_py
from PIL import Image, PngImagePlugin

from core.domain.logos import LogoType
from core.services.logos import sanitize
from core.services.svg import MAX_DEPTH, MAX_ELEMENTS, MAX_LAYERS, MAX_POINTS, MAX_USES

PIXELS = 1_000_000
NS = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
BOX = '<path d="M0 0h9v9z"/>'
CLEAR = '<path d="M0 0h9v9z" opacity=".5"/>'


def svg(inner: str, attributes: str = 'viewBox="0 0 24 24"', before: str = "") -> bytes:
    return f"{before}<svg {NS} {attributes}>{inner}</svg>".encode()


def clean(data: bytes) -> str:
    return sanitize(data, LogoType.SVG, PIXELS)[0].decode()


def drawn(data: bytes) -> Image.Image:
    picture = resvg_py.svg_to_bytes(
        svg_string=data.decode("utf-8-sig"), skip_system_fonts=True, width=96, dpi=96
    )
    return Image.open(BytesIO(picture)).convert("RGBA")


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def header(width: int, height: int, depth: int = 8, kind: int = 2) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))


def png(image: Image.Image, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


ROWS = chunk(b"IDAT", zlib.compress((bytes(65)) * 64))
BRIGHT_ROWS = chunk(b"IDAT", zlib.compress((b"\0" + b"\1" * 64) * 64))


def names(data: bytes) -> set[bytes]:
    found, at = set(), 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        found.add(data[at + 4 : at + 8])
        at += 12 + length
    return found


SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = chunk(b"IEND", b"")

LAUGHS = (
    '<!DOCTYPE svg [<!ENTITY a "haha">'
    + "".join(
        f'<!ENTITY {b} "{10 * f"&{a};"}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    + "]>"
)
USES = "".join(f'<g id="u{n + 1}">' + f'<use xlink:href="#u{n}"/>' * 10 + "</g>" for n in range(9))

HOSTILE = {
    "script": (svg("<script>alert(1)</script>"), "scripts"),
    "script elsewhere": (svg(f"<defs><pattern><script/></pattern></defs>{BOX}"), "scripts"),
    "handler": (svg('<path d="M0 0h9v9z" onclick="alert(1)"/>'), "onclick"),
    "handler of the root": (svg(BOX, 'viewBox="0 0 9 9" onload="alert(1)"'), "onload"),
    "handler in capitals": (svg(BOX, 'viewBox="0 0 9 9" ONLOAD="alert(1)"'), "ONLOAD"),
    "foreign object": (svg(f"<foreignObject><p/></foreignObject>{BOX}"), "embedded documents"),
    "html": (svg('<g><p xmlns="http://www.w3.org/1999/xhtml"/></g>'), "embedded documents"),
    "html in metadata": (
        svg(f'<metadata><b xmlns="http://www.w3.org/1999/xhtml"/></metadata>{BOX}'),
        "embedded documents",
    ),
    "link": (svg(f'<a xlink:href="javascript:alert(1)">{BOX}</a>'), "links"),
    "picture": (svg('<image href="https://example.com/a.png"/>'), "embedded pictures"),
    "picture in the file": (svg('<image href="data:image/png;base64,AA=="/>'), "embedded pictures"),
    "picture in a filter": (
        svg('<filter id="f"><feImage href="file:///etc/passwd"/></filter>'),
        "embedded pictures",
    ),
    "use of a file": (svg('<use href="file:///etc/passwd#a"/>'), "file:///etc/passwd"),
    "use of a page": (svg('<use xlink:href="https://example.com/#a"/>'), "https://example.com"),
    "use of data": (svg('<use xlink:href="data:image/svg+xml,x#a"/>'), "data:image"),
    "use of nothing": (svg(f"<use/>{BOX}"), "refers to nothing"),
    "use of what is not there": (svg(f'<use href="#a"/>{BOX}'), "#a, which is none"),
    "gradient of a page": (
        svg(f'<linearGradient id="a" href="//example.com/#b"/>{BOX}'),
        "//example.com",
    ),
    "fill of a page": (svg('<path d="M0 0h9v9z" fill="url(https://example.com/#a)"/>'), "outside"),
    "fill of data": (svg('<path d="M0 0h9v9z" fill="url( \'data:x\' )"/>'), "outside"),
    "fill in capitals": (svg('<path d="M0 0h9v9z" style="fill:URL(//example.com)"/>'), "outside"),
    "style of a page": (svg('<path style="fill:url(https://example.com/#a)"/>'), "outside"),
    "property nobody knows": (svg('<path style="x:url(http://example.com/)"/>'), "outside"),
    "attribute nobody knows": (svg('<path x-y="url(http://example.com/)"/>'), "outside"),
    "escape": (svg(r'<path style="fill:ur\6c(//example.com)"/>'), "not allowed"),
    "import": (svg(f'<style>@import "https://example.com/a.css";</style>{BOX}'), "@ rules"),
    "import in a style": (svg('<path style="x:@import url(#a)"/>'), "not allowed"),
    "font face": (svg(f"<style>@font-face{{src:url(//example.com)}}</style>{BOX}"), "@ rules"),
    "rule of a page": (svg("<style>path{fill:url(//example.com)}</style>" + BOX), "outside"),
    "sheet elsewhere": (
        svg(BOX, before='<?xml-stylesheet href="https://example.com/a.css"?>'),
        "style sheets in other files",
    ),
    "laughs": (svg("<desc>&i;</desc>" + BOX, before=LAUGHS), "entities"),
    "external entity": (
        svg(BOX, before='<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>'),
        "entities",
    ),
    "external type": (svg(BOX, before='<!DOCTYPE svg SYSTEM "file:///etc/passwd">'), "<!DOCTYPE"),
    "parameter entity": (
        svg(BOX, before='<!DOCTYPE svg [<!ENTITY % p SYSTEM "//example.com"> %p;]>'),
        "<!DOCTYPE",
    ),
    "use bomb": (svg(f'<g id="u0">{BOX}</g>{USES}'), "another <use>"),
    "use of itself": (svg(f'<g id="a">{BOX}<use href="#a"/></g>'), "another <use>"),
    "many uses": (svg(f'<g id="a">{BOX}</g>' + '<use href="#a"/>' * (MAX_USES + 1)), "too many"),
    "much used": (
        svg(f'<g id="a">{BOX * (MAX_ELEMENTS // 20)}</g>' + '<use href="#a"/>' * 30),
        "too complex",
    ),
    "gradients in a circle": (
        svg(
            '<linearGradient id="a" href="#b"/><linearGradient id="b" href="#a"/>'
            '<path d="M0 0h9v9z" fill="url(#a)"/>'
        ),
        "itself",
    ),
    "clipped clip": (
        svg(f'<clipPath id="a" clip-path="url(#a)">{BOX}</clipPath>{BOX}'),
        "clipped itself",
    ),
    "elements": (svg(BOX * (MAX_ELEMENTS + 1)), "too complex"),
    "points": (svg(f'<path d="M0 0{"L9 9" * MAX_POINTS}"/>'), "simplify the paths"),
    "used points": (
        svg(f'<path id="a" d="M0 0{"h1v1" * (MAX_POINTS // 4)}"/>' + '<use href="#a"/>' * 2),
        "simplify the paths",
    ),
    "layers": (svg(f'<g opacity=".5">{BOX}</g>' * (MAX_LAYERS + 1)), "fill-opacity"),
    "used layers": (
        svg(f'<g id="a">{11 * CLEAR}</g>' + '<use href="#a"/>' * 10),
        "fill-opacity",
    ),
    "clips": (
        svg(
            f'<clipPath id="a">{BOX}</clipPath>'
            + '<path d="M0 0h9v9z" clip-path="url(#a)"/>' * (MAX_LAYERS + 1)
        ),
        "fill-opacity",
    ),
    "digits": (svg(f'<g opacity="{"1" * 200_000}x">{BOX}</g>'), "opacity"),
    "digits of a width": (svg(BOX, f'width="{"1" * 200_000}x" height="9"'), "width"),
    "blanks": (svg(f'<g fill="url({" " * 200_000}">{BOX}</g>'), "outside"),
    "comments": (svg(f'<g style="{"/*" * 100_000}">{BOX}</g><text/>'), "text"),
    "transforms": (svg(f'<g transform="{"scale(1) " * 20_000}x">{BOX}</g>'), "transform"),
    "depth": (svg("<g>" * (MAX_DEPTH + 1) + BOX + "</g>" * (MAX_DEPTH + 1)), "deeper"),
    "great depth": (svg("<g>" * 30_000 + "</g>" * 30_000), "deeper"),
    "nested picture": (svg(f"<svg>{BOX}</svg>"), "nested pictures"),
    "dashes": (svg('<path d="M0 0h9" stroke-dasharray="0.00001"/>'), "dashes"),
    "filter": (svg('<path d="M0 0h9v9z" filter="url(#f)"/>'), "filters"),
    "filter in a style": (svg('<path d="M0 0h9v9z" style="filter:blur(9px)"/>'), "filters"),
    "mask": (svg('<path d="M0 0h9v9z" mask="url(#m)"/>'), "masks"),
    "pattern": (
        svg('<pattern id="p"/><path d="M0 0h9v9z" fill="url(#p)"/>'),
        "#p, which is none of",
    ),
    "animation": (svg('<path d="M0 0h9v9z"><animate attributeName="d"/></path>'), "animation"),
    "setting": (svg('<path d="M0 0h9v9z"><set attributeName="href"/></path>'), "animation"),
    "text": (svg("<text>Menu</text>"), "convert it to paths"),
    "element nobody knows": (svg(f"<blink>{BOX}</blink>"), "<blink>"),
    "numbers": (svg('<path d="M0 0L1e300 1"/>'), "1e300"),
    "transform": (svg('<path d="M0 0h9v9z" transform="url(#a)"/>'), "transform"),
    "width": (svg(BOX, 'width="1e9" height="1e9"'), "too large"),
    "no size": (svg(BOX, ""), "neither viewBox"),
    "nothing to see": (svg("<g/>"), "draws nothing"),
    "no area": (svg(BOX, 'viewBox="0 0 0 9"'), "empty"),
    "odd box": (svg(BOX, 'viewBox="0 0 9"'), "four numbers"),
    "thread": (svg(BOX, 'viewBox="0 0 9 9000"'), "16 times"),
    "compressed": (zlib.compress(svg(BOX), wbits=31), "svgz"),
    "no text": (b"\xff\xfe\x00<", "UTF-8"),
    "no XML": (b"<svg", "well-formed"),
    "no SVG": (b"<html/>", "begins with <html>"),
    "nothing": (b"", "well-formed"),
    "NUL": (svg("\x00"), "well-formed"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_svg_is_refused_with_the_reason(name: str) -> None:
    data, reason = HOSTILE[name]
    with pytest.raises(ValueError) as error:
        clean(data)
    assert reason in str(error.value)
    assert len(str(error.value)) < 400


INKSCAPE = b"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<!-- Created with Inkscape (http://www.inkscape.org/) -->
<svg width="48mm" height="24mm" viewBox="0 0 48 24" version="1.1" id="svg5"
   inkscape:version="1.2" sodipodi:docname="logo.svg"
   xmlns:inkscape="http://www.inkscape.org/namespaces/inkscape"
   xmlns:sodipodi="http://sodipodi.sourceforge.net/DTD/sodipodi-0.dtd"
   xmlns:xlink="http://www.w3.org/1999/xlink" xmlns="http://www.w3.org/2000/svg"
   xmlns:svg="http://www.w3.org/2000/svg">
  <sodipodi:namedview id="namedview7" pagecolor="#ffffff" inkscape:zoom="0.7"/>
  <title>Logo</title>
  <metadata id="m"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><cc:Work
    xmlns:cc="http://creativecommons.org/ns#" rdf:about=""/></rdf:RDF></metadata>
  <defs id="defs2">
    <linearGradient inkscape:collect="always" id="linearGradient1">
      <stop style="stop-color:#ff8800;stop-opacity:1;" offset="0" id="stop1"/>
      <stop style="stop-color:#0044ff;stop-opacity:0.5;" offset="1" id="stop2"/>
    </linearGradient>
    <linearGradient xlink:href="#linearGradient1" id="linearGradient9" x1="0" y1="0" x2="48" y2="0"
       gradientUnits="userSpaceOnUse" gradientTransform="matrix(1,0,0,1,0,0)"/>
    <marker style="overflow:visible" id="Arrow1"><path d="M 0,0 1,1"/></marker>
    <inkscape:path-effect effect="spiro" id="path-effect1"/>
  </defs>
  <g inkscape:label="Layer 1" inkscape:groupmode="layer" id="layer1" transform="translate(1,1)">
    <path style="font-variation-settings:normal;opacity:1;vector-effect:none;
      fill:url(#linearGradient9);
      fill-opacity:1;stroke:#1a1a1a;stroke-width:0.264583;stroke-linecap:butt;stroke-dasharray:none;
      stroke-dashoffset:0;-inkscape-stroke:none;marker:none;mix-blend-mode:normal;filter:none"
      d="m 2,2 h 40 v 10 a 5,5 0 0 1 -5,5 z" id="path1" sodipodi:nodetypes="cccc"
      inkscape:connector-curvature="0"/>
    <rect style="display:inline;fill:#008000" width="5" height="5" x="30" y="14"
       ry="1px" stroke-width=".3mm"/>
  </g>
</svg>
"""

FIGMA = b"""<svg width="64" height="64" viewBox="0 0 64 64" fill="none"
 xmlns="http://www.w3.org/2000/svg">
<g clip-path="url(#clip0_12_34)">
<path fill-rule="evenodd" clip-rule="evenodd" d="M32 0C14.3 0 0 14.3 0 32s14.3 32 32 32
 32-14.3 32-32S49.7
 0 32 0Zm0 8a24 24 0 1 1 0 48 24 24 0 0 1 0-48Z" fill="url(#paint0_linear_12_34)"/>
<circle cx="32" cy="32" r="12" fill="#FF5A5F" fill-opacity=".9" stroke="white" stroke-width="2"/>
<path d="M4 60L60 4" stroke="url(#paint1_radial_12_34)" stroke-linecap="round"/>
</g>
<defs>
<linearGradient id="paint0_linear_12_34" x1="0" y1="0" x2="64" y2="64"
 gradientUnits="userSpaceOnUse">
<stop stop-color="#12C2E9"/><stop offset="0.5" stop-color="#C471ED"/>
<stop offset="1" stop-color="#F64F59" stop-opacity="0"/>
</linearGradient>
<radialGradient id="paint1_radial_12_34" cx="0" cy="0" r="1" gradientUnits="userSpaceOnUse"
 gradientTransform="translate(32 32) rotate(90) scale(32)"><stop/>
<stop offset="1" stop-color="red"/>
</radialGradient>
<clipPath id="clip0_12_34"><rect width="64" height="64" rx="8" fill="white"/></clipPath>
</defs>
</svg>
"""

ILLUSTRATOR = b"""<?xml version="1.0" encoding="utf-8"?>
<!-- Generator: Adobe Illustrator 25.0.0, SVG Export Plug-In . SVG Version: 6.00 Build 0)  -->
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg version="1.1" id="Layer_1" xmlns="http://www.w3.org/2000/svg"
 xmlns:xlink="http://www.w3.org/1999/xlink" x="0px" y="0px" viewBox="0 0 100 50"
 style="enable-background:new 0 0 100 50;" xml:space="preserve">
<style type="text/css">
	.st0{clip-path:url(#SVGID_2_);fill:#231F20;} /* the anchor */
	.st1,.st2{fill:none;stroke:#ED1C24;stroke-width:4;stroke-miterlimit:10;}
	polygon.st3{fill:url(#SVGID_3_);}
	#ring{stroke:#00A651;}
</style>
<g>
	<defs><rect id="SVGID_1_" x="5" y="5" width="40" height="40"/></defs>
	<clipPath id="SVGID_2_"><use xlink:href="#SVGID_1_"  style="overflow:visible;"/></clipPath>
	<circle class="st0" cx="10" cy="25" r="20"/>
</g>
<linearGradient id="SVGID_3_" gradientUnits="userSpaceOnUse" x1="50" y1="25" x2="95" y2="25">
	<stop  offset="0" style="stop-color:#FFF200"/><stop  offset="1" style="stop-color:#F7941D"/>
</linearGradient>
<polygon class="st3" points="50,5 95,25 50,45 "/>
<circle id="ring" class="st1" cx="60" cy="25" r="10" data-name="Ring"/>
<line class="st2" x1="5" y1="48" x2="95" y2="48"/>
</svg>
"""

BENIGN = {
    "inkscape": (INKSCAPE, 48 * 96 / 25.4, 24 * 96 / 25.4),
    "figma": (FIGMA, 64, 64),
    "illustrator": (ILLUSTRATOR, 100, 50),
    "a mark before it": (b"\xef\xbb\xbf" + svg(BOX), 24, 24),
    "relative size": (svg(BOX, 'width="100%" height="100%" viewBox="-5 -5 30 20"'), 30, 20),
    "no box": (svg(BOX, 'width="1in" height="24pt"'), 96, 32),
    "use": (svg('<g id="a"><path d="M1 1h5v5z"/></g><use href="#a" x="9" fill="red"/>'), 24, 24),
    "fallback": (svg('<path d="M0 0h9v9z" fill="url(#g) #abc"/><radialGradient id="g"/>'), 24, 24),
}


@pytest.mark.parametrize("name", BENIGN)
def test_what_drawing_programs_write_looks_as_before(name: str) -> None:
    data, width, height = BENIGN[name]
    taken = sanitize(data, LogoType.SVG, PIXELS)
    assert taken[1:] == pytest.approx((width, height))
    before, after = drawn(data), drawn(taken[0])
    assert before.size == after.size
    assert before.tobytes() == after.tobytes()
    assert before.getextrema()[3] == (0, 255)


@pytest.mark.parametrize("name", BENIGN)
def test_what_was_taken_over_is_taken_over_again_to_the_byte(name: str) -> None:
    once = sanitize(BENIGN[name][0], LogoType.SVG, PIXELS)[0]
    assert sanitize(once, LogoType.SVG, PIXELS)[0] == once


@pytest.mark.parametrize("name", BENIGN)
def test_nothing_but_shapes_is_left(name: str) -> None:
    text = clean(BENIGN[name][0])
    for trace in (
        "style=", "<style", "class=", "<!", "<?", "inkscape", "sodipodi", "rdf", "metadata",
        "<title", "marker", "data-", "SVGID", "clip0_12", "script",
    ):  # fmt: skip
        assert trace not in text, trace
    assert text.startswith('<svg xmlns="http://www.w3.org/2000/svg" ')


def test_names_are_our_own_and_only_where_they_are_referred_to() -> None:
    text = clean(
        svg(
            '<path id="lonely" d="M0 0h9v9z" fill="url(#x)"/>'
            '<linearGradient id="x"><stop stop-color="red"/></linearGradient>'
        )
    )
    assert "lonely" not in text
    assert 'id="logo-1"' in text
    assert 'fill="url(#logo-1)"' in text


def test_what_is_written_is_escaped() -> None:
    text = clean(svg('<path d="M0 0h9v9z" fill="rgb(1,2,3)" data-x="&lt;script&gt;&quot;"/>'))
    assert "script" not in text
    with pytest.raises(ValueError, match="not understood"):
        clean(svg('<path d="M0 0h9v9z&quot; onload=&quot;x"/>'))


def test_a_style_goes_before_rules_and_rules_before_attributes() -> None:
    text = clean(
        svg(
            "<style>.a{fill:#00f;stroke:#0ff} path{fill:#fff;stroke:#fff} #i{stroke:#123}</style>"
            '<path d="M0 0h9v9z" class="a" id="i" fill="#f00" style="fill:#0f0 !important"/>'
        )
    )
    assert 'fill="#0f0"' in text
    assert 'stroke="#123"' in text
    assert text.count("fill=") == text.count("stroke=") == 1


def test_nothing_is_opened_while_an_svg_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was opened")

    clean(INKSCAPE)  # What is imported at the first time is imported now.
    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("socket.socket", refuse)
    for data, _, _ in BENIGN.values():
        clean(data)
    for data, _ in HOSTILE.values():
        with pytest.raises(ValueError):
            clean(data)


def text_bomb() -> bytes:
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(20_000_000), 9))
    data = png(Image.new("RGB", (32, 32), "red"))
    return data[:33] + bomb + bomb + data[33:]


BROKEN_PNGS = {
    "huge header": (SIGNATURE + header(2**31 - 1, 2**31 - 1) + END, "needs one header, and pixels"),
    "huge": (SIGNATURE + header(60_000, 60_000) + chunk(b"IDAT", b"") + END, "too many"),
    "just too large": (SIGNATURE + header(1001, 1000) + chunk(b"IDAT", b"") + END, "too many"),
    "two headers": (
        SIGNATURE + header(16, 16) + header(60_000, 60_000) + chunk(b"IDAT", b"") + END,
        "one header",
    ),
    "small": (png(Image.new("RGB", (64, 15))), "too few"),
    "no size": (SIGNATURE + header(0, 0) + chunk(b"IDAT", b"") + END, "too few"),
    "thread": (png(Image.new("RGB", (16, 500))), "16 times"),
    "cut": (png(Image.new("RGB", (64, 64), "red"))[:-20], "too early"),
    "cut in its pixels": (
        SIGNATURE + header(64, 64) + chunk(b"IDAT", zlib.compress(bytes(99))) + END,
        "broken",
    ),
    "no palette": (SIGNATURE + header(64, 64, 8, 3) + ROWS + END, "colours that it lacks"),
    "half a colour": (
        SIGNATURE + header(64, 64, 8, 3) + chunk(b"PLTE", bytes(2)) + ROWS + END,
        "no whole colours",
    ),
    "beyond the palette": (
        SIGNATURE + header(64, 64, 8, 3) + chunk(b"PLTE", bytes(3)) + BRIGHT_ROWS + END,
        "its palette lacks",
    ),
    "unknown interlacing": (
        SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 7)) + ROWS + END,
        "PNG does not know",
    ),
    "impossible depth": (
        SIGNATURE + header(64, 64, 3, 0) + ROWS + END,
        "not what its header says",
    ),
    "nothing to see": (png(Image.new("RGBA", (64, 64))), "transparent everywhere"),
    "no pixels": (SIGNATURE + header(64, 64) + chunk(b"IDAT", b"nonsense") + END, "broken"),
    "wrong checksum": (
        png(Image.new("RGB", (64, 64), "red")).replace(b"IDAT", b"IDAT\0", 1)[:-1],
        "broken",
    ),
    "wrong type of pixels": (
        SIGNATURE + header(64, 64, 3, 5) + chunk(b"IDAT", b"") + END,
        "broken",
    ),
    "a JPEG": (b"\xff\xd8\xff\xe0" + bytes(99), "no PNG"),
    "an SVG": (svg(BOX), "no PNG"),
    "only a signature": (SIGNATURE, "too early"),
    "nothing": (b"", "no PNG"),
}


@pytest.mark.parametrize("name", BROKEN_PNGS)
def test_a_hostile_png_is_refused_with_the_reason(name: str) -> None:
    data, reason = BROKEN_PNGS[name]
    with pytest.raises(ValueError) as error:
        sanitize(data, LogoType.PNG, PIXELS)
    assert reason in str(error.value)


def test_what_is_not_a_pixel_is_left_out_unread() -> None:
    data, width, height = sanitize(text_bomb(), LogoType.PNG, PIXELS)
    assert (width, height) == (32, 32)
    assert names(data) == {b"IHDR", b"IDAT", b"IEND"}
    assert len(data) < 200


def test_a_png_keeps_its_pixels_and_nothing_else() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "Ada", zip=True)
    image = Image.radial_gradient("L").convert("RGBA")
    image.putalpha(Image.linear_gradient("L"))
    sent = png(image, pnginfo=info, dpi=(300, 300), icc_profile=b"profile", exif=b"Exif\0\0x")
    assert names(sent) > {b"zTXt", b"pHYs", b"iCCP"}
    data, *_ = sanitize(sent + b"<script>alert(1)</script>", LogoType.PNG, PIXELS)
    assert names(data) == {b"IHDR", b"IDAT", b"IEND"}
    assert b"script" not in data
    assert Image.open(BytesIO(data)).tobytes() == image.tobytes()


def test_of_an_animation_the_first_picture_stays() -> None:
    frames = [Image.new("RGB", (32, 32), color) for color in ("red", "blue")]
    sent = png(frames[0], save_all=True, append_images=frames[1:])
    assert b"acTL" in names(sent)
    data, *_ = sanitize(sent, LogoType.PNG, PIXELS)
    assert names(data) == {b"IHDR", b"IDAT", b"IEND"}
    assert Image.open(BytesIO(data)).getpixel((5, 5)) == (255, 0, 0)


def palette(alpha: bool) -> Image.Image:
    image = Image.new("P", (32, 32), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    if alpha:
        image.info["transparency"] = bytes([255, 128])
    return image


def keyed(mode: str, key: object) -> Image.Image:
    image = Image.new(mode, (32, 32), key)  # type: ignore[arg-type]
    image.paste(7, (9, 9, 20, 20))
    image.info["transparency"] = key
    return image


@pytest.mark.parametrize(
    ("image", "mode", "pixel"),
    [
        (Image.new("1", (32, 32), 1), "L", 255),
        (Image.new("L", (32, 32), 77), "L", 77),
        (Image.new("LA", (32, 32), (77, 9)), "LA", (77, 9)),
        (Image.new("RGB", (32, 32), (1, 2, 3)), "RGB", (1, 2, 3)),
        (Image.new("RGBA", (32, 32), (1, 2, 3, 4)), "RGBA", (1, 2, 3, 4)),
        (Image.new("I;16", (32, 32), 0x8080), "L", 0x80),
        (palette(False), "RGB", (200, 100, 50)),
        (palette(True), "RGBA", (200, 100, 50, 128)),
        (keyed("RGB", (9, 9, 9)), "RGBA", (9, 9, 9, 0)),
        (keyed("L", 9), "LA", (9, 0)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else "",
)
def test_every_kind_of_png_becomes_one_of_eight_bits(
    image: Image.Image, mode: str, pixel: object
) -> None:
    sent = png(image, **({"transparency": image.info["transparency"]} if image.info else {}))
    data, *_ = sanitize(sent, LogoType.PNG, PIXELS)
    stored = Image.open(BytesIO(data))
    assert (stored.mode, stored.getpixel((5, 5))) == (mode, pixel)
    assert sanitize(data, LogoType.PNG, PIXELS)[0] == data
