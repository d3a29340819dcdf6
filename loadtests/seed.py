"""Fills a service with codes and with the scans of the last months, before it is started."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import cache
from itertools import accumulate

from core.domain.accounts import OrganizationDraft, Role
from core.domain.audit import OPERATOR
from core.domain.codes import Code, CodeDraft
from core.domain.images import SignedOptions
from core.domain.scans import Scan
from core.services import Services
from loadtests.sample import Sample, SampleCode

DAYS = 90
_BATCH = 1000
_DEVICES = (
    ("mobile", "iOS", "Safari"),
    ("mobile", "Android", "Chrome"),
    ("mobile", "Android", "Samsung Internet"),
    ("desktop", "Windows", "Edge"),
)
_COUNTRIES = ("DE", "AT", "CH", "NL", "")
_BOT_SHARE = 0.06


@cache
def popularity(number: int) -> Sequence[float]:
    """Cumulative weights by Zipf's law: what stands at place n is asked for 1/n as often."""
    return list(accumulate(1 / rank for rank in range(1, number + 1)))


def seed(services: Services, codes: int, scans: int, password: str) -> Sample:
    """Store an organisation, an account of each role, codes, and scans by their popularity."""
    services.storage.migrate()
    organization = services.organizations.found(
        OrganizationDraft("Load test", "load-test"), None, by=OPERATOR
    )
    emails = {role.value: f"{role}@example.com" for role in Role}
    for role in Role:
        user = services.accounts.add_user(emails[role], password)
        services.organizations.add_membership(organization.id, user, role, by=OPERATOR)
    # Whoever owns it sees what the cache finds.
    services.accounts.set_operator(emails[Role.OWNER], True, by=OPERATOR)
    drafts = [
        CodeDraft(f"https://example.com/{number}", slug=f"load-{number}") for number in range(codes)
    ]
    made: list[Code] = []
    for start in range(0, codes, _BATCH):
        batch = drafts[start : start + _BATCH]
        made += services.codes.create_many(organization.id, batch, None, by=OPERATOR)
    past = sorted(_scans(made, scans, services.clock()), key=lambda scan: scan.at)
    for start in range(0, len(past), _BATCH):
        services.scan_store.append(past[start : start + _BATCH])
    known = tuple(
        SampleCode(
            str(code.id),
            code.slug,
            services.signatures.path(code.id, SignedOptions(revision=code.revision)),
        )
        for code in made
    )
    return Sample(str(organization.id), known, emails, password)


def _scans(codes: Sequence[Code], number: int, now: datetime) -> Iterator[Scan]:
    """The same ones for as many codes, but for the time; in no order."""
    chance = random.Random(number)
    visitors = [chance.randbytes(16) for _ in range(max(1, number // 2))]
    seconds = DAYS * 86_400
    for code in chance.choices(codes, cum_weights=popularity(len(codes)), k=number):
        device, system, browser = chance.choice(_DEVICES)
        bot = chance.random() < _BOT_SHARE
        yield Scan(
            code_id=code.id,
            organization_id=code.organization_id,
            at=now - timedelta(seconds=chance.randrange(1, seconds)),
            visitor=None if bot else chance.choice(visitors),
            bot=bot,
            country=chance.choice(_COUNTRIES),
            device="" if bot else device,
            os="" if bot else system,
            browser="" if bot else browser,
            language="de",
        )
