"""Value objects as tests need them: whole, plain, and changed where the test says so."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from msgspec.structs import replace

from core.domain.codes import Code

NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)


def make_code(organization_id: UUID, **values: Any) -> Code:
    """A code that leads somewhere, with an id and a slug of its own."""
    code = Code(
        id=uuid4(),
        organization_id=organization_id,
        slug=uuid4().hex,
        destination="https://example.com/menu",
        title="",
        tags=(),
        active=True,
        valid_from=None,
        valid_until=None,
        max_scans=None,
        forward_query=False,
        style=None,
        revision=1,
        created_at=NOON,
        updated_at=NOON,
    )
    return replace(code, **values)
