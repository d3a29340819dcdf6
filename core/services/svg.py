"""Makes SVG pictures of strangers safe to embed: what is known to be harmless is written anew.

The output holds shapes, gradients, clip paths and uses of them, with presentation attributes whose
values were each matched against a pattern (SVG 1.1, appendix N). Style sheets are worked into the
attributes, names are replaced, and everything else is either left out or refused: refused wherever
the picture would look different without it. Nothing is fetched, and no file is read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from html import escape
from io import BytesIO
from typing import Any

import defusedxml.ElementTree
import resvg_py
from defusedxml import DefusedXmlException
from msgspec import Struct
from PIL import Image

MAX_ELEMENTS = 2000
"""How many elements a picture may have, each counted as often as it is used."""

MAX_TEXT = 300_000
"""How many characters their attributes may have, counted in the same way."""

MAX_POINTS = 5000
"""How many points their paths, polygons and lines may have, in the same way.

Where lines cross each other often, a point takes some 0.15 ms to draw, at each drawing.
"""

MAX_LAYERS = 100
"""How many of them may be translucent or clipped as a whole: each is a picture of its own."""

MAX_USES = 200
MAX_VALUE = 200
MAX_DEPTH = 50
MAX_RULES = 500
MAX_CLASSES = 20
MAX_RATIO = 16
MAX_NUMBER = 1e6

_TRIAL = 256
"""The longer side, in pixels, of the picture that is drawn to see whether it can be."""

_SVG = "{http://www.w3.org/2000/svg}"
_XLINK = "{http://www.w3.org/1999/xlink}"
_HTML = "{http://www.w3.org/1999/xhtml}"

# Written by most programs; it declares nothing that a picture needs.
_DOCTYPE = re.compile(
    r"<!DOCTYPE\s+svg\s+PUBLIC\s+\"-//W3C//DTD SVG [\w. ]{1,20}//EN\"\s+"
    r"\"https?://www\.w3\.org/[\w./-]{1,80}\"\s*>"
)

_SHAPES = {
    "path": ("d",),
    "rect": ("x", "y", "width", "height", "rx", "ry"),
    "circle": ("cx", "cy", "r"),
    "ellipse": ("cx", "cy", "rx", "ry"),
    "line": ("x1", "y1", "x2", "y2"),
    "polyline": ("points",),
    "polygon": ("points",),
}
_GRADIENTS = {
    "linearGradient": ("x1", "y1", "x2", "y2"),
    "radialGradient": ("cx", "cy", "r", "fx", "fy", "fr"),
}
_GRADIENT = ("gradientUnits", "gradientTransform", "spreadMethod")
_OWN: Mapping[str, tuple[str, ...]] = {
    **{name: (*own, "transform") for name, own in _SHAPES.items()},
    **{name: (*own, *_GRADIENT) for name, own in _GRADIENTS.items()},
    "svg": (),
    "g": ("transform",),
    "defs": (),
    "stop": ("offset",),
    "clipPath": ("clipPathUnits", "transform"),
    "use": ("x", "y", "transform"),
}
_CHILDREN: Mapping[str, frozenset[str]] = {
    "svg": frozenset({*_SHAPES, *_GRADIENTS, "g", "defs", "clipPath", "use"}),
    "clipPath": frozenset({*_SHAPES, "use"}),
    **{name: frozenset({"stop"}) for name in _GRADIENTS},
}
_NOTHING: frozenset[str] = frozenset()

# Says nothing about how the picture looks.
_SILENT = frozenset({"title", "desc", "metadata", "style", "view"})

# Draws only where it is referred to: left out, and the reference refused.
_ON_DEMAND = frozenset({"filter", "mask", "pattern", "marker", "symbol"})

_PATHS = "convert it to paths in the drawing program"
_REFUSED: Mapping[str, str] = {
    "script": "scripts are not allowed",
    "foreignObject": "embedded documents are not allowed",
    "image": "embedded pictures are not allowed; upload a PNG file instead",
    "feImage": "embedded pictures are not allowed; upload a PNG file instead",
    "svg": "nested pictures are not allowed; group the shapes instead",
    "a": "links are not allowed; take the shapes out of the link",
    "switch": "alternatives are not allowed; save without the program's editing data",
    **dict.fromkeys(
        ("text", "tspan", "textPath", "tref", "font", "font-face", "glyph"),
        f"text is not allowed, because not everybody has its font; {_PATHS}",
    ),
    **dict.fromkeys(
        ("animate", "animateTransform", "animateMotion", "animateColor", "set", "discard"),
        "animation is not allowed",
    ),
    **dict.fromkeys(
        ("iframe", "embed", "object", "audio", "video", "canvas"),
        "embedded documents are not allowed",
    ),
}

# NOTE: what repeats is possessive (`++`, `*+`) where a search could otherwise go back over it from
# every place again: a long row of digits or blanks would take hours.
_NUMBER = re.compile(r"[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?")
_LENGTH = re.compile(rf"({_NUMBER.pattern})(px|pt|pc|mm|cm|in|Q|%)?")
_KEYWORD = re.compile(r"[A-Za-z-]{1,40}")
_COMMAND = re.compile(r"[A-Za-df-z]")
_NUMBERS = re.compile(r"[0-9eE+\-.,\s]*")
_PATH = re.compile(r"[MmZzLlHhVvCcSsQqTtAa0-9eE+\-.,\s]*")
_TRANSFORM = re.compile(
    r"(?:[\s,]*+(?:matrix|translate|scale|rotate|skewX|skewY)\s*+\([0-9eE+\-.,\s]*+\))*+[\s,]*+"
)
_COLOR = re.compile(r"[A-Za-z]{1,30}|#[0-9A-Fa-f]{3,8}|(?:rgb|hsl)a?\([0-9.,%/\s+-]{1,60}\)")
_URL = re.compile(r"url\(\s*(['\"]?)#([^'\"()\s]{1,200})\1\s*\)(?:\s+(.{1,80}))?")
_OTHER_URL = re.compile(r"url\s*+\(\s*+['\"]?+\s*+(?!#)", re.IGNORECASE)
_ACTIVE = re.compile(r"@import|expression\s*\(|javascript\s*:|\\|-moz-binding", re.IGNORECASE)
_PIXELS = {"": 1.0, "px": 1.0, "pt": 4 / 3, "pc": 16.0, "in": 96.0}
_PIXELS |= {"cm": 96 / 2.54, "mm": 96 / 25.4, "Q": 96 / 101.6}

_PRESENTATION: Mapping[str, re.Pattern[str]] = {
    **dict.fromkeys(("fill", "stroke", "stop-color", "color"), _COLOR),
    **dict.fromkeys(
        ("opacity", "fill-opacity", "stroke-opacity", "stop-opacity", "stroke-width"), _LENGTH
    ),
    **dict.fromkeys(("stroke-miterlimit", "stroke-dashoffset"), _LENGTH),
    **dict.fromkeys(("fill-rule", "clip-rule", "stroke-linecap", "stroke-linejoin"), _KEYWORD),
    **dict.fromkeys(("display", "visibility"), _KEYWORD),
    "paint-order": re.compile(r"(?:\s*(?:normal|fill|stroke|markers)){1,3}"),
}
_ATTRIBUTES: Mapping[str, re.Pattern[str]] = {
    **dict.fromkeys(("x", "y", "width", "height", "cx", "cy", "r", "rx", "ry"), _LENGTH),
    **dict.fromkeys(("x1", "y1", "x2", "y2", "fx", "fy", "fr", "offset"), _LENGTH),
    **dict.fromkeys(("gradientUnits", "spreadMethod", "clipPathUnits"), _KEYWORD),
    **dict.fromkeys(("transform", "gradientTransform"), _TRANSFORM),
    "d": _PATH,
    "points": _NUMBERS,
}

# Properties that change the picture and are not taken over, with the values that change nothing.
_UNAVAILABLE: Mapping[str, tuple[frozenset[str], str]] = {
    "filter": (frozenset({"none"}), "filters are not allowed; leave the effect out"),
    "mask": (frozenset({"none"}), "masks are not allowed; use a clip path"),
    "mask-image": (frozenset({"none"}), "masks are not allowed; use a clip path"),
    **dict.fromkeys(
        ("marker", "marker-start", "marker-mid", "marker-end"),
        (frozenset({"none"}), f"markers are not allowed; {_PATHS}"),
    ),
    # Short dashes on a long line are millions of shapes.
    "stroke-dasharray": (frozenset({"none", ""}), f"dashes are not allowed; {_PATHS}"),
    "mix-blend-mode": (frozenset({"normal"}), "blend modes are not allowed; use plain colours"),
    **dict.fromkeys(
        ("animation", "animation-name", "transition"),
        (frozenset({"none"}), "animation is not allowed"),
    ),
}
_ONLY_IN_STYLE: Mapping[str, tuple[frozenset[str], str]] = {
    name: (frozenset({"none"}), f"the property {name} is not allowed in styles; write an attribute")
    for name in ("transform", "d", "clip")
} | {"clip": (frozenset({"auto"}), "the property clip is not allowed; use a clip path")}


class _Element(Struct):
    """An element to be written; `references` are the names that its attributes mention."""

    tag: str
    name: str | None
    attributes: dict[str, str]
    references: dict[str, str]
    children: list[_Element]

    def all(self) -> Iterator[_Element]:
        """It and everything in it."""
        yield self
        for child in self.children:
            yield from child.all()


def clean_svg(data: bytes) -> tuple[bytes, float, float]:
    """An SVG picture written anew, and its width and height in pixels of CSS.

    Raises ValueError with the reason for whatever cannot be taken over.
    """
    root = _parse(data)
    rules = _rules(root)
    picture = _Reader(rules).element(root, "", 0)
    _check_references(picture)
    box, width, height = _frame(root)
    _name_anew(picture)
    picture.attributes = {
        "viewBox": " ".join(_plain(number) for number in box),
        "width": _plain(width),
        "height": _plain(height),
        **picture.attributes,
    }
    text = "".join(_written(picture))
    _try(text, width, height)
    return text.encode(), width, height


def _parse(data: bytes) -> Any:
    if data[:2] == b"\x1f\x8b":
        raise ValueError("the file is compressed (svgz); save it as plain SVG")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("the file is not UTF-8; save it with that encoding") from None
    if "<?xml-stylesheet" in text:
        raise ValueError("style sheets in other files are not allowed")
    try:
        root = defusedxml.ElementTree.fromstring(_DOCTYPE.sub("", text, count=1), forbid_dtd=True)
    except DefusedXmlException:
        raise ValueError(
            "document types and entities (<!DOCTYPE, <!ENTITY) are not allowed; leave them out"
        ) from None
    except (defusedxml.ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"the file is not well-formed XML: {error}") from None
    if root.tag != f"{_SVG}svg":
        raise ValueError(
            f"the file is no SVG: it begins with <{_local(root)}>, not with "
            '<svg xmlns="http://www.w3.org/2000/svg">'
        )
    for element in root.iter():
        if element is not root and _tag(element) in _REFUSED:
            raise ValueError(f"<{_tag(element)}>: {_REFUSED[_tag(element)]}")
        if element.tag.startswith(_HTML):
            raise ValueError(f"<{_local(element)}>: embedded documents are not allowed")
    return root


class _Reader:
    """Takes over what is allowed of an element and of all that is in it."""

    def __init__(self, rules: Mapping[str, list[tuple[int, dict[str, str]]]]) -> None:
        self._rules = rules
        self._elements = 0
        self._text = 0

    def element(self, source: Any, parent: str, depth: int) -> _Element:
        """The element as it may be written; raises ValueError."""
        tag = _tag(source)
        if depth > MAX_DEPTH:
            raise ValueError(f"elements are nested deeper than {MAX_DEPTH}; ungroup some")
        self._elements += 1
        if self._elements > MAX_ELEMENTS:
            raise ValueError(_too_many())
        taken = _Element(tag, source.get("id"), {}, {}, [])
        given = self._attributes(source, tag)
        for name, value in given.items():
            self._take(taken, name, value)
        self._text += sum(map(len, taken.attributes.values()))
        if self._text > MAX_TEXT:
            raise ValueError(_too_many())
        allowed = _CHILDREN.get("svg" if tag in ("g", "defs") else tag, _NOTHING)
        for child in source:
            name = _tag(child)
            if not name or name in _SILENT or name in _ON_DEMAND:
                continue
            if name not in allowed:
                raise ValueError(f"<{name}> is not allowed in <{tag}>")
            taken.children.append(self.element(child, tag, depth + 1))
        return taken

    def _attributes(self, source: Any, tag: str) -> dict[str, str]:
        """What applies to the element: attributes, over them rules, over them its own style."""
        given: dict[str, str] = {}
        for key, value in source.attrib.items():
            name = key.removeprefix(_XLINK) if key == f"{_XLINK}href" else key
            if name.startswith("{"):
                continue
            if name.lower().startswith("on"):
                raise ValueError(f"the attribute {name} of <{tag}>: scripts are not allowed")
            if name == "href" and not value.strip().startswith("#"):
                raise ValueError(
                    f"<{tag}> refers to {_short(value)}; only parts of the file itself, such as "
                    "#name, may be referred to"
                )
            if name not in ("style", "class", "id"):
                _refuse_active(value, name)
                given[name] = value.strip()
        for declarations in self._matching(source, tag):
            given |= declarations
        return given | _declarations(source.get("style", ""))

    def _matching(self, source: Any, tag: str) -> Iterator[dict[str, str]]:
        classes = source.get("class", "").split()
        if len(classes) > MAX_CLASSES:
            raise ValueError(f"<{tag}> has more than {MAX_CLASSES} classes")
        keys = [["*", tag], [f".{c}" for c in classes] + [f"{tag}.{c}" for c in classes]]
        keys.append([f"#{source.get('id')}", f"{tag}#{source.get('id')}"])
        for level in keys:
            found = [rule for key in level for rule in self._rules.get(key, ())]
            for _, declarations in sorted(found, key=lambda rule: rule[0]):
                yield declarations

    def _take(self, taken: _Element, name: str, value: str) -> None:
        tag = taken.tag
        if name in _UNAVAILABLE:
            harmless, reason = _UNAVAILABLE[name]
            if value.lower() not in harmless:
                raise ValueError(reason)
        elif name == "clip-path":
            if value != "none":
                taken.references[name] = _reference(tag, name, value)[0]
        elif name == "href":
            if tag == "use" or tag in _GRADIENTS:
                taken.references[name] = value[1:]
        elif name in ("fill", "stroke") and value.lower().startswith("url"):
            taken.references[name], other = _reference(tag, name, value)
            if other is not None and _COLOR.fullmatch(other):
                taken.attributes[name] = other
        else:
            pattern = _PRESENTATION.get(name)
            if pattern is None and name in _OWN[tag]:
                pattern = _ATTRIBUTES[name]
            if pattern is None or value in ("inherit", "initial", "unset", "context-fill"):
                return
            long = len(value) > MAX_VALUE and pattern not in (_PATH, _NUMBERS, _TRANSFORM)
            if long or not pattern.fullmatch(value):
                raise ValueError(
                    f"the attribute {name} of <{tag}> is not understood: {_short(value)}"
                )
            _check_numbers(name, value)
            taken.attributes[name] = _unitless(value) if pattern is _LENGTH else value


def _rules(root: Any) -> dict[str, list[tuple[int, dict[str, str]]]]:
    """The declarations of all style sheets by selector, each with its place in the order."""
    rules: dict[str, list[tuple[int, dict[str, str]]]] = {}
    order = 0
    for sheet in root.iter(f"{_SVG}style"):
        if len(sheet) or sheet.get("type", "text/css") != "text/css":
            raise ValueError("<style>: only plain CSS is allowed")
        text = _uncommented(sheet.text or "")
        if _ACTIVE.search(text) or "@" in text or "<" in text:
            raise ValueError("<style>: @ rules, escapes and scripts are not allowed")
        for block in text.split("}"):
            selectors, brace, body = block.partition("{")
            if not brace:
                if block.strip():
                    raise ValueError(f"<style>: {_short(block.strip())} is not understood")
                continue
            declarations = _declarations(body)
            for selector in selectors.split(","):
                order += 1
                key = selector.strip()
                if order > MAX_RULES:
                    raise ValueError(f"<style>: there are more than {MAX_RULES} rules")
                if not re.fullmatch(r"\*|[A-Za-z]*(?:[.#][\w-]+)?", key) or not key:
                    raise ValueError(
                        f"<style>: the selector {_short(key)} is not understood; only names, "
                        ".classes and #ids are"
                    )
                rules.setdefault(key, []).append((order, declarations))
    return rules


def _declarations(text: str) -> dict[str, str]:
    """The declarations of a style attribute or of a rule that matter here."""
    found: dict[str, str] = {}
    for declaration in _uncommented(text).split(";"):
        name, colon, value = declaration.partition(":")
        name, value = name.strip().lower(), value.strip()
        if not colon:
            continue
        _refuse_active(value, name)
        if value.lower().endswith("!important"):
            value = value[: -len("!important")].rstrip()
        if name in _ONLY_IN_STYLE:
            harmless, reason = _ONLY_IN_STYLE[name]
            if value.lower() not in harmless:
                raise ValueError(reason)
        elif name in _PRESENTATION or name in _UNAVAILABLE or name == "clip-path":
            found[name] = value
    return found


def _uncommented(text: str) -> str:
    """CSS without its comments."""
    head, *rest = text.split("/*")
    return head + " ".join(part.partition("*/")[2] for part in rest)


def _refuse_active(value: str, name: str) -> None:
    if _OTHER_URL.search(value):
        raise ValueError(
            f"{_short(name)} refers to something outside the file: {_short(value)}; only parts of "
            "the file itself, such as url(#name), may be referred to"
        )
    if _ACTIVE.search(value):
        raise ValueError(f"{_short(name)}: {_short(value)} is not allowed")


def _reference(tag: str, name: str, value: str) -> tuple[str, str | None]:
    match = _URL.fullmatch(value)
    if match is None:
        raise ValueError(f"{name} of <{tag}> is not understood: {_short(value)}")
    return match[2], match[3]


def _check_numbers(name: str, value: str) -> None:
    if name in ("fill", "stroke", "color", "stop-color"):
        return
    for number in _NUMBER.findall(value):
        if not abs(float(number)) <= MAX_NUMBER:
            raise ValueError(f"{name} holds the number {_short(number)}; at most {MAX_NUMBER:.0f}")


def _check_references(picture: _Element) -> None:
    """Hold each reference to its kind, and all of them to a bounded amount of work."""
    named: dict[str, _Element] = {}
    for element in picture.all():
        if element.name is not None:
            named.setdefault(element.name, element)
    uses = 0
    for element in picture.all():
        for name, target in element.references.items():
            found = named.get(target)
            if found is None or found.tag not in _targets(element.tag, name):
                kinds = ", ".join(f"<{kind}>" for kind in sorted(_targets(element.tag, name)))
                raise ValueError(
                    f"{name} of <{element.tag}> refers to #{_short(target)[1:-1]}, which is none "
                    f"of {kinds} in this file"
                )
        if element.tag == "use":
            uses += 1
            if "href" not in element.references:
                raise ValueError("<use> refers to nothing")
            if any(part.tag == "use" for part in named[element.references["href"]].all()):
                raise ValueError("<use> refers to what holds another <use>; use shapes directly")
        if element.tag == "clipPath" and any(
            "clip-path" in part.references for part in element.all()
        ):
            raise ValueError("a clip path is clipped itself; clip its contents only once")
    if uses > MAX_USES:
        raise ValueError(f"{uses} <use> elements are too many; at most {MAX_USES}")
    _weigh(picture, named)


def _targets(tag: str, name: str) -> frozenset[str]:
    if name == "clip-path":
        return frozenset({"clipPath"})
    if name == "href" and tag == "use":
        return frozenset({*_SHAPES, "g"})
    return frozenset(_GRADIENTS)


def _weigh(picture: _Element, named: Mapping[str, _Element]) -> None:
    """Refuse what would be too much work if every reference were written out."""
    known: dict[int, tuple[int, int, int, int]] = {}

    def weight(element: _Element, chain: tuple[int, ...]) -> tuple[int, int, int, int]:
        if id(element) in chain:
            raise ValueError(f"<{element.tag}> refers to itself")
        if len(chain) > 2 * MAX_DEPTH:
            raise ValueError("references are nested too deeply")
        if id(element) not in known:
            inner = (*chain, id(element))
            parts = [*element.children, *(named[name] for name in element.references.values())]
            text = sum(map(len, element.attributes.values()))
            own = (1, text, int(_is_layer(element)), _points(element))
            weights = [own, *(weight(part, inner) for part in parts)]
            count, text, layers, points = map(sum, zip(*weights, strict=True))
            known[id(element)] = count, text, layers, points
        return known[id(element)]

    count, text, layers, points = weight(picture, ())
    if count > MAX_ELEMENTS or text > MAX_TEXT:
        raise ValueError(_too_many())
    if points > MAX_POINTS:
        raise ValueError(
            f"its paths have about {points} points, which take too long to draw; at most "
            f"{MAX_POINTS}, each counted as often as it is used; simplify the paths"
        )
    if layers > MAX_LAYERS:
        raise ValueError(
            f"{layers} elements with an opacity or a clip path are too many; at most {MAX_LAYERS}, "
            "each counted as often as it is used; use fill-opacity, or other colours"
        )


def _points(element: _Element) -> int:
    """About how many points the element's lines have: two numbers each, or a command."""
    text = element.attributes.get("d", "") + element.attributes.get("points", "")
    return max(len(_NUMBER.findall(text)) // 2, len(_COMMAND.findall(text)))


def _is_layer(element: _Element) -> bool:
    opacity = element.attributes.get("opacity", "1")
    return "clip-path" in element.references or opacity.rstrip("0").rstrip(".") not in ("1", "100%")


def _frame(root: Any) -> tuple[tuple[float, ...], float, float]:
    """The view box, and width and height in pixels; either may be made of the other."""
    width, height = (_pixels(root.get(name)) for name in ("width", "height"))
    text = root.get("viewBox")
    if text is None:
        if width is None or height is None:
            raise ValueError("the file says neither viewBox nor width and height; write one")
        box: tuple[float, ...] = (0.0, 0.0, width, height)
    else:
        if not _NUMBERS.fullmatch(text):
            raise ValueError(f"viewBox is not understood: {_short(text)}")
        box = tuple(float(number) for number in _NUMBER.findall(text))
        if len(box) != 4:
            raise ValueError(f"viewBox is not four numbers: {_short(text)}")
    if width is None or height is None:
        width, height = box[2:]
    smallest, largest = sorted((width, height))
    if not all(abs(number) <= MAX_NUMBER for number in (*box, largest)):
        raise ValueError(f"width, height or viewBox is too large; at most {MAX_NUMBER:.0f}")
    if min(smallest, *box[2:]) < 1 / MAX_NUMBER:
        raise ValueError("width, height or viewBox is empty; it has to be more than 0")
    if largest > MAX_RATIO * smallest:
        raise ValueError(
            f"the picture is {_plain(width)} by {_plain(height)}; one side may be at most "
            f"{MAX_RATIO} times the other"
        )
    return box, width, height


def _pixels(text: str | None) -> float | None:
    """A length in pixels; None where there is none, or one that depends on the surroundings."""
    if text is None or text.strip() in ("", "auto"):
        return None
    match = _LENGTH.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"width or height is not understood: {_short(text)}")
    if match[2] == "%":
        return None
    number = float(match[1]) * _PIXELS[match[2] or ""]
    if not math.isfinite(number):
        raise ValueError("width or height is too large")
    return number


def _unitless(text: str) -> str:
    """A length in pixels: renderers differ in how many of them they take for a millimetre."""
    match = _LENGTH.fullmatch(text)
    assert match is not None
    if match[2] in (None, "%"):
        return text
    return _plain(float(match[1]) * _PIXELS[match[2]])


def _name_anew(picture: _Element) -> None:
    """Give what is referred to names of our own: those of a stranger may clash, or mean things."""
    wanted = {name for element in picture.all() for name in element.references.values()}
    names: dict[str, str] = {}
    for element in picture.all():
        if element.name in wanted and element.name not in names:
            names[element.name] = element.attributes["id"] = f"logo-{len(names) + 1}"
    for element in picture.all():
        for attribute, name in element.references.items():
            if attribute == "href":
                element.attributes["xlink:href"] = f"#{names[name]}"
            else:
                other = element.attributes.get(attribute)
                reference = f"url(#{names[name]})"
                element.attributes[attribute] = f"{reference} {other}" if other else reference


def _written(element: _Element, *, root: bool = True) -> Iterator[str]:
    yield f"<{element.tag}"
    if root:
        yield ' xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    for name, value in element.attributes.items():
        yield f' {name}="{escape(" ".join(value.split()))}"'
    if not element.children:
        yield "/>"
        return
    yield ">"
    for child in element.children:
        yield from _written(child, root=False)
    yield f"</{element.tag}>"


def _try(text: str, width: float, height: float) -> None:
    """Draw the picture once, small: refuse what fails, and what draws nothing."""
    longer = "width" if width >= height else "height"
    try:
        drawn = resvg_py.svg_to_bytes(
            svg_string=text,
            skip_system_fonts=True,
            **{longer: _TRIAL},  # type: ignore[arg-type]
        )
    except Exception as error:
        raise ValueError(f"the picture cannot be drawn: {error}") from error
    except BaseException as error:
        # What the renderer's own language calls a panic is no Exception in ours.
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError("the picture cannot be drawn") from error
    with Image.open(BytesIO(drawn)) as image:
        if image.convert("RGBA").getchannel("A").getbbox() is None:
            raise ValueError("the picture draws nothing within its viewBox")


def _tag(element: Any) -> str:
    """The name of an element of SVG; nothing for those of other kinds."""
    tag: str = element.tag
    return tag.removeprefix(_SVG) if tag.startswith(_SVG) else ""


def _local(element: Any) -> str:
    return _short(element.tag.rpartition("}")[2])[1:-1]


def _plain(number: float) -> str:
    return f"{number:.6f}".rstrip("0").rstrip(".")


def _short(text: str) -> str:
    return ascii(text if len(text) <= 60 else f"{text[:57]}...")


def _too_many() -> str:
    return (
        f"the picture is too complex: at most {MAX_ELEMENTS} elements and {MAX_TEXT} characters in "
        "them, each counted as often as it is used; simplify it"
    )
