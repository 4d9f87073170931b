"""The registry: what is altered, added, missing or signed by another is refused with its reason."""

import hashlib
import hmac
import json
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pmx_ray.errors import RegistryError, SettingsError
from pmx_ray.governance.manifest import ModelVersion
from pmx_ray.governance.registry import Registry
from pmx_ray.governance.signing import SigningKey, signing_key
from pmx_ray.lake import FolderStore
from pmx_ray.ledger.aliases import Alias

KEY, OTHER = SigningKey(b"k" * 32), SigningKey(b"o" * 32)
FILES = {"state.json": b'{"omega": 0.1}', "scaler.parquet": b"PAR1", "net.safetensors": b"\x00"}


def version(name: str = "garch", **changes: object) -> ModelVersion:
    whole = ModelVersion(
        spec_id=f"{name}-id",
        name=name,
        label=f"{name}(dist=t)",
        params={"dist": "t", "orders": (1, 1)},
        panel_sha256="a" * 64,
        engine_version="1",
        libraries={"numpy": "2.4"},
        metrics={"rmse": 0.25, "sharpe": None},
        decision_id="d" * 64,
        files={},
    )
    return replace(whole, **changes)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(FolderStore(tmp_path), key=KEY)


def folder_of(tmp_path: Path, version_id: str) -> Path:
    return tmp_path / "models" / version_id


def test_register_when_loaded_then_the_same_version_and_bytes(registry: Registry) -> None:
    kept = registry.register(version(), FILES)
    found = registry.load(kept.id)
    assert found == kept
    assert found.files == FILES
    assert found.version.files["state.json"] == hashlib.sha256(FILES["state.json"]).hexdigest()
    assert found.version.params == {"dist": "t", "orders": [1, 1]}
    assert found.version.metrics == {"rmse": 0.25, "sharpe": None}
    assert registry.versions() == (kept.id,)


def test_register_when_repeated_then_one_version(registry: Registry) -> None:
    first = registry.register(version(), FILES)
    assert registry.register(version(), FILES) == first
    assert len(registry.versions()) == 1


@pytest.mark.parametrize(
    "change", [{"panel_sha256": "b" * 64}, {"decision_id": ""}, {"metrics": {"rmse": 0.26}}]
)
def test_register_when_anything_differs_then_another_id(
    registry: Registry, change: dict[str, object]
) -> None:
    ids = {
        registry.register(version(), FILES).id,
        registry.register(version(**change), FILES).id,
        registry.register(version(**change), {**FILES, "state.json": b"{}"}).id,
    }
    assert len(ids) == 3


def test_manifest_when_signed_then_anyone_with_the_key_can_check_it(
    registry: Registry, tmp_path: Path
) -> None:
    kept = registry.register(version(), FILES)
    document = json.loads((folder_of(tmp_path, kept.id) / "manifest.json").read_bytes())
    signature = document.pop("signature")
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hmac.new(b"k" * 32, text.encode(), hashlib.sha256).hexdigest() == signature
    assert b"k" * 32 not in (folder_of(tmp_path, kept.id) / "manifest.json").read_bytes()


def test_register_when_killed_before_the_manifest_then_absent_and_completed_later(
    registry: Registry, tmp_path: Path
) -> None:
    kept = registry.register(version(), FILES)
    folder = folder_of(tmp_path, kept.id)
    (folder / "manifest.json").unlink()
    (folder / f".state.json.{'0' * 32}.tmp").write_bytes(b"half")  # the killed writer's
    assert registry.versions() == ()
    with pytest.raises(RegistryError, match="is not whole"):
        registry.load(kept.id)
    assert registry.register(version(), FILES) == kept


def test_register_when_threads_do_it_at_once_then_all_get_the_same(registry: Registry) -> None:
    with ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(lambda _: registry.register(version(), FILES), range(24)))
    assert all(model == kept[0] for model in kept)


def _edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def _drop(name: str, content: bytes = b"\x80\x04N.") -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def _alter(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    return lambda folder: _edit(folder / "manifest.json", change)


TAMPERED = {
    "a file is altered": (_drop("state.json", b"{}"), "state.json .* does not match its hash"),
    "a file is missing": (lambda f: (f / "state.json").unlink(), "state.json .* is missing"),
    "a pickle is added": (_drop("model.pkl"), "model.pkl has an ending that is not allowed"),
    "a hidden pickle": (_drop(".pkl"), ".pkl has an ending that is not allowed"),
    "a pickle in capitals": (_drop("Model.PKL"), "Model.PKL has an ending that is not allowed"),
    "a folder is added": (lambda f: (f / "sub").mkdir(), "sub has an ending that is not allowed"),
    "a file is not listed": (_drop("more.json"), "more.json lies beside .* remove it"),
    "the manifest is gone": (lambda f: (f / "manifest.json").unlink(), "is not whole"),
    "the manifest is cut": (
        lambda f: (f / "manifest.json").write_bytes((f / "manifest.json").read_bytes()[:200]),
        "manifest of model .* is not whole",
    ),
    "the manifest is empty": (_drop("manifest.json", b""), "is not whole"),
    "the manifest is a list": (_drop("manifest.json", b"[]"), "is not whole"),
    "the manifest is no text": (_drop("manifest.json", b"\xff\xfe"), "is not whole"),
    "a metric is altered": (
        _alter(lambda d: d["version"]["metrics"].update(rmse=0.01)),
        "wrong signature: it was altered",
    ),
    "the signature is wrong": (_alter(lambda d: d.update(signature="0" * 64)), "wrong signature"),
    "the signature is no text": (_alter(lambda d: d.update(signature="\ud800")), "wrong signature"),
    "the signature is gone": (_alter(lambda d: d.pop("signature")), "is not whole"),
    "the key's id is forged": (_alter(lambda d: d.update(key_id=OTHER.id)), "signed with key"),
    "something is added": (_alter(lambda d: d.update(note="x")), "wrong signature"),
    "the schema is newer": (_alter(lambda d: d.update(schema_version="9")), "schema '9'"),
    "a file and its hash are altered": (
        lambda f: (
            _drop("state.json", b"{}")(f),
            _edit(
                f / "manifest.json",
                lambda d: d["version"]["files"].update(
                    {"state.json": hashlib.sha256(b"{}").hexdigest()}
                ),
            ),
        ),
        "wrong signature",
    ),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_load_when_tampered_then_refused_with_its_reason_and_the_last_good_one_serves(
    registry: Registry, tmp_path: Path, case: str
) -> None:
    tamper, reason = TAMPERED[case]
    good = registry.register(version("ewma"), FILES)
    bad = registry.register(version("garch"), FILES)
    models = {Alias.CHAMPION: bad.id, Alias.LAST_GOOD: good.id}
    assert registry.serving(Alias.CHAMPION, models=models).model == bad
    tamper(folder_of(tmp_path, bad.id))
    with pytest.raises(RegistryError, match=reason):
        registry.load(bad.id)
    serving = registry.serving(Alias.CHAMPION, models=models)
    assert serving.model == good
    assert serving.served is Alias.LAST_GOOD
    assert serving.reason.startswith("champion: ")


def test_load_when_signed_with_another_key_then_refused_and_both_named(tmp_path: Path) -> None:
    kept = Registry(FolderStore(tmp_path), key=OTHER).register(version(), FILES)
    with pytest.raises(RegistryError, match=f"key {OTHER.id}, and the key here is {KEY.id}"):
        Registry(FolderStore(tmp_path), key=KEY).load(kept.id)


def test_load_when_one_version_lies_in_anothers_place_then_refused(
    registry: Registry, tmp_path: Path
) -> None:
    old, new = registry.register(version("old"), FILES), registry.register(version("new"), FILES)
    (folder_of(tmp_path, old.id) / "manifest.json").replace(
        folder_of(tmp_path, new.id) / "manifest.json"
    )
    with pytest.raises(RegistryError, match=r"is that of model .* it was moved"):
        registry.load(new.id)


@pytest.mark.parametrize("version_id", ["", "../etc", "A" * 64, "a" * 63, "a" * 64 + "\n"])
def test_load_when_id_is_none_then_refused(registry: Registry, version_id: str) -> None:
    with pytest.raises(RegistryError, match="is no id"):
        registry.load(version_id)


def test_load_when_version_is_unknown_then_refused(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="model aaaaaaaaaaaa is not in"):
        registry.load("a" * 64)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("model.pkl", "loading anything else could run code"),
        ("model.pt", "not allowed"),
        ("state.json.pkl", "not allowed"),
        ("../state.json", "is no name"),
        ("State.json", "is no name"),
        ("manifest.json", "is no name"),
    ],
)
def test_register_when_a_file_is_not_allowed_then_refused_and_nothing_written(
    registry: Registry, tmp_path: Path, name: str, reason: str
) -> None:
    with pytest.raises(RegistryError, match=reason):
        registry.register(version(), {"state.json": b"{}", name: b"x"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "bad",
    [
        {"spec_id": ""},
        {"panel_sha256": ""},
        {"metrics": {"rmse": float("nan")}},
        {"params": {"x": object()}},
        {"files": {"model.pkl": "0"}},
    ],
)
def test_version_when_a_field_is_wrong_then_refused(bad: dict[str, object]) -> None:
    with pytest.raises(RegistryError):
        version(**bad)


def test_serving_when_nothing_verifies_then_error_with_each_reason(
    registry: Registry, tmp_path: Path
) -> None:
    bad = registry.register(version(), FILES)
    (folder_of(tmp_path, bad.id) / "state.json").unlink()
    with pytest.raises(
        RegistryError, match=r"champion: state.json .* last_good is not set; fallback: state.json"
    ):
        registry.serving(Alias.CHAMPION, models={Alias.CHAMPION: bad.id, Alias.FALLBACK: bad.id})


def test_serving_when_there_is_no_last_good_then_the_fallback(registry: Registry) -> None:
    kept = registry.register(version(), FILES)
    serving = registry.serving(Alias.CHAMPION, models={Alias.FALLBACK: kept.id})
    assert serving.served is Alias.FALLBACK
    assert serving.reason == "champion is not set; last_good is not set"


class Elsewhere:
    """A store that is not a folder to the registry, as S3 is not."""

    def __init__(self, root: Path) -> None:
        self._store = FolderStore(root)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_load_when_the_store_is_no_folder_then_the_same_answers(tmp_path: Path) -> None:
    registry = Registry(Elsewhere(tmp_path), key=KEY)  # type: ignore[arg-type]
    kept = registry.register(version(), FILES)
    assert registry.load(kept.id) == kept
    _drop("model.pkl")(folder_of(tmp_path, kept.id))
    with pytest.raises(RegistryError, match=r"model\.pkl has an ending"):
        registry.load(kept.id)
    with pytest.raises(RegistryError, match="model bbbbbbbbbbbb is not whole"):
        registry.load("b" * 64)


def test_key_when_there_is_none_then_made_once_for_its_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PMX_SIGNING_KEY", raising=False)
    home = tmp_path / "home"
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: signing_key(home), range(16)))
    assert len(keys) == 1
    assert [path.name for path in home.iterdir()] == ["signing.key"]
    assert stat.S_IMODE((home / "signing.key").stat().st_mode) == 0o600
    assert len(keys.pop().secret) >= 32
    (home / "signing.key").chmod(0o640)
    with pytest.raises(SettingsError, match=r"mode 0640.*chmod 600"):
        signing_key(home)


def test_key_when_environment_has_one_then_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PMX_SIGNING_KEY", "s" * 32 + "\n")
    assert signing_key(tmp_path) == SigningKey(b"s" * 32)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("short", ["", "hunter2", "s" * 31])
def test_key_when_too_short_then_refused_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: str
) -> None:
    monkeypatch.setenv("PMX_SIGNING_KEY", short)
    with pytest.raises(SettingsError, match=f"has {len(short)} bytes") as caught:
        signing_key(tmp_path)
    assert not short or short not in str(caught.value)


def test_key_when_shown_then_hidden() -> None:
    assert "k" * 32 not in repr(KEY) + str(KEY) + f"{KEY}"
    assert KEY.id != OTHER.id
