from __future__ import annotations

import stat
from pathlib import Path
from uuid import UUID

import pytest

from core.domain.images import SignedOptions
from core.domain.validation import Secret
from core.errors import ConfigurationError
from core.services.signatures import Signatures

CODE = UUID(int=7)
OLD, NEW = Secret("o" * 32), Secret("n" * 32)


def signed(keys: list[Secret], folder: Path) -> Signatures:
    signatures = Signatures(keys, folder)
    signatures.open()
    return signatures


def signature(path: str) -> str:
    return path.split("/")[2]


def test_defaults_are_left_out_of_the_address(tmp_path: Path) -> None:
    path = signed([NEW], tmp_path).path(CODE, SignedOptions())
    assert path.endswith(f"/{CODE}.png")
    path = signed([NEW], tmp_path).path(
        CODE, SignedOptions(size=512, color="#0a3d62", format="svg")
    )
    assert path.endswith(f"/{CODE}.svg?color=%230a3d62&size=512")


def test_after_a_rotation_both_keys_are_accepted_and_the_first_one_signs(tmp_path: Path) -> None:
    options = SignedOptions(size=512)
    old = signature(signed([OLD], tmp_path).path(CODE, options))
    both = signed([NEW, OLD], tmp_path)
    assert both.holds(old, CODE, options)
    new = signature(both.path(CODE, options))
    assert new != old
    only_new = signed([NEW], tmp_path)
    assert only_new.holds(new, CODE, options)
    assert not only_new.holds(old, CODE, options)


def test_a_signature_holds_for_its_code_and_options_alone(tmp_path: Path) -> None:
    signatures = signed([NEW], tmp_path)
    options = SignedOptions(revision=2)
    own = signature(signatures.path(CODE, options))
    assert signatures.holds(own, CODE, options)
    assert not signatures.holds(own, UUID(int=8), options)
    assert not signatures.holds(own, CODE, SignedOptions(revision=3))
    assert not signatures.holds("ü" + own[1:], CODE, options)


def test_an_address_may_be_offered_for_download_as_well(tmp_path: Path) -> None:
    signatures = signed([NEW], tmp_path)
    path = signatures.path(CODE, SignedOptions(download=True))
    assert path.endswith(f"/{CODE}.png?download=true")
    assert signatures.holds(signature(path), CODE, SignedOptions())
    assert signature(path) == signature(signatures.path(CODE, SignedOptions()))


def test_the_kept_key_may_be_moved_into_the_settings(tmp_path: Path) -> None:
    kept = signature(signed([], tmp_path).path(CODE, SignedOptions()))
    (file,) = tmp_path.iterdir()
    assert signed([NEW, Secret(file.read_text())], tmp_path).holds(kept, CODE, SignedOptions())


def test_without_keys_one_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    first, second = signed([], folder), signed([], folder)
    assert first.path(CODE, SignedOptions()) == second.path(CODE, SignedOptions())
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_data_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"images\.signing_keys: no key is set"):
        signed([], tmp_path / "file")
