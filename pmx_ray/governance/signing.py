"""The key that model manifests are signed with: from the environment, or a file of one's own."""

import hashlib
import hmac
import os
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pmx_ray.errors import SettingsError
from pmx_ray.provenance import sha256_hex

KEY_VARIABLE = "PMX_SIGNING_KEY"
KEY_FILE = "signing.key"
MIN_BYTES = 32
"""A key as long as the hash; a shorter one can be searched for."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A secret of at least ``MIN_BYTES`` bytes; it is never shown.

    Raises
    ------
    SettingsError
        If it is shorter.
    """

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) < MIN_BYTES:
            raise SettingsError(
                f"the signing key has {len(self.secret)} bytes; it must have at least "
                f"{MIN_BYTES}, e.g. the output of: openssl rand -hex 32"
            )

    @property
    def id(self) -> str:
        """Sixteen digits that tell keys apart and do not give them away."""
        return sha256_hex(b"pmx-ray signing key", self.secret)[:16]

    def sign(self, content: bytes) -> str:
        """Return the HMAC-SHA256 of ``content`` in hexadecimal."""
        return hmac.new(self.secret, content, hashlib.sha256).hexdigest()

    def verifies(self, content: bytes, signature: str) -> bool:
        """Return whether ``signature`` is that of ``content``, in the same time for any answer."""
        return hmac.compare_digest(self.sign(content).encode(), signature.encode(errors="replace"))


def signing_key(home: Path, *, make: bool = True) -> SigningKey:
    """Return ``$PMX_SIGNING_KEY``, or the key in a file that is made the first time.

    Parameters
    ----------
    home : Path
        Folder of the key file, ``signing.key``; only its owner may read it.
    make : bool
        Whether a key is made where there is none: to sign, not to verify.

    Raises
    ------
    SettingsError
        If the key is too short, others may read the file, or there is no key and none is made.
    """
    given = os.environ.get(KEY_VARIABLE)
    if given is not None:
        return SigningKey(given.strip().encode())
    path = home / KEY_FILE
    if not path.exists():
        if not make:
            raise SettingsError(
                f"there is no signing key to verify models with; set {KEY_VARIABLE}, or bring "
                f"the file that they were signed with to {path}"
            )
        _make(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise SettingsError(
            f"{path} has mode {mode:04o}, so that others may read the signing key; "
            f"make a new key, or: chmod 600 {path}"
        )
    return SigningKey(path.read_bytes().strip())


def _make(path: Path) -> None:
    """Write a new key; of several processes that do so at once, one gives it its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(MIN_BYTES).encode())
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()
