from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.domain.validation import Secret
from core.errors import ConfigurationError
from core.extension.hookspecs import PluginSettings
from core.settings import Settings, dump, load, pack, parse, unpack


class Options(PluginSettings, frozen=True, kw_only=True):
    host: str = "localhost"
    password: Secret = Secret("")


def parsed(section: str = "", **values: Any) -> Settings:
    return parse({section: values} if section else values, {})


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_an_empty_file_gives_the_defaults() -> None:
    settings = parse({}, {})
    assert settings == Settings()
    assert settings.base_url == "http://127.0.0.1:8000"
    assert settings.data == Path("var")


def test_a_file_is_read_by_path_or_from_the_environment(tmp_path: Path) -> None:
    one = write(tmp_path / "one.toml", "[service]\nworkers = 3\n")
    two = write(tmp_path / "two.toml", "[service]\nworkers = 4\n")
    assert load(one, {}).service.workers == 3
    assert load(None, {"QUIETZONE_CONFIG": str(two)}).service.workers == 4
    assert load(one, {"QUIETZONE_CONFIG": str(two)}).service.workers == 3


def test_a_missing_file_is_named_with_the_way_out(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    with pytest.raises(ConfigurationError, match="set QUIETZONE_CONFIG to a file") as raised:
        load(missing, {})
    assert str(missing) in str(raised.value)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(tmp_path, {})


@pytest.mark.parametrize(
    "content", [b"[service\n", b"a = \xff\n", b"a = 1\na = 2\n", b"a = " + b"9" * 5000]
)
def test_what_is_not_toml_is_refused_with_its_place(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"broken\.toml is not TOML: .*; correct that"):
        load(path, {})


def test_what_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "deep.toml", f"a = {'[' * 5000}{']' * 5000}")
    with pytest.raises(ConfigurationError, match=r"deep\.toml is nested too deeply"):
        load(path, {})


def test_a_reference_takes_the_value_from_the_environment() -> None:
    tree = {"service": {"workers": {"env": "WORKERS"}, "data": {"env": "DATA", "default": "here"}}}
    settings = parse(tree, {"WORKERS": "5", "DATA": "/srv/data"})
    assert (settings.service.workers, settings.service.data) == (5, "/srv/data")


@pytest.mark.parametrize("environ", [{}, {"DATA": ""}])
def test_a_reference_without_a_value_takes_its_default(environ: dict[str, str]) -> None:
    tree = {"service": {"data": {"env": "DATA", "default": "here"}}}
    assert parse(tree, environ).service.data == "here"


def test_a_reference_without_value_and_default_is_an_error_with_its_path() -> None:
    tree = {"plugin": {"postgres": {"servers": [{"env": "PGHOST"}]}}}
    with pytest.raises(ConfigurationError) as raised:
        parse(tree, {})
    assert str(raised.value) == (
        "plugin.postgres.servers[0]: the environment variable PGHOST is not set; "
        "set it, or give the reference a default"
    )


def test_a_reference_takes_the_value_from_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "password", "geheim ü\n")
    tree = {"plugin": {"postgres": {"password": {"file": str(path)}}}}
    assert parse(tree, {}).plugin["postgres"]["password"] == "geheim ü"


def test_a_reference_to_a_file_that_cannot_be_read_is_an_error_with_its_path(
    tmp_path: Path,
) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff")
    for path in (tmp_path / "missing", tmp_path, binary, f"{tmp_path}\0"):
        tree = {"plugin": {"postgres": {"password": {"file": str(path)}}}}
        with pytest.raises(ConfigurationError, match="name a text file") as raised:
            parse(tree, {})
        assert str(raised.value).startswith(f"plugin.postgres.password: the file {path} cannot")


def test_an_unknown_section_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"^servce: unknown section; known are: accounts"):
        parsed("servce", bind="127.0.0.1:8000")


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("service", {"bnd": 1}, "service.bnd: unknown; known are: data, bind"),
        ("service", {"workers": 0}, "service.workers: must be at least 1; got 0"),
        ("service", {"workers": "many"}, "service.workers: must be a whole number; got 'many'"),
        ("service", {"workers": 1000}, "service.workers: must be at most 256; got 1000"),
        ("service", {"bind": "localhost"}, "service.bind: 'localhost' is not HOST:PORT; write"),
        ("service", {"bind": ":8000"}, "service.bind: ':8000' is not HOST:PORT"),
        ("service", {"bind": "a:65536"}, "service.bind: 'a:65536' is not HOST:PORT"),
        ("service", {"bind": "a:²"}, "service.bind: 'a:²' is not HOST:PORT"),
        ("service", {"bind": "a:-1"}, "service.bind: 'a:-1' is not HOST:PORT"),
        ("service", {"bind": f"a:{'9' * 5000}"}, "9' is not HOST:PORT"),
        ("service", {"workers": 16**4000}, "at most 256; got a number of too many digits"),
        ("service", {"data": {"file": 5}}, "service.data: must be text; got"),
        ("service", {"base_url": "qr.example"}, "service.base_url: 'qr.example' is not an address"),
        ("service", {"base_url": "ftp://a"}, "such as https://qr.example.com"),
        ("service", {"base_url": "https://"}, "service.base_url: 'https://' is not an address"),
        ("service", {"base_url": "https://a?b"}, "service.base_url: 'https://a?b' is not"),
        ("service", {"base_url": "https://a#b"}, "service.base_url: 'https://a#b' is not"),
        ("service", {"base_url": "https://u@a"}, "service.base_url: 'https://u@a' is not"),
        ("service", {"base_url": "https://a:x"}, "service.base_url: 'https://a:x' is not"),
        ("service", {"base_url": "https://[a"}, "service.base_url: 'https://[a' is not"),
        ("http", {"max_body_bytes": 0}, "http.max_body_bytes: must be at least 1; got 0"),
        ("http", {"max_body_bytes": 2**28}, "http.max_body_bytes: must be at most 134217728; got"),
        ("http", {"max_request_line": 0}, "http.max_request_line: must be at least 1024; got 0"),
        ("http", {"max_request_line": 8191}, "http.max_request_line: must be at most 8190; got"),
        ("http", {"max_header_fields": 0}, "http.max_header_fields: must be at least 16; got 0"),
        ("http", {"max_header_fields": 1001}, "http.max_header_fields: must be at most 1000; got"),
        ("http", {"max_header_field_bytes": 9}, "http.max_header_field_bytes: must be at least 1"),
        ("http", {"max_header_field_bytes": 99999}, "http.max_header_field_bytes: must be at most"),
        (
            "http",
            {"max_header_field_bytes": 65_536},
            "http.max_head_bytes: 32768 cannot hold a request line of 8190 and a field of 65536",
        ),
        ("http", {"max_head_bytes": 8192}, "http.max_head_bytes: must be at least 16384; got 8192"),
        ("http", {"max_head_bytes": 2**21}, "http.max_head_bytes: must be at most 1048576; got"),
        ("http", {"head_timeout": 0}, "http.head_timeout: must be at least 1; got 0"),
        ("http", {"head_timeout": 601}, "http.head_timeout: must be at most 600; got 601"),
        ("http", {"body_timeout": 0}, "http.body_timeout: must be at least 1; got 0"),
        ("http", {"body_timeout": 3601}, "http.body_timeout: must be at most 3600; got 3601"),
        ("http", {"answer_timeout": 0}, "http.answer_timeout: must be at least 1; got 0"),
        ("http", {"answer_timeout": 3601}, "http.answer_timeout: must be at most 3600; got 3601"),
        ("http", {"max_connections": 1}, "http.max_connections: must be at least 16; got 1"),
        ("http", {"max_connections": 70_000}, "http.max_connections: must be at most 65536; got"),
        (
            "http",
            {"trusted_proxies": "10.0.0.0/8"},
            "http.trusted_proxies: must be a list; got '10.",
        ),
        ("http", {"trusted_proxies": ["proxy"]}, "write networks as 10.0.0.0/8"),
        ("http", {"trusted_proxies": ["10.0.0.1/8"]}, "http.trusted_proxies: 10.0.0.1/8 has host"),
        (
            "http",
            {"trusted_proxies": ["::ffff:10.0.0.1"]},
            "'::ffff:10.0.0.1' holds IPv4 addresses",
        ),
        ("scans", {"opt_out": "10.0.0.0/8"}, "scans.opt_out: must be a list; got '10.0.0.0/8'"),
        ("scans", {"opt_out": ["::1", "office"]}, "scans.opt_out: 'office' does not appear to be"),
        (
            "scans",
            {"opt_out": ["10.0.0.1/8"]},
            "scans.opt_out: 10.0.0.1/8 has host bits set; write",
        ),
        ("scans", {"opt_out": ["10.0.0.0/33"]}, "scans.opt_out: '10.0.0.0/33' does not appear to"),
        ("scans", {"opt_out": [""]}, "scans.opt_out: '' does not appear to be"),
        (
            "scans",
            {"opt_out": ["::ffff:10.0.0.0/104"]},
            "scans.opt_out: '::ffff:10.0.0.0/104' holds",
        ),
        ("cache", {"image_ttl": 0}, "cache.image_ttl: must be more than 0"),
        ("cache", {"image_ttl": math.inf}, "cache.image_ttl: must be at most 315360000"),
        ("cache", {"code_grace": math.inf}, "cache.code_grace: must be at most 315360000"),
        ("codes", {"slug_length": 5}, "codes.slug_length: must be at least 6; got 5"),
        ("codes", {"schemes": ["https", "JavaScript"]}, "codes.schemes: 'JavaScript' would run in"),
        ("images", {"min_size": 500, "max_size": 400}, "images.min_size: is larger than images.ma"),
        ("audit", {"keep_days": 30}, "audit.keep_days: 30 days are too few; keep the log for 31"),
        ("audit", {"addresses": "some"}, "must be one of full, network, none"),
        ("accounts", {"session_idle": 2, "session_lifetime": 1}, "accounts.session_idle: is long"),
        (
            "accounts",
            {"password_min_length": 4},
            "accounts.password_min_length: must be at least 8",
        ),
        ("log", {"level": "loud"}, "log.level: 'loud' is unknown; choose one of debug, info"),
        ("plugin", {"postgres": 5}, "plugin: write each plugin's options as [plugin.NAME]"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_the_way_out(
    section: str, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parsed(section, **values)
    assert message in str(raised.value)


def test_every_wrong_setting_of_a_section_is_named() -> None:
    with pytest.raises(ConfigurationError) as raised:
        parsed("service", workers=0, bnd=1, bind=5)
    for path in ("service.workers: ", "service.bnd: ", "service.bind: "):
        assert path in str(raised.value)


@pytest.mark.parametrize("value", [5, "text", ["a"]])
def test_a_section_that_is_no_table_is_refused(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^http: an object is expected here$"):
        parse({"http": value}, {})


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://qr.example/", "https://qr.example"),
        ("https://qr.example/codes/", "https://qr.example/codes"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        (None, "http://127.0.0.1:8000"),
    ],
)
def test_the_address_from_outside_ends_without_a_slash(base_url: str | None, expected: str) -> None:
    tree = {} if base_url is None else {"service": {"base_url": base_url}}
    assert parse(tree, {}).base_url == expected


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "[::1]:8000", "localhost:65535"])
def test_an_address_to_listen_at_is_a_host_and_a_port(bind: str) -> None:
    settings = parsed("service", bind=bind, base_url="https://qr.example")
    assert settings.service.bind == bind


def test_networks_may_be_of_both_families_and_single_addresses() -> None:
    names = ("203.0.113.0/24", "198.51.100.7", "2001:db8::/32", "::1", "0.0.0.0/0", "::/0")
    assert parsed("scans", opt_out=list(names)).scans.opt_out == names
    assert parsed("http", trusted_proxies=list(names)).http.trusted_proxies == names


def test_settings_cannot_be_changed() -> None:
    settings = Settings()
    with pytest.raises(AttributeError):
        settings.service = settings.service
    with pytest.raises(AttributeError):
        settings.service.workers = 5


def test_a_secret_is_hidden_in_a_dump_and_in_what_settings_show_of_themselves() -> None:
    options = Options(password=Secret("hunter2"))
    shown = dump(options)
    assert shown["host"] == "localhost"
    assert "hunter2" not in repr(shown)
    assert "hunter2" not in repr(options)
    settings = parse({"plugin": {"postgres": {"password": "hunter2"}}}, {})
    assert "hunter2" not in repr(settings)
    assert settings.plugin["postgres"]["password"] == "hunter2"


def test_a_dump_of_a_section_is_plain_and_whole() -> None:
    section = Settings().accounts
    shown = dump(section)
    assert list(shown) == [field.name for field in msgspec.structs.fields(type(section))]
    assert msgspec.convert(shown, type(section)) == section


def test_settings_that_were_packed_for_a_child_process_are_the_same() -> None:
    tree = {
        "service": {"data": "/srv/data", "base_url": "https://qr.example.com"},
        "images": {"signing_keys": ["x" * 32]},
        "scans": {"sync": "always", "opt_out": ["192.0.2.0/24"]},
        "plugin": {"postgres": {"dsn": {"env": "DSN"}, "max_connections": 3}},
    }
    settings = parse(tree, {"DSN": "host=db password=hush"})
    assert unpack(pack(settings)) == settings
    assert unpack(pack(parse({}, {}))) == parse({}, {})
    with pytest.raises(ConfigurationError, match="incomplete"):
        unpack(pack(settings)[:-1])


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        (
            {"limits": {"reads": [{"requests": 5, "seconds": 60, "burst": 3}]}},
            r"limits\.reads.*burst",
        ),
        (
            {"limits": {"reads": [{"requests": n, "seconds": 60} for n in (5, 6)]}},
            r"limits\.reads: two limits have the same number of seconds",
        ),
        ({"limits": {"reads": [{"requests": 10**10, "seconds": 60}]}}, r"limits\.reads"),
        (
            {"limits": {"reads": [{"requests": 5, "seconds": n} for n in range(1, 12)]}},
            r"limits\.reads",
        ),
        ({"http": {"country_header": "a b"}}, r"http\.country_header: 'a b'.*CF-IPCountry"),
    ],
)
def test_settings_that_could_mean_nothing_are_refused(tree: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        parse(tree, {})


def test_a_file_may_begin_with_a_mark_of_its_encoding(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_bytes(b"\xef\xbb\xbf[service]\r\nworkers = 3\r\n")
    assert load(file, {}).service.workers == 3
