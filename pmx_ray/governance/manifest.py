"""The manifest of a model version: what it is, what it came from, and its files, signed."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pmx_ray.errors import RegistryError
from pmx_ray.governance.signing import SigningKey
from pmx_ray.provenance import canonical_json, sha256_hex

MANIFEST = "manifest.json"
MANIFEST_VERSION = "1"
"""Bumped when a field of a manifest changes its name, type or meaning."""

SUFFIXES = (".json", ".parquet", ".safetensors")
"""Endings of files that hold data and no code."""

_FILE = re.compile(r"[a-z0-9][a-z0-9_-]{0,127}\.[a-z0-9]{1,16}")


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of a model: everything that says which it is. Its id is the hash of all of it.

    Attributes
    ----------
    spec_id, name, label : str
        As in ``ForecasterSpec``.
    params : mapping
        Every parameter, as JSON values.
    panel_sha256 : str
        Of the prices it was evaluated on.
    engine_version : str
        ``provenance.ENGINE_VERSION`` at the time.
    libraries : mapping of str to str
        Versions of the libraries that the spec's numbers rest on.
    metrics : mapping of str to float or None
        Figures of the evaluation; None where one is not defined.
    decision_id : str
        The decision that speaks of it; empty where there is none.
    files : mapping of str to str
        SHA-256 of each file, by name; the fitted state, as JSON, Parquet or safetensors.

    Raises
    ------
    RegistryError
        If an id is empty, a figure is not finite, a value is not JSON, or a file's name or ending
        is not allowed.
    """

    spec_id: str
    name: str
    label: str
    params: Mapping[str, Any]
    panel_sha256: str
    engine_version: str
    libraries: Mapping[str, str]
    metrics: Mapping[str, float | None]
    decision_id: str
    files: Mapping[str, str]

    def __post_init__(self) -> None:
        for name in ("spec_id", "name", "panel_sha256", "engine_version"):
            if not getattr(self, name):
                raise RegistryError(f"{name} of a model version was empty; say what it is")
        for name, value in self.metrics.items():
            if value is not None and not math.isfinite(value):
                raise RegistryError(f"{name} was {value}; it must be finite, or None")
        for name in self.files:
            check_file_name(name)
        try:
            plain = json.loads(canonical_json(asdict(self)))
        except (TypeError, ValueError) as error:
            raise RegistryError(f"model {self.label} cannot be JSON: {error}") from None
        for name in ("params", "libraries", "metrics", "files"):
            object.__setattr__(self, name, plain[name])

    @property
    def id(self) -> str:
        """Hash of everything above."""
        return sha256_hex(canonical_json([MANIFEST_VERSION, asdict(self)]))


def check_file_name(name: str) -> None:
    """Refuse a file that could hold code, or a name that could lead elsewhere.

    Raises
    ------
    RegistryError
        If the ending is not one of ``SUFFIXES``, or the name is not one plain lower-case name.
    """
    if not name.endswith(SUFFIXES):
        raise RegistryError(
            f"{name} has an ending that is not allowed; a model version holds only "
            f"{', '.join(SUFFIXES)}: loading anything else could run code"
        )
    if not _FILE.fullmatch(name) or name == MANIFEST:
        raise RegistryError(f"{name!r} is no name for a model's file; write e.g. state.json")


def signed(version: ModelVersion, key: SigningKey) -> bytes:
    """Return the manifest of a version as it is stored."""
    content = {
        "schema_version": MANIFEST_VERSION,
        "id": version.id,
        "key_id": key.id,
        "version": asdict(version),
    }
    document = {**content, "signature": key.sign(canonical_json(content))}
    return f"{json.dumps(document, indent=1, sort_keys=True, allow_nan=False)}\n".encode()


def verified(data: bytes, version_id: str, key: SigningKey) -> ModelVersion:
    """Return the version that a manifest speaks of, if every word of it is vouched for.

    Parameters
    ----------
    data : bytes
        The stored manifest.
    version_id : str
        Id under which it was found.
    key : SigningKey
        The key it must be signed with.

    Raises
    ------
    RegistryError
        If it is not whole, was signed with another key, carries a wrong signature, or is that of
        another version.
    """
    where = f"manifest of model {version_id[:12]}"
    try:
        document = dict(json.loads(data))
        signature = str(document.pop("signature"))
        schema, key_id = document["schema_version"], document["key_id"]
        content = canonical_json(document)
    except (KeyError, TypeError, ValueError) as error:
        raise RegistryError(f"{where} is not whole ({error!r}); register it again") from None
    if schema != MANIFEST_VERSION:
        raise RegistryError(f"{where} has schema {schema!r}; this pmx-ray reads {MANIFEST_VERSION}")
    if key_id != key.id:
        raise RegistryError(
            f"{where} was signed with key {key_id}, and the key here is {key.id}; "
            "set PMX_SIGNING_KEY to the key it was registered with"
        )
    if not key.verifies(content, signature):
        raise RegistryError(f"{where} has a wrong signature: it was altered; register it again")
    version = ModelVersion(**document["version"])
    if version.id != version_id:
        raise RegistryError(f"{where} is that of model {version.id[:12]}: it was moved")
    return version
