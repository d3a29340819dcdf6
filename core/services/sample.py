"""A sample organisation with months of plausible scans, to look around in."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from core.domain.accounts import Organization, OrganizationDraft, User
from core.domain.audit import Origin
from core.domain.codes import Code, CodeDraft
from core.domain.scans import Scan
from core.services import Services

BATCH = 1000

_CODES = (
    ("Menu", "menu", ("restaurant",), 34.0),
    ("Table reservation", "reserve", ("restaurant",), 9.0),
    ("Spring poster", "spring", ("poster", "campaign"), 21.0),
    ("Autumn poster", "autumn", ("poster", "campaign"), 12.0),
    ("Business card", "card", ("office",), 3.0),
    ("Guest Wi-Fi help", "wifi", ("office",), 6.0),
    ("Feedback", "feedback", ("restaurant",), 4.0),
    ("Van, left door", "van", ("vehicle",), 2.0),
)
_BY_HOUR = (1, 1, 0, 0, 0, 1, 2, 5, 8, 9, 10, 14, 18, 14, 9, 8, 9, 12, 17, 18, 13, 8, 5, 2)
_BY_WEEKDAY = (0.8, 0.8, 0.9, 1.0, 1.3, 1.5, 1.0)
_COUNTRIES = {"DE": 60, "AT": 12, "CH": 9, "NL": 6, "FR": 5, "US": 4, "": 4}
_DEVICES = {"mobile": 88, "tablet": 7, "desktop": 5}
_SYSTEMS = {"iOS": 52, "Android": 42, "Windows": 4, "macOS": 2}
_BROWSERS = {"Safari": 50, "Chrome": 36, "Samsung Internet": 7, "Firefox": 4, "Edge": 3}
_LANGUAGES = {"de": 78, "en": 14, "fr": 4, "nl": 4}
_BOT_SHARE = 0.06
_RETURNING = 0.25


def create_organization(
    services: Services, owner: User, by: Origin
) -> tuple[Organization, list[Code]]:
    """The sample organisation and its codes; raises Conflict where there is one already."""
    organization = services.organizations.found(
        OrganizationDraft(name="Sample Restaurant", slug="sample"), owner, by=by
    )
    drafts = [
        CodeDraft(
            destination=f"https://example.com/{slug}",
            slug=f"sample-{slug}",
            title=title,
            tags=tags,
        )
        for title, slug, tags, _ in _CODES
    ]
    return organization, list(services.codes.create_many(organization.id, drafts, None, by=by))


def scans(codes: list[Code], until: datetime, days: int, chance: random.Random) -> Iterator[Scan]:
    """Scans of the sample codes over the `days` before `until`, day by day, in order of time.

    `chance` decides everything: the same seed gives the same scans.
    """
    for age in range(days, 0, -1):
        midnight = (until - timedelta(days=age)).replace(hour=0, minute=0, second=0, microsecond=0)
        today: list[Scan] = []
        for code, (_, _, _, mean) in zip(codes, _CODES, strict=True):
            expected = mean * _BY_WEEKDAY[midnight.weekday()] * (1 + 0.5 * (days - age) / days)
            visitors: list[bytes] = []
            today += [
                _scan(code.id, code.organization_id, midnight, visitors, chance)
                for _ in range(round(chance.gammavariate(4, expected / 4)))
            ]
        yield from sorted((scan for scan in today if scan.at < until), key=lambda scan: scan.at)


def _scan(
    code_id: UUID,
    organization_id: UUID,
    midnight: datetime,
    visitors: list[bytes],
    chance: random.Random,
) -> Scan:
    hour = chance.choices(range(24), _BY_HOUR)[0]
    bot = chance.random() < _BOT_SHARE
    visitor = None
    if not bot:
        returning = visitors and chance.random() < _RETURNING
        visitor = chance.choice(visitors) if returning else chance.randbytes(16)
        visitors.append(visitor)
    return Scan(
        code_id=code_id,
        organization_id=organization_id,
        at=midnight + timedelta(hours=hour, seconds=chance.randrange(3600)),
        visitor=visitor,
        bot=bot,
        country=_one_of(_COUNTRIES, chance),
        device="" if bot else _one_of(_DEVICES, chance),
        os="" if bot else _one_of(_SYSTEMS, chance),
        browser="" if bot else _one_of(_BROWSERS, chance),
        language="" if bot else _one_of(_LANGUAGES, chance),
    )


def _one_of(shares: Mapping[str, int], chance: random.Random) -> str:
    return chance.choices(list(shares), list(shares.values()))[0]
