"""Draws symbols through the encoder and the renderers, and keeps what was drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from hashlib import blake2b

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from core.domain.images import (
    ANY,
    Drawing,
    ErrorCorrection,
    ImageOptions,
    Limits,
    Picture,
    Symbol,
    SymbolKind,
    lay_out,
    smallest_size,
)
from core.domain.logos import Logo
from core.domain.looks import PLAIN, Look, changed
from core.errors import FieldProblem, InvalidFields
from core.ports import Cache, Encoder, Renderer
from core.services.offload import Offload, call_inline
from core.services.scannability import Scannability
from core.settings import CacheSettings, ImagesSettings

# Pixels a module of what is printed by lines: as many as the proof of a look draws at most.
_PRINTED_SCALE = 12

_Problems = tuple[FieldProblem, ...]


class Plan(Struct, frozen=True, dict=True):
    """An image that is to be drawn: what it encodes, how, and what is told to those who cannot see.

    `logo` is the one that `look.logo` names, `limits` are those of the content. `drawn_by` are the
    fingerprints of encoder and renderer, `proven_by` is that of the scannability guard.
    """

    content: str
    options: ImageOptions
    look: Look
    logo: Logo | None
    title: str
    drawn_by: tuple[str, str]
    proven_by: str
    limits: Limits = ANY

    @property
    def entity_tag(self) -> str:
        """The strong entity tag (RFC 9110, 8.8.3), quotes included, from the inputs alone."""
        return f'"{self.key}"'

    @cached_property
    def key(self) -> str:
        """Differs wherever the bytes may. `download` changes a header, and has no part in it."""
        options = self.options
        return _digest(
            *self.drawn_by, options.format, options.printed_mm, self.title, *self._seen()
        )

    @cached_property
    def verdict_key(self) -> str:
        """Differs wherever one image may be scannable and another one not."""
        return _digest(self.drawn_by[0], self.proven_by, *self._seen())

    def _seen(self) -> Sequence[object]:
        options = self.options
        asked = (options.size, options.error_correction, options.margin, options.symbol)
        return (self.content, *asked, self.limits.max_version, self.look)


class ImageService:
    """Images of any content; knows nothing of codes or organisations."""

    def __init__(
        self,
        encoder: Encoder,
        renderers: Mapping[str, Renderer],
        cache: Cache,
        settings: ImagesSettings,
        cache_settings: CacheSettings,
    ) -> None:
        self._encoder = encoder
        self._renderers = renderers
        self._cache = cache
        self._settings = settings
        self._ttl = cache_settings.image_ttl
        self._offload: Offload = call_inline
        self._scannability = Scannability(renderers.get("png"), settings.min_contrast)
        self._proven_by = f"{settings.min_contrast}" + (
            renderers["png"].fingerprint if "png" in renderers else ""
        )
        # Other sizes and formats of a code have the symbol in common, which takes the longest.
        self._symbol = lru_cache(settings.max_symbols)(self._encode)

    def open(self, offload: Offload) -> None:
        """Get ready: `offload` does the drawing from now on, some images at a time."""
        self._offload = offload

    def check(self, options: ImageOptions) -> None:
        """Raise InvalidFields for a format or symbol not offered, or a size out of bounds."""
        problems = []
        if options.format not in self._renderers:
            enabled = ", ".join(sorted(self._renderers))
            problems.append(
                FieldProblem("format", f"{options.format!r} is unknown; enabled are: {enabled}")
            )
        smallest, largest = self._settings.min_size, self._settings.max_size
        if not smallest <= options.size <= largest:
            problems.append(
                FieldProblem("size", f"{options.size} is not within {smallest} to {largest} pixels")
            )
        if options.dpi is not None and options.width_mm is not None:
            problems.append(
                FieldProblem("dpi", "dpi and width_mm both say how large the print is; give one")
            )
        if options.symbol not in self._encoder.kinds:
            problems.append(
                FieldProblem(
                    "symbol",
                    f"{options.symbol.value!r} is not made by the encoder in use, "
                    f"{self._settings.encoder}; leave it out for a QR code",
                )
            )
        if problems:
            raise InvalidFields(problems)

    def check_length(self, content: str) -> None:
        """Raise InvalidFields for content that is longer than the setting allows."""
        size = len(content.encode())
        if size > self._settings.max_content:
            most = self._settings.max_content
            raise InvalidFields.of(
                "content", f"{size} bytes are too many; at most {most} (setting images.max_content)"
            )

    def check_content(self, content: str, limits: Limits = ANY) -> None:
        """Raise InvalidFields for content that no symbol within `limits` can hold."""
        self.check_length(content)
        try:
            self._offload(self._symbol_within, limits, content, limits.lowest, SymbolKind.QR)
        except ValueError as error:
            raise InvalidFields.of("content", str(error)) from error

    def plan(
        self,
        content: str,
        options: ImageOptions,
        look: Look = PLAIN,
        logo: Logo | None = None,
        title: str = "QR code",
        limits: Limits = ANY,
    ) -> Plan:
        """The plan of an image; raises InvalidFields as `check` does."""
        self.check(options)
        options = limits.of(options)
        if look.logo is not None:
            if options.symbol is SymbolKind.MICRO:
                reason = "a Micro QR code is too small for a logo; use symbol=qr or logo=none"
                raise InvalidFields.of("logo", reason)
            options = replace(options, error_correction=ErrorCorrection.H)
        else:
            # A size without a logo shows nothing, and asks for no proof.
            look = replace(look, logo_size=PLAIN.logo_size)
        fingerprints = (
            self._encoder.fingerprint,
            self._renderers[options.format].fingerprint,
        )
        return Plan(content, options, look, logo, title, fingerprints, self._proven_by, limits)

    def plan_code(
        self, link: str, options: ImageOptions, look: Look = PLAIN, logo: Logo | None = None
    ) -> Plan:
        """The plan of the image of a code, which tells its link to those who cannot see it."""
        return self.plan(link, options, look, logo, f"QR code: {link}")

    def picture(self, plan: Plan) -> Picture:
        """The image; raises InvalidFields where content, level, size and look do not fit."""
        renderer = self._renderers[plan.options.format]
        key = f"image:{plan.key}"
        data = self._cache.get(key)
        if data is None:
            if plan.look != PLAIN:
                self._demand_proof(plan)
            data = self._offload(self.draw, plan)
            self._cache.set(key, data, self._ttl)
        return Picture(data, renderer.media_type)

    def pictures(self, plans: Sequence[Plan | InvalidFields]) -> Sequence[bytes | InvalidFields]:
        """Some images at once, or what keeps each from being drawn; none of them is kept.

        So the images of an archive do not push out those that are asked for every day.
        """
        proven = [self._proven(plan) for plan in plans]
        if all(isinstance(plan, InvalidFields) or plan.look == PLAIN for plan in proven):
            return self._offload(self._draw_all, proven)
        # A look takes up to half a second, so that others get their turn after each.
        return [self._offload(self._draw_all, [plan])[0] for plan in proven]

    def to_print(self, plan: Plan) -> Drawing:
        """The drawing of an image that is printed by lines, with no margin but the one asked for.

        Its size in pixels is as it comes. Raises InvalidFields as `picture` does.
        """
        options, caption = plan.options, bool(plan.look.caption)
        symbol = self._offload(self._symbol_of, plan)
        size = _PRINTED_SCALE * smallest_size(symbol, options.margin, caption=caption)
        plan = replace(plan, options=replace(options, size=size))
        if plan.look != PLAIN:
            self._demand_proof(plan)
        return self._drawing(plan)

    def draw(self, plan: Plan) -> bytes:
        """The image drawn here and now, with no regard to the cache and without any proof."""
        try:
            return self._renderers[plan.options.format].render(self._drawing(plan))
        except ValueError as error:
            raise InvalidFields.of("format", str(error)) from error

    def prove(self, content: str, look: Look, logo: Logo | None) -> None:
        """Raise InvalidFields, with the reason and a way out, where a look cannot be scanned."""
        if look != PLAIN:
            options = ImageOptions(format=next(iter(self._renderers)))
            self._demand_proof(self.plan(content, options, look, logo))

    def offline(
        self, content: str, options: ImageOptions, logo: Logo | None, limits: Limits = ANY
    ) -> Picture:
        """The image of a look that no organisation keeps; proven, like every other."""
        self.check_length(content)
        look = changed(PLAIN, options)
        if logo is not None:
            look = replace(look, logo=logo.info.id)
        return self.picture(self.plan(content, options, look, logo, limits=limits))

    def format_of(self, extension: str) -> str | None:
        """The format whose files end like this."""
        for name, renderer in self._renderers.items():
            if extension in (name, renderer.extension):
                return name
        return None

    def media_type(self, image_format: str) -> str:
        """The media type of images of this format."""
        return self._renderers[image_format].media_type

    def extension(self, image_format: str) -> str:
        """How the names of files of this format end."""
        return self._renderers[image_format].extension

    def _proven(self, plan: Plan | InvalidFields) -> Plan | InvalidFields:
        if isinstance(plan, Plan) and plan.look != PLAIN:
            try:
                self._demand_proof(plan)
            except InvalidFields as error:
                return error
        return plan

    def _draw_all(self, plans: Sequence[Plan | InvalidFields]) -> Sequence[bytes | InvalidFields]:
        drawn: list[bytes | InvalidFields] = []
        for plan in plans:
            try:
                drawn.append(self.draw(plan) if isinstance(plan, Plan) else plan)
            except InvalidFields as error:
                drawn.append(error)
        return drawn

    def _demand_proof(self, plan: Plan) -> None:
        key = f"verdict:{plan.verdict_key}"
        known = self._cache.get(key)
        if known is None:
            problems = self._offload(self._judge, plan)
            self._cache.set(key, msgspec.json.encode(problems), self._ttl)
        else:
            problems = msgspec.json.decode(known, type=_Problems)
        if problems:
            raise InvalidFields(problems)

    def _judge(self, plan: Plan) -> _Problems:
        try:
            self._scannability.check(self._drawing(plan), plan.content)
        except InvalidFields as error:
            return error.problems
        return ()

    def _drawing(self, plan: Plan) -> Drawing:
        options = plan.options
        symbol = self._symbol_of(plan)
        try:
            layout = lay_out(symbol, options.size, options.margin, caption=bool(plan.look.caption))
        except ValueError as error:
            raise InvalidFields.of("size", str(error)) from error
        return Drawing(symbol, layout, plan.look, plan.logo, options.printed_mm, plan.title)

    def _symbol_of(self, plan: Plan) -> Symbol:
        options, limits = plan.options, plan.limits
        content, level = plan.content, options.error_correction
        try:
            return self._symbol_within(limits, content, level, options.symbol)
        except ValueError as error:
            if options.symbol is SymbolKind.QR:
                # The content itself is to blame where the lowest level does not hold it either.
                try:
                    self._symbol_within(limits, content, limits.lowest, SymbolKind.QR)
                except ValueError as lowest:
                    raise InvalidFields.of("content", str(lowest)) from lowest
            if plan.look.logo is not None:
                reason = f"a logo needs error correction {level.value}, and {error}; use logo=none"
                raise InvalidFields.of("logo", reason) from error
            raise InvalidFields.of("error_correction", str(error)) from error

    def _symbol_within(
        self, limits: Limits, content: str, level: ErrorCorrection, kind: SymbolKind
    ) -> Symbol:
        """The symbol; raises ValueError where the content does not fit into one so large."""
        symbol = self._symbol(content, level, kind)
        if symbol.version > limits.max_version:
            raise ValueError(
                f"a symbol of version {symbol.version} is needed at level {level.value}; such "
                f"content may have version {limits.max_version} at most (at {limits.lowest.value} "
                "or more): take a lower level, or shorten it"
            )
        return symbol

    def _encode(self, content: str, level: ErrorCorrection, kind: SymbolKind) -> Symbol:
        return self._encoder.encode(
            content, level, kind, boost=self._settings.boost_error_correction
        )


def _digest(*parts: object) -> str:
    return blake2b(msgspec.msgpack.encode(parts), digest_size=16).hexdigest()
