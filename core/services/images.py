"""Draws symbols through the encoder and the renderers, and keeps what was drawn."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

from core.domain.images import Drawing, ErrorCorrection, ImageOptions, Picture, lay_out
from core.errors import FieldProblem, InvalidFields
from core.ports import Cache, Encoder, Renderer
from core.services.offload import Offload, call_inline
from core.settings import CacheSettings, ImagesSettings


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

    def open(self, offload: Offload) -> None:
        """Get ready: `offload` does the drawing from now on, some images at a time."""
        self._offload = offload

    def check(self, options: ImageOptions) -> None:
        """Raise InvalidFields for a format that is not offered or a size out of bounds."""
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
        if problems:
            raise InvalidFields(problems)

    def check_content(self, content: str) -> None:
        """Raise InvalidFields for content that no symbol can hold, at whatever level."""
        size = len(content.encode())
        if size > self._settings.max_content:
            raise InvalidFields.of(
                "content", f"{size} bytes are too many; at most {self._settings.max_content}"
            )
        try:
            self._encoder.encode(content, ErrorCorrection.L)
        except ValueError as error:
            raise InvalidFields.of("content", str(error)) from error

    def entity_tag(self, content: str, options: ImageOptions) -> str:
        """The strong entity tag (RFC 9110, 8.8.3), quotes included, from the inputs alone."""
        return f'"{self._key(content, options)}"'

    def picture(self, content: str, options: ImageOptions) -> Picture:
        """The image; raises InvalidFields where content, level and size do not go together."""
        renderer = self._renderers[options.format]
        key = f"image:{self._key(content, options)}"
        data = self._cache.get(key)
        if data is None:
            data = self._offload(self._draw, renderer, content, options)
            self._cache.set(key, data, self._ttl)
        return Picture(data, renderer.media_type)

    def _draw(self, renderer: Renderer, content: str, options: ImageOptions) -> bytes:
        try:
            symbol = self._encoder.encode(content, options.error_correction)
        except ValueError as error:
            raise InvalidFields.of("error_correction", str(error)) from error
        try:
            layout = lay_out(symbol, options.size, options.margin)
        except ValueError as error:
            raise InvalidFields.of("size", str(error)) from error
        return renderer.render(Drawing(symbol, layout))

    def _key(self, content: str, options: ImageOptions) -> str:
        # `download` changes a header, not the image, and so has no part in this.
        inputs = "\n".join(
            (
                self._encoder.fingerprint,
                self._renderers[options.format].fingerprint,
                options.format,
                str(options.size),
                options.error_correction.value,
                str(options.margin),
                content,
            )
        )
        return blake2b(inputs.encode(), digest_size=16).hexdigest()
