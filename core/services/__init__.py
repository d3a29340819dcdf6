"""What Quietzone does, independent of HTTP; `Services` holds everything with a lifetime."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

from msgspec import Struct

from core.ports import (
    Cache,
    Encoder,
    Notifier,
    Period,
    Renderer,
    ScanEnricher,
    ScanStore,
    SheetPrinter,
    Storage,
    TargetCheck,
)
from core.services.accounts import Accounts, Remembered
from core.services.allowance import Allowance
from core.services.answers import Answers
from core.services.archives import Archives
from core.services.audit import Audit
from core.services.code_images import CodeImages, Plans
from core.services.codes import CodeService
from core.services.destinations import Destinations
from core.services.devices import Devices
from core.services.enrichment import Enrichment
from core.services.exports import Exports
from core.services.images import ImageService
from core.services.invitations import Invitations
from core.services.journal.drainer import Drainer
from core.services.journal.supervisor import Supervisor
from core.services.journal.writer import Journal
from core.services.limits import Limits, Policy
from core.services.logos import Logos
from core.services.lookups import Lookups
from core.services.meters import Meters, Namespace
from core.services.monitor import CacheMonitor
from core.services.offload import Offload, call_inline
from core.services.organizations import OrganizationService
from core.services.outbox import Outbox
from core.services.password_resets import PasswordResets
from core.services.passwords import Passwords
from core.services.recent import Recall
from core.services.redirects import Redirects
from core.services.second_factors import SecondFactors
from core.services.sheets import Sheets
from core.services.signatures import Signatures
from core.services.spaces import Epochs, Spaces
from core.services.statistics import Statistics
from core.services.styles import Styles
from core.settings import Settings

_MAX_PLANS = 2000
"""Of so many images each process remembers for a moment what is to be drawn."""


def utc_now() -> datetime:
    """The time, as every service is given it unless a test injects another clock."""
    return datetime.now(UTC)


class Components(Struct, frozen=True):
    """The plugins' components that the settings chose."""

    encoder: Encoder
    renderers: Mapping[str, Renderer]
    sheets: Mapping[str, SheetPrinter]
    storage: Storage
    scan_store: ScanStore
    cache: Cache
    periods: Mapping[str, Period]
    scan_enrichers: Mapping[str, ScanEnricher]
    destination_checks: Mapping[str, TargetCheck]
    notifier: Notifier


class Services:
    """All services of one application, wired once; nothing is open before `open()`."""

    def __init__(
        self,
        settings: Settings,
        components: Components,
        clock: Callable[[], datetime] = utc_now,
        token_bytes: Callable[[int], bytes] = secrets.token_bytes,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        self.storage = components.storage
        self.scan_store = components.scan_store
        self.cache = components.cache
        self.meters = Meters(settings.data / "cache.meters")
        epochs = Epochs(self.storage, seconds)
        spaces = Spaces(
            self.cache,
            self.meters,
            epochs,
            lambda: Allowance(settings.cache.allowance, seconds),
            settings.cache.max_hot_images,
        )
        self.monitor = CacheMonitor(settings.cache.backend, self.cache, self.meters, epochs)
        self.limits = Limits(
            {policy: getattr(settings.limits, policy) for policy in Policy},
            self.cache,
            # PERF: without making a date each time.
            time.time if clock is utc_now else lambda: clock().timestamp(),
        )
        self.passwords = Passwords(settings.accounts, settings.base_url)
        self.outbox = Outbox(components.notifier)
        self.audit = Audit(self.storage, settings.audit, clock)
        caching, meters = settings.cache, self.meters
        # Whoever asks has a session or a key, and a role in an organisation.
        asking = (caching.session_ttl, caching.max_sessions, meters[Namespace.SESSION], seconds)
        host = urlsplit(settings.base_url).hostname or ""
        self.second_factors = SecondFactors(self.storage, host, clock, token_bytes)
        self.signatures = Signatures(settings.images.signing_keys, settings.data)
        self.accounts = Accounts(
            self.storage,
            self.audit,
            self.passwords,
            settings.accounts,
            Remembered(Recall(*asking), Recall(*asking), Recall(*asking)),
            self.second_factors,
            self.limits,
            Devices(self.signatures, token_bytes),
            clock,
            token_bytes,
        )
        plans: Plans = Recall(caching.code_ttl, _MAX_PLANS, meters[Namespace.CODE], seconds)
        self.lookups = Lookups(self.storage, caching, meters[Namespace.CODE], plans, seconds)
        self.organizations = OrganizationService(
            self.storage, self.audit, self.accounts, self.lookups, settings.accounts, clock
        )
        self.destinations = Destinations(
            settings.codes, settings.base_url, components.destination_checks, seconds
        )
        letters = (self.outbox, self.limits, settings, clock, token_bytes)
        self.invitations = Invitations(
            self.storage, self.accounts, self.organizations, self.audit, *letters
        )
        self.password_resets = PasswordResets(self.storage, self.accounts, *letters)
        self.codes = CodeService(
            self.storage,
            self.audit,
            self.lookups,
            self.destinations,
            settings.codes,
            settings.base_url,
            clock,
            token_bytes,
        )
        self.images = ImageService(
            components.encoder, components.renderers, spaces, settings.images, caching
        )
        sample = self.codes.sample_url()
        self.styles = Styles(
            self.storage,
            self.audit,
            settings.images,
            clock,
            lambda _, look, logo: self.images.prove(sample, look, logo),
            plans,
        )
        self.code_images = CodeImages(self.storage, self.codes, self.styles, self.images, plans)
        self.archives = Archives(self.codes, self.images, self.styles, settings.codes, clock)
        self.sheets = Sheets(
            components.sheets, self.codes, self.images, self.styles, settings.codes
        )
        self.logos = Logos(self.storage, self.audit, settings.images, clock, plans)
        self.redirects = Redirects(self.lookups, clock)
        self.enrichment = Enrichment(components.scan_enrichers)
        self.journal = Journal(settings.journal, settings.scans, clock)
        self.drainer = Drainer(
            settings.journal,
            self.scan_store,
            self.enrichment,
            settings.scans,
            clock,
            token_bytes,
            self.audit.prune,
        )
        self.statistics = Statistics(self.scan_store, components.periods, settings.scans, clock)
        self.answers = Answers(self.scan_store, spaces, caching, seconds)
        self.exports = Exports(self.scan_store, self.audit)
        self.supervisor = Supervisor(settings)
        self._opened: list[Storage | ScanStore | Cache] = []

    def begin(self) -> None:
        """Do what is done once for all processes, before the first of them opens its services."""
        self.journal.begin()
        self.meters.begin()

    def open(
        self,
        offload: Offload = call_inline,
        disk: Offload = call_inline,
        hashing: Offload = call_inline,
    ) -> None:
        """Open everything, in this process; what was opened is closed again where a part fails.

        `offload` runs what needs tens of milliseconds of CPU, `hashing` what checks passwords, and
        `disk` what waits for the disk.
        """
        self.passwords.open(hashing)
        self.images.open(offload)
        self.sheets.open(offload)
        self.logos.open(offload)
        self.signatures.open()
        self.journal.open(disk)
        self.exports.open(offload)
        try:
            for part in (self.storage, self.scan_store, self.cache):
                part.open()
                self._opened.append(part)
        except BaseException:
            self.close()
            raise

    def serve(self) -> None:
        """Start what a serving process does in the background, once it is open."""
        self.meters.open()
        self.destinations.open()
        self.journal.keep()
        self.supervisor.open()

    def close(self) -> None:
        """Close everything that was opened, in reverse order; may be called again."""
        self.supervisor.close()
        self.destinations.close()
        # While there is a database: a letter may be still to be written.
        self.outbox.close()
        self.enrichment.close()
        self.journal.close()
        self.meters.close()
        while self._opened:
            self._opened.pop().close()
