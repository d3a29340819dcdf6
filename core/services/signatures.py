"""Signs what is given out, so that nobody can make more of it: above all addresses of images."""

from __future__ import annotations

import hmac
import os
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlencode
from uuid import UUID

import msgspec

from core.domain.images import SignedOptions
from core.domain.validation import Secret
from core.errors import ConfigurationError

_FILE = "image-signing.key"

# 128 bits: nobody guesses them, and the address stays short.
_SIGNATURE_BYTES = 16

_DEFAULTS = msgspec.to_builtins(SignedOptions())


class Signatures:
    """Signatures (HMAC-SHA-256, RFC 2104) over a code, its revision and all parameters.

    `download` is left out: it changes a header and not the image, so that whoever was given the
    address of one may offer it for download as well.

    The first key signs, all of them are accepted. Without keys in the settings one is made at the
    first `open()` and kept in the data folder.
    """

    def __init__(self, keys: Sequence[Secret], folder: Path) -> None:
        self._keys = [key.reveal().encode() for key in keys]
        self._file = folder / _FILE

    def open(self) -> None:
        """Read the kept key, or make it, where the settings hold none."""
        if not self._keys:
            try:
                self._keys = [self._kept_key()]
            except OSError as error:
                raise ConfigurationError(
                    f"images.signing_keys: no key is set, and {self._file} cannot be used "
                    f"({error.strerror}); set a key, or make service.data writable"
                ) from error

    def path(self, code_id: UUID, options: SignedOptions) -> str:
        """The signed address, from the path on; parameters at their defaults are left out."""
        query = parameters(options)
        signature = self.seal(_message(code_id, options))
        return f"/i/{signature}/{code_id}.{options.format}" + (f"?{query}" if query else "")

    def holds(self, signature: str, code_id: UUID, options: SignedOptions) -> bool:
        """Whether one of the keys has signed this."""
        return self.is_sealed(_message(code_id, options), signature)

    def seal(self, message: bytes) -> str:
        """A signature of anything else; begin it with what it is, so that it is nothing else."""
        return _sign(self._keys[0], message)

    def is_sealed(self, message: bytes, signature: str) -> bool:
        """Whether one of the keys has signed the message."""
        given = signature.encode("utf-8", "replace")
        # Every key is tried: the time that this takes tells nothing.
        checks = [hmac.compare_digest(_sign(key, message).encode(), given) for key in self._keys]
        return any(checks)

    def _kept_key(self) -> bytes:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        # Workers start at the same time: the first link wins, and nobody reads half a key.
        draft = self._file.with_name(f"{_FILE}.{os.getpid()}.{secrets.token_hex(4)}")
        if not self._file.exists():
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(32))
            try:
                os.link(draft, self._file)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return self._file.read_bytes().strip()


def parameters(options: SignedOptions) -> str:
    """The query string of an image: by name, without those at their defaults."""
    values = msgspec.to_builtins(options)
    different = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in sorted(values.items())
        if name != "format" and value != _DEFAULTS.get(name)
    }
    return urlencode(different)


def _message(code_id: UUID, options: SignedOptions) -> bytes:
    query = parameters(msgspec.structs.replace(options, download=False))
    return f"{code_id}.{options.format}?{query}".encode()


def _sign(key: bytes, message: bytes) -> str:
    digest = hmac.digest(key, message, sha256)[:_SIGNATURE_BYTES]
    return urlsafe_b64encode(digest).rstrip(b"=").decode()
