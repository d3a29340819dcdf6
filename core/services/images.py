"""Draws symbols through the encoder and the renderers, and keeps what was drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from uuid import UUID

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
from core.domain.looks import PLAIN, Look, LookOptions, changed
from core.errors import FieldProblem, InvalidFields
from core.ports import Encoder, Renderer
from core.services.flights import Flights
from core.services.meters import Namespace
from core.services.offload import Admission, Offload, call_inline
from core.services.scannability import Alike, Scannability
from core.services.spaces import Spaces, digest
from core.settings import CacheSettings, ImagesSettings

# Pixels a module of what is printed by lines: as many as the proof of a look draws at most.
_PRINTED_SCALE = 12

# The format of the pictures that the proof of a look reads.
_READ = "png"

# ISO/IEC 18004, table 7: what version 40 holds at level L.
_MOST_HELD = "2953 bytes, 4296 capitals and digits, or 7089 digits"

_Problems = tuple[FieldProblem, ...]
_Verdict = tuple[bytes | None, _Problems]

_decode_problems = msgspec.json.Decoder(_Problems).decode


class Plan(Struct, frozen=True, dict=True):
    """An image that is to be drawn: what it encodes, how, and what is told to those who cannot see.

    `logo` gives the one that `look.logo` names: a plan is kept for longer than a picture needs to
    be in memory. `limits` are those of the content. `drawn_by` are the fingerprints of encoder and
    renderer, `proven_by` is that of the scannability guard.
    """

    content: str
    options: ImageOptions
    look: Look
    logo: Callable[[], Logo | None]
    title: str
    drawn_by: tuple[str, str]
    proven_by: str
    limits: Limits = ANY

    @cached_property
    def entity_tag(self) -> str:
        """The strong entity tag (RFC 9110, 8.8.3), quotes included, from the inputs alone."""
        return f'"{self.key}"'

    @cached_property
    def key(self) -> str:
        """Differs wherever the bytes may. `download` changes a header, and has no part in it."""
        options = self.options
        # An image that the guard would refuse by now has no tag that somebody might know.
        proven_by = "" if self.look == PLAIN else self.proven_by
        return digest(
            *self.drawn_by, proven_by, options.format, options.printed_mm, self.title, *self._seen()
        )

    @cached_property
    def verdict_key(self) -> str:
        """Differs wherever one image may be scannable and another one not."""
        return digest(self.drawn_by[0], self.proven_by, *self._seen())

    @property
    def styled(self) -> bool:
        """Whether a preset has a part in the look."""
        return self.look not in (PLAIN, _shown(changed(PLAIN, self.options)))

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
        spaces: Spaces,
        settings: ImagesSettings,
        cache_settings: CacheSettings,
    ) -> None:
        self._encoder = encoder
        self._renderers = renderers
        self._images = spaces[Namespace.IMAGE]
        self._proofs = spaces[Namespace.PROOF]
        self._flights: Flights[bytes] = Flights(spaces.cache)
        self._settings = settings
        self._ttl = cache_settings.image_ttl
        self._offload: Offload = call_inline
        self._admission = Admission(settings.max_waiting, "images.max_waiting")
        self._scannability = Scannability(renderers.get(_READ), settings.min_contrast)
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
                "content",
                f"{size} bytes are too many; at most {most} (setting images.max_content), and the "
                f"largest symbol holds {_MOST_HELD}; shorten it",
            )

    def check_content(self, content: str, limits: Limits = ANY) -> None:
        """Raise InvalidFields for content that no symbol within `limits` can hold."""
        self.check_length(content)
        try:
            with self._admission.one():
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
                raise InvalidFields.of(
                    "symbol",
                    f"a Micro QR code is too small for a logo; take symbol=qr, or {self._no_logo}",
                )
            options = replace(options, error_correction=ErrorCorrection.H)
        else:
            look = _shown(look)
        fingerprints = (
            self._encoder.fingerprint,
            self._renderers[options.format].fingerprint,
        )
        return Plan(
            content,
            options,
            look,
            lambda: logo,
            title,
            fingerprints,
            self._scannability.fingerprint,
            limits,
        )

    def plan_code(
        self, link: str, options: ImageOptions, look: Look = PLAIN, logo: Logo | None = None
    ) -> Plan:
        """The plan of the image of a code, which tells its link to those who cannot see it."""
        return self.plan(link, options, look, logo, f"QR code: {link}")

    def picture(
        self,
        plan: Plan,
        organization_id: UUID | None = None,
        allow: Callable[[], object] | None = None,
    ) -> Picture:
        """The image; raises InvalidFields where content, level, size and look do not fit.

        Raises Overloaded where too many wait to be drawn.

        It is kept for the organisation; without one nothing is kept. `allow` is called where it has
        to be drawn, and raises where that must not be.
        """
        media_type = self._renderers[plan.options.format].media_type
        if organization_id is None:
            return Picture(self._made(plan, None), media_type)
        images = self._images
        key = images.key(organization_id, plan.key)
        data = images.find(key, _whole)
        if data is None:
            # NOTE: not only where it is drawn, for all who wait would be refused with that one.
            if allow is not None:
                allow()

            def make() -> bytes:
                data = self._made(plan, organization_id)
                images.keep(organization_id, key, data, self._ttl)
                return data

            data = self._flights.run(key, lambda: images.peek(key, _whole), make)
        return Picture(data, media_type)

    def pictures(
        self, plans: Sequence[Plan | InvalidFields], alike: Alike
    ) -> Sequence[bytes | InvalidFields]:
        """Some images at once, or what keeps each from being drawn.

        Whoever asks for many keeps `alike`, empty at first, so that one look is proven once.

        Neither they nor their verdicts are kept, so that an archive does not push out what is asked
        for every day.
        """
        if all(isinstance(plan, InvalidFields) or plan.look == PLAIN for plan in plans):
            return self._offload(self._draw_all, plans, alike)
        # The proof of a look takes up to a tenth of a second, so that others get their turn.
        return [self._offload(self._draw_all, [plan], alike)[0] for plan in plans]

    def to_print(self, plan: Plan, alike: Alike) -> Drawing:
        """The drawing of an image that is printed by lines, with no margin but the one asked for.

        Its size in pixels is as it comes, and its verdict is not kept; `alike` is as for
        `pictures`. Raises InvalidFields as `picture` does.
        """
        options, caption = plan.options, bool(plan.look.caption)
        symbol = self._offload(self._symbol_of, plan)
        size = _PRINTED_SCALE * smallest_size(symbol, options.margin, caption=caption)
        plan = replace(plan, options=replace(options, size=size))
        drawing = self._drawing(plan)
        if plan.look != PLAIN:
            self._offload(self._read, plan, drawing, alike)
        return drawing

    def draw(self, plan: Plan) -> bytes:
        """The image drawn here and now, with no regard to the cache and without any proof."""
        renderer, drawing = self._renderers[plan.options.format], self._drawing(plan)
        try:
            return renderer.render(drawing)
        except ValueError as error:
            reason = str(error)
            if plan.styled:
                try:
                    renderer.render(replace(drawing, look=PLAIN, logo=None))
                except ValueError:
                    pass
                else:
                    reason += "; style=plain leaves out the look of the preset"
            raise InvalidFields.of("format", reason) from error

    def prove(self, content: str, look: Look, logo: Logo | None) -> None:
        """Raise InvalidFields, with the reason and a way out, where a look cannot be scanned."""
        if look != PLAIN:
            options = ImageOptions(format=next(iter(self._renderers)))
            plan = self.plan(content, options, look, logo)
            with self._admission.one():
                self._offload(self._scannability.check, self._drawing(plan), content)

    def offline(
        self, content: str, options: ImageOptions, logo: Logo | None, limits: Limits = ANY
    ) -> Picture:
        """The image of a look that no organisation keeps; proven, like every other."""
        self.check_length(content)
        look = changed(PLAIN, options)
        if logo is not None:
            look = replace(look, logo=logo.info.id)
            options = replace(options, logo=str(logo.info.id))
        return self.picture(self.plan(content, options, look, logo, limits=limits))

    def private_svg(self, content: str) -> str | None:
        """The plain image of a secret, which is remembered nowhere; None where nobody draws SVG."""
        if "svg" not in self._renderers:
            return None
        plan = self.plan(content, ImageOptions(format="svg"), PLAIN, None)

        def draw() -> bytes:
            symbol = self._encode(content, plan.options.error_correction, plan.options.symbol)
            return self._renderers["svg"].render(self._laid_out(plan, symbol))

        with self._admission.one():
            return self._offload(draw).decode()

    @property
    def formats(self) -> Mapping[str, str]:
        """The media type of each format that is offered."""
        return {name: renderer.media_type for name, renderer in sorted(self._renderers.items())}

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

    def _draw_all(
        self, plans: Sequence[Plan | InvalidFields], alike: Alike
    ) -> Sequence[bytes | InvalidFields]:
        drawn: list[bytes | InvalidFields] = []
        for plan in plans:
            try:
                drawn.append(self._draw_proven(plan, alike) if isinstance(plan, Plan) else plan)
            except InvalidFields as error:
                drawn.append(error)
        return drawn

    def _draw_proven(self, plan: Plan, alike: Alike) -> bytes:
        if plan.look != PLAIN:
            picture = self._read(plan, self._drawing(plan), alike)
            if plan.options.format == _READ:
                return picture
        return self.draw(plan)

    def _made(self, plan: Plan, organization_id: UUID | None) -> bytes:
        """The image drawn now; what is not plain is proven, or was before."""
        with self._admission.one():
            # Here, because it may come from the database: no thread that draws can ask that.
            logo = plan.logo()
            plan, picture = replace(plan, logo=lambda: logo), None
            if plan.look != PLAIN:
                picture, problems = self._verdict(plan, organization_id)
                if problems:
                    raise InvalidFields(problems)
            if picture is None or plan.options.format != _READ:
                picture = self._offload(self.draw, plan)
            return picture

    def _verdict(self, plan: Plan, organization_id: UUID | None) -> _Verdict:
        """What the guard says, and has said to the organisation; no picture where none was read."""
        if organization_id is None:
            return self._offload(self._judge, plan)
        key = self._proofs.key(organization_id, plan.verdict_key)
        problems = self._proofs.find(key, _decode_problems)
        if problems is not None:
            return None, problems
        picture, problems = self._offload(self._judge, plan)
        self._proofs.keep(organization_id, key, msgspec.json.encode(problems), self._ttl)
        return picture, problems

    def _judge(self, plan: Plan) -> _Verdict:
        try:
            return self._read(plan, self._drawing(plan)), ()
        except InvalidFields as error:
            return None, error.problems

    def _read(self, plan: Plan, drawing: Drawing, alike: Alike | None = None) -> bytes:
        """The picture of a drawing that the guard has read; raises InvalidFields."""
        try:
            return self._scannability.check(drawing, plan.content, alike)
        except InvalidFields as error:
            raise self._possible(error, plan) from error

    def _possible(self, error: InvalidFields, plan: Plan) -> InvalidFields:
        """The same error where it advises nothing that would be refused, else with a way out."""
        if self._settings.ad_hoc_styles or not plan.styled:
            return error
        way = (
            "; only presets are allowed here (setting images.ad_hoc_styles): have this one "
            "changed, or take style=plain"
        )
        return InvalidFields(
            [
                FieldProblem(found.field, found.message + way)
                if found.field in LookOptions.__struct_fields__
                else found
                for found in error.problems
            ]
        )

    def _drawing(self, plan: Plan) -> Drawing:
        return self._laid_out(plan, self._symbol_of(plan))

    def _laid_out(self, plan: Plan, symbol: Symbol) -> Drawing:
        options = plan.options
        try:
            layout = lay_out(symbol, options.size, options.margin, caption=bool(plan.look.caption))
        except ValueError as error:
            raise InvalidFields.of("size", str(error)) from error
        return Drawing(symbol, layout, plan.look, plan.logo(), options.printed_mm, plan.title)

    def _symbol_of(self, plan: Plan) -> Symbol:
        options, limits = plan.options, plan.limits
        content, level = plan.content, options.error_correction
        try:
            return self._symbol_within(limits, content, level, options.symbol)
        except ValueError as error:
            # The kind, or the content itself, is to blame where no level holds it.
            field = "symbol" if options.symbol is SymbolKind.MICRO else "content"
            reason = str(error)
            try:
                self._symbol_within(limits, content, limits.lowest, options.symbol)
            except ValueError:
                pass
            else:
                field = "error_correction"
                if plan.look.logo is not None:
                    # The level is not to be had with a logo: what it would be good for is left out.
                    field, (fact, _, _) = "logo", reason.partition(";")
                    reason = (
                        f"a logo needs error correction {level.value}, and {fact}; shorten it, or "
                        f"take {self._no_logo}"
                    )
            raise InvalidFields.of(field, reason) from error

    @property
    def _no_logo(self) -> str:
        """What leaves out a logo, which may be that of a preset."""
        return "logo=none" if self._settings.ad_hoc_styles else "style=plain"

    def _symbol_within(
        self, limits: Limits, content: str, level: ErrorCorrection, kind: SymbolKind
    ) -> Symbol:
        """The symbol; raises ValueError where the content does not fit into one so large."""
        symbol = self._symbol(content, level, kind)
        if symbol.version > limits.max_version:
            raise ValueError(
                f"a symbol of version {symbol.version} is needed at level {level.value}, and such "
                f"content may have version {limits.max_version} at most; take a lower level "
                f"({limits.lowest.value} or more), or shorten it"
            )
        return symbol

    def _encode(self, content: str, level: ErrorCorrection, kind: SymbolKind) -> Symbol:
        return self._encoder.encode(
            content, level, kind, boost=self._settings.boost_error_correction
        )


def _whole(data: bytes) -> bytes:
    return data


def _shown(look: Look) -> Look:
    """The same look; the size of no logo, which shows nothing, asks for no proof and is no look."""
    if look.logo is not None or look.logo_size == PLAIN.logo_size:
        return look
    return replace(look, logo_size=PLAIN.logo_size)
