"""Logos: small pictures that an organisation uploads to have them drawn into its codes."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct


class LogoType(enum.StrEnum):
    """The media types that a logo may have."""

    PNG = "image/png"
    SVG = "image/svg+xml"


LogoName = Annotated[str, Meta(min_length=1, max_length=100)]


class LogoInfo(Struct, frozen=True):
    """What is known of a logo; its picture never changes, another one is another logo.

    `width` and `height` are in pixels (PNG) or user units (SVG): what matters is their ratio.
    """

    id: UUID
    organization_id: UUID
    name: str
    media_type: LogoType
    width: float
    height: float
    created_at: datetime


class Logo(Struct, frozen=True):
    """A logo with its picture, which has been checked and rewritten: safe to embed as it is."""

    info: LogoInfo
    data: bytes
