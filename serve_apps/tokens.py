"""Who may ask what: bearer tokens with scopes, kept as hashes and compared in constant time.

A token file has one line a token, ``name scope sha256``. The token itself is shown once, when it
is made, and stored nowhere.
"""

import hashlib
import hmac
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pmx_ray.errors import SettingsError

TOKENS_VARIABLE = "PMX_API_TOKENS"
"""Path of the token file; by default ``api_tokens`` in the folder of the sweep folders."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Scope(StrEnum):
    """What a token is good for; each includes the ones before it."""

    READ = "read"
    """Signals, flags, registry, metrics, pages."""
    TRADE = "trade"
    """Orders."""
    ADMIN = "admin"
    """Flags, promotions, reversions."""

    def covers(self, asked: "Scope") -> bool:
        """Return whether this scope includes ``asked``."""
        order = list(Scope)
        return order.index(self) >= order.index(asked)


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is kept.

    Attributes
    ----------
    name : str
        Whom it was given to; shown in logs.
    scope : Scope
        What it is good for.
    sha256 : str
        Of the token.
    """

    name: str
    scope: Scope
    sha256: str


class Keyring:
    """The tokens that are accepted.

    Parameters
    ----------
    tokens : sequence of Token
        Names are unique.
    """

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tuple(tokens)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tokens."""
        return tuple(token.name for token in self._tokens)

    def find(self, presented: str) -> Token | None:
        """Return the token that was presented, or None.

        Every kept hash is compared, each in constant time, so that the time taken says nothing of
        how near a guess came.
        """
        digest = _digest(presented)
        found: Token | None = None
        for token in self._tokens:
            if hmac.compare_digest(digest, token.sha256):
                found = token
        return found


def tokens_path(root: Path) -> Path:
    """Return the token file: ``$PMX_API_TOKENS``, or ``api_tokens`` in ``root``."""
    named = os.environ.get(TOKENS_VARIABLE)
    return Path(named) if named else root / "api_tokens"


def load_keyring(path: Path) -> Keyring:
    """Return the tokens of a file.

    Raises
    ------
    SettingsError
        If there is no file, others than its owner may read it, or a line is wrong.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        raise SettingsError(
            f"{path}: no such token file; make a token with: pmx token NAME --scope read"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SettingsError(f"{path}: others may read it; run: chmod 600 {path}")
    lines = [line.split() for line in text.splitlines()]
    tokens = [_parsed(fields, path, n) for n, fields in enumerate(lines, start=1) if fields]
    _check_distinct(tokens, path)
    return Keyring(tokens)


def add_token(path: Path, name: str, scope: Scope) -> str:
    """Add a token to a file, made with mode 0600 if there is none, and return it.

    Raises
    ------
    SettingsError
        If the name is taken or is no plain name, or the file is not in order.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError(f"token name was {name!r}; it must be letters, digits, - and _")
    kept = ""
    if path.exists():
        if name in load_keyring(path).names:
            raise SettingsError(f"{path}: token '{name}' is there already; remove its line first")
        kept = path.read_text(encoding="ascii")
        kept += "" if kept.endswith("\n") or not kept else "\n"
    token = secrets.token_urlsafe(32)
    _replace(path, f"{kept}{name} {scope.value} {_digest(token)}\n")
    return token


def _replace(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _check_distinct(tokens: Sequence[Token], path: Path) -> None:
    """Refuse a name with two tokens, and a token with two names, which might differ in scope."""
    by_name: dict[str, Token] = {}
    by_hash: dict[str, Token] = {}
    for token in tokens:
        if token.name in by_name:
            raise SettingsError(f"{path}: token '{token.name}' is there twice; remove one")
        same = by_hash.get(token.sha256)
        if same is not None:
            names = f"'{same.name}' and '{token.name}'"
            raise SettingsError(f"{path}: {names} are the same token; make one of them anew")
        by_name[token.name] = by_hash[token.sha256] = token


def _parsed(fields: Sequence[str], path: Path, line: int) -> Token:
    if len(fields) != 3 or not _NAME.fullmatch(fields[0]) or not _SHA256.fullmatch(fields[2]):
        raise SettingsError(f"{path}, line {line}: write it as: name scope sha256-of-the-token")
    name, scope, sha256 = fields
    try:
        return Token(name, Scope(scope), sha256)
    except ValueError:
        known = ", ".join(Scope)
        raise SettingsError(f"{path}, line {line}: scope was {scope}; known: {known}") from None


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
