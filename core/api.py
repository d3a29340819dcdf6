"""All that the author of a plugin imports: hooks, Protocols, value objects and errors.

What stands here is kept stable; everything else in `core` may change at any time.
"""

from __future__ import annotations

from core.domain.accounts import (
    ApiKey,
    Member,
    Membership,
    Organization,
    Role,
    Session,
    User,
)
from core.domain.codes import BusinessCode, Code, CodePage, CodeQuery, CodeSort, slug_key
from core.domain.images import (
    QUIET_ZONE,
    Drawing,
    ErrorCorrection,
    Layout,
    Symbol,
    SymbolKind,
    lay_out,
)
from core.domain.logos import Logo, LogoInfo, LogoType
from core.domain.looks import (
    PLAIN,
    TRANSPARENT,
    FinderShape,
    Look,
    ModuleShape,
    Style,
    logo_hole,
)
from core.domain.periods import Interval, Window
from core.domain.scans import SLOT, Bots, RecordedScan, Scan, SlotCount, Totals, slot_of
from core.domain.sheets import Label, LabelText, Sheet
from core.domain.validation import Secret
from core.errors import (
    ConfigurationError,
    Conflict,
    QuietzoneError,
    SlugTaken,
    StorageUnavailable,
)
from core.extension.hookspecs import PluginContext, PluginSettings, hookimpl
from core.ports import (
    ApiKeys,
    Cache,
    Codes,
    Encoder,
    Idempotency,
    Logos,
    Memberships,
    Organizations,
    Period,
    RecordedAnswer,
    Renderer,
    ScanStore,
    Sessions,
    SheetPrinter,
    Storage,
    Styles,
    Users,
)

__all__ = [
    "PLAIN",
    "QUIET_ZONE",
    "SLOT",
    "TRANSPARENT",
    "ApiKey",
    "ApiKeys",
    "Bots",
    "BusinessCode",
    "Cache",
    "Code",
    "CodePage",
    "CodeQuery",
    "CodeSort",
    "Codes",
    "ConfigurationError",
    "Conflict",
    "Drawing",
    "Encoder",
    "ErrorCorrection",
    "FinderShape",
    "Idempotency",
    "Interval",
    "Label",
    "LabelText",
    "Layout",
    "Logo",
    "LogoInfo",
    "LogoType",
    "Logos",
    "Look",
    "Member",
    "Membership",
    "Memberships",
    "ModuleShape",
    "Organization",
    "Organizations",
    "Period",
    "PluginContext",
    "PluginSettings",
    "QuietzoneError",
    "RecordedAnswer",
    "RecordedScan",
    "Renderer",
    "Role",
    "Scan",
    "ScanStore",
    "Secret",
    "Session",
    "Sessions",
    "Sheet",
    "SheetPrinter",
    "SlotCount",
    "SlugTaken",
    "Storage",
    "StorageUnavailable",
    "Style",
    "Styles",
    "Symbol",
    "SymbolKind",
    "Totals",
    "User",
    "Users",
    "Window",
    "hookimpl",
    "lay_out",
    "logo_hole",
    "slot_of",
    "slug_key",
]
