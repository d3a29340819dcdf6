"""The scan enricher `geoip`, with databases of a few networks."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.api import ConfigurationError, PluginContext, Traits, Visit
from core.app import create_app
from core.extension.host import PluginHost
from core.settings import Settings, parse
from plugins.enrichers.geoip import GeoipEnricher
from tests.mmdb import write_mmdb

NETWORKS = {
    "192.0.2.0/24": {"country": {"iso_code": "DE", "names": {"en": "Germany"}}},
    "198.51.100.0/25": {"continent": {"code": "EU"}},
    "203.0.113.0/24": {"country": "JP"},
    "2001:db8:1::/48": {"country": {"iso_code": "FR"}},
    "2001:db8:2::/48": {"country": "Brazil", "country_code": "BR"},
    "2001:db8:3::/48": {"country": {"iso_code": "ZZ"}},
    "2001:db8:4::/48": {"country": [{"iso_code": "DE"}]},
}


def visit(address: str) -> Visit:
    return Visit(UUID(int=1), UUID(int=2), datetime(2026, 5, 6, tzinfo=UTC), address, "")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "countries.mmdb"
    path.write_bytes(write_mmdb(NETWORKS))
    return path


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def geoip(file: Path, clock: Clock):
    enricher = GeoipEnricher(file, clock)
    enricher.open()
    yield enricher
    enricher.close()


def country(enricher: GeoipEnricher, address: str) -> str:
    return enricher.enrich(visit(address), Traits()).country


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("192.0.2.1", "DE"),
        ("::ffff:192.0.2.1", "DE"),
        ("203.0.113.255", "JP"),
        ("2001:db8:1:ffff::1", "FR"),
        ("2001:DB8:1::1%eth0", "FR"),
        ("2001:db8:2::", "BR"),
        ("2001:db8:3::1", ""),
        ("2001:db8:4::1", ""),
        ("192.0.3.1", ""),
        ("198.51.100.1", ""),
        ("198.51.100.200", ""),
        ("::1", ""),
        ("", ""),
        ("nobody", ""),
    ],
)
def test_an_address_has_the_country_of_its_network(geoip, address, code):
    assert country(geoip, address) == code


def test_a_country_that_the_proxy_has_told_is_kept(geoip):
    assert geoip.enrich(visit("192.0.2.1"), Traits(country="CH")) == Traits(country="CH")


def test_the_other_traits_are_kept(geoip):
    assert geoip.enrich(visit("192.0.2.1"), Traits(os="iOS")) == Traits(os="iOS", country="DE")


def test_a_database_without_ipv6_knows_nothing_of_it(file, clock):
    file.write_bytes(write_mmdb({"192.0.2.0/24": {"country": {"iso_code": "DE"}}}, ip_version=4))
    enricher = GeoipEnricher(file, clock)
    enricher.open()
    assert [country(enricher, a) for a in ("192.0.2.1", "2001:db8:1::1")] == ["DE", ""]


@settings(deadline=None)
@given(st.ip_addresses())
def test_no_address_makes_it_raise(tmp_path_factory, address):
    path = tmp_path_factory.getbasetemp() / "any.mmdb"
    if not path.exists():
        path.write_bytes(write_mmdb(NETWORKS))
    enricher = GeoipEnricher(path)
    enricher.open()
    assert country(enricher, str(address)) in {"", "DE", "JP", "FR", "BR"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        (b"", "cannot be read"),
        (b"not a database", "valid MaxMind DB file"),
    ],
)
def test_a_missing_or_broken_file_is_refused_by_the_name_of_the_setting(tmp_path, content, reason):
    path = tmp_path / "countries.mmdb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        GeoipEnricher(path).open()
    message = str(caught.value)
    assert message.startswith(f"plugin.geoip.database: '{path}' cannot be read: ")
    assert reason in message
    assert "plugins.enabled" in message


def test_a_folder_is_no_database(tmp_path):
    with pytest.raises(ConfigurationError, match="Is a directory"):
        GeoipEnricher(tmp_path).open()


def replaced(file: Path, code: str) -> None:
    """Puts another file in the place of the one there, as geoipupdate does."""
    new = file.with_suffix(".new")
    new.write_bytes(write_mmdb({"192.0.2.0/24": {"country": {"iso_code": code}}}))
    os.replace(new, file)


def test_a_replaced_file_is_picked_up_within_a_minute_and_no_sooner(geoip, file, clock):
    replaced(file, "AT")
    clock.now = 59.9
    assert country(geoip, "192.0.2.1") == "DE"
    clock.now = 60.0
    old = geoip._reader
    assert country(geoip, "192.0.2.1") == "AT"
    assert old.closed
    replaced(file, "CH")
    clock.now = 119.9
    assert country(geoip, "192.0.2.1") == "AT"
    clock.now = 120.0
    assert country(geoip, "192.0.2.1") == "CH"


def test_a_file_that_stays_the_same_is_not_read_again(geoip, clock):
    clock.now = 60.0
    old = geoip._reader
    country(geoip, "192.0.2.1")
    assert geoip._reader is old


@pytest.mark.parametrize("broken", [b"half of a databa", None])
def test_a_replacement_that_cannot_be_read_leaves_the_old_one_in_use(
    geoip, file, clock, caplog, broken
):
    file.unlink()
    if broken is not None:
        file.write_bytes(broken)
    clock.now = 60.0
    assert country(geoip, "192.0.2.1") == "DE"
    assert "plugin.geoip.database" in caplog.text
    replaced(file, "AT")
    clock.now = 120.0
    assert country(geoip, "192.0.2.1") == "AT"


def test_a_file_that_is_overwritten_in_place_harms_nobody(geoip, file, clock):
    with file.open("r+b") as handle:
        handle.truncate(10)
    assert country(geoip, "192.0.2.1") == "DE"
    clock.now = 60.0
    assert country(geoip, "192.0.2.1") == "DE"


def test_it_opens_nothing_before_open_and_knows_nothing_after_close(tmp_path, geoip):
    assert country(GeoipEnricher(tmp_path / "missing.mmdb"), "192.0.2.1") == ""
    geoip.close()
    assert country(geoip, "192.0.2.1") == ""
    geoip.close()


def test_the_database_has_to_be_named():
    context = PluginContext(data=Path("var"), base_url="https://qr.example.com")
    with pytest.raises(ConfigurationError, match=r"^plugin\.geoip\.database: "):
        PluginHost(["geoip"], {}, context)


def test_it_is_not_enabled_unless_the_operator_says_so():
    assert "geoip" not in Settings().plugins.enabled


def test_an_application_that_enables_it_tells_countries(file, tmp_path):
    enabled = [*Settings().plugins.enabled, "geoip"]
    tree = {
        "service": {"data": str(tmp_path)},
        "plugins": {"enabled": enabled},
        "plugin": {"geoip": {"database": str(file)}},
    }
    app = create_app(parse(tree, {}))
    app.services.enrichment.open()
    try:
        assert app.services.enrichment.traits(visit("192.0.2.1")).country == "DE"
    finally:
        app.services.close()
