"""The registry: model versions in a store, each served only if every byte of it is vouched for."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pmx_ray.errors import LakeError, MissingValueError, RegistryError
from pmx_ray.governance.manifest import (
    MANIFEST,
    ModelVersion,
    check_file_name,
    signed,
    verified,
)
from pmx_ray.governance.signing import SigningKey
from pmx_ray.lake import BlockStore, FolderStore
from pmx_ray.ledger.aliases import Alias

_VERSION_ID = re.compile(r"[0-9a-f]{64}")
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")
"""What a killed writer leaves in a folder; nothing reads it."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model version whose signature, id and files were verified.

    Attributes
    ----------
    version : ModelVersion
        What it is.
    files : mapping of str to bytes
        The very bytes that were verified; a loader reads these and not the store again.
    """

    version: ModelVersion
    files: Mapping[str, bytes]

    @property
    def id(self) -> str:
        """The version's id."""
        return self.version.id


@dataclass(frozen=True, slots=True)
class Serving:
    """What an alias serves.

    Attributes
    ----------
    alias : Alias
        What was asked for.
    served : Alias
        The alias whose model it is: ``alias``, or what took its place.
    model : LoadedModel
        The model.
    reason : str
        Why another took its place; empty where none did.
    """

    alias: Alias
    served: Alias
    model: LoadedModel
    reason: str


class Registry:
    """Model versions under ``models/<version_id>/`` in a store: ``manifest.json`` and its files.

    Versions never change: the id is the hash of the manifest's content, which names the hash of
    every file. Threads and processes may register at once.

    Parameters
    ----------
    store : BlockStore
        A folder, or S3.
    key : SigningKey
        Signs and verifies the manifests.
    """

    def __init__(self, store: BlockStore, *, key: SigningKey) -> None:
        self._store, self._key = store, key

    @property
    def url(self) -> str:
        """Address of the store."""
        return self._store.url

    def register(self, version: ModelVersion, files: Mapping[str, bytes]) -> LoadedModel:
        """Write a version, files first and manifest last; one that is there is left alone.

        Parameters
        ----------
        version : ModelVersion
            Its ``files`` are replaced by the hashes of ``files``.
        files : mapping of str to bytes
            The fitted state: names with their content.

        Raises
        ------
        RegistryError
            If a file's name or ending is not allowed, or what is there already under this id does
            not verify.
        LakeError
            If the store cannot be written.
        """
        for name in files:
            check_file_name(name)
        hashes = {name: _sha256(content) for name, content in files.items()}
        version = replace(version, files=hashes)
        for name, content in files.items():
            self._store.put_new(_key(version.id, name), content)
        self._store.put_new(_key(version.id, MANIFEST), signed(version, self._key))
        return self.load(version.id)

    def load(self, version_id: str) -> LoadedModel:
        """Return a version if it verifies: id, signature, each file's hash, and no other file.

        Raises
        ------
        RegistryError
            If anything does not; the message says what.
        """
        if not _VERSION_ID.fullmatch(version_id):
            raise RegistryError(f"model {version_id!r} is no id; it has 64 hexadecimal digits")
        try:
            return self._load(version_id)
        except MissingValueError as error:
            raise RegistryError(f"model {version_id[:12]} is not whole: {error}") from None
        except LakeError as error:
            raise RegistryError(f"model {version_id[:12]} cannot be read: {error}") from None

    def versions(self) -> tuple[str, ...]:
        """Return the id of every version that has a manifest, verified or not, sorted."""
        keys = self._store.keys("models/")
        return tuple(sorted(key.split("/")[1] for key in keys if key.endswith(f"/{MANIFEST}")))

    def serving(self, alias: Alias, *, models: Mapping[Alias, str]) -> Serving:
        """Return the version behind an alias, or the last good one and why.

        Where neither can serve, the fallback does.

        Parameters
        ----------
        alias : Alias
            What is asked for.
        models : mapping of Alias to str
            The version that each alias points to, as ``Aliases.current`` says.

        Raises
        ------
        RegistryError
            If no version can serve; the message has each reason.
        """
        reasons: list[str] = []
        for candidate in dict.fromkeys((alias, Alias.LAST_GOOD, Alias.FALLBACK)):
            if candidate not in models:
                reasons.append(f"{candidate} is not set")
                continue
            try:
                model = self.load(models[candidate])
            except RegistryError as error:
                reasons.append(f"{candidate}: {error}")
                continue
            return Serving(alias, candidate, model, "; ".join(reasons))
        raise RegistryError(f"no model can serve: {'; '.join(reasons)}")

    def _load(self, version_id: str) -> LoadedModel:
        present = self._present(version_id)
        version = verified(self._store.get(_key(version_id, MANIFEST)), version_id, self._key)
        _check_present(version, present - {MANIFEST})
        files = {name: self._store.get(_key(version_id, name)) for name in version.files}
        for name, content in files.items():
            if _sha256(content) != version.files[name]:
                raise RegistryError(
                    f"{name} of model {version_id[:12]} does not match its hash in the manifest: "
                    "it was altered; restore it or revert"
                )
        return LoadedModel(version, files)

    def _present(self, version_id: str) -> set[str]:
        """Return every name in the version's folder, also those that are no key of a store."""
        prefix = _key(version_id, "")
        if not isinstance(self._store, FolderStore):
            return {key.removeprefix(prefix) for key in self._store.keys(prefix)}
        folder = self._store.root / prefix
        try:
            names = {path.name for path in folder.iterdir()}
        except OSError as error:
            raise RegistryError(
                f"model {version_id[:12]} is not in {folder}: {error.strerror}; register it again"
            ) from None
        return {name for name in names if not _TEMPORARY.fullmatch(name)}


def _check_present(version: ModelVersion, present: Iterable[str]) -> None:
    for name in sorted(set(present) - set(version.files)):
        check_file_name(name)  # says more of a .pkl than that it is not listed
        raise RegistryError(
            f"{name} lies beside model {version.id[:12]} and its manifest does not list it; "
            "remove it"
        )
    for name in sorted(set(version.files) - set(present)):
        raise RegistryError(f"{name} of model {version.id[:12]} is missing; restore it or revert")


def _key(version_id: str, name: str) -> str:
    return f"models/{version_id}/{name}"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
