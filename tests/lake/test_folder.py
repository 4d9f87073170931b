"""What is particular to a folder: orphans, a folder that cannot be written, addresses."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pmx_ray.errors import LakeError, SettingsError
from pmx_ray.lake import FolderStore, ObjectStore, open_store

KEY = "blocks/ab/abcdef01.parquet"


def orphan(store: FolderStore, name: str, *, age_s: float) -> Path:
    path = store.root / "blocks/ab" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half a val")
    then = time.time() - age_s
    os.utime(path, (then, then))
    return path


def test_keys_when_orphans_and_strangers_lie_about_then_invisible(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put_new(KEY, b"one")
    orphan(store, ".abcdef01.parquet.0123.tmp", age_s=0)
    (tmp_path / "blocks" / "README").write_text("no key")
    (tmp_path / "UPPER.txt").write_text("no key")
    assert list(store.keys()) == [KEY]


def test_remove_orphans_when_old_then_removed_and_young_and_values_kept(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put_new(KEY, b"one")
    os.utime(tmp_path / KEY, (0, 0))
    old = orphan(store, ".a.parquet.0123.tmp", age_s=7200)
    young = orphan(store, ".b.parquet.0123.tmp", age_s=60)
    hidden = orphan(store, ".gitignore", age_s=7200)
    assert store.remove_orphans() == 1
    assert not old.exists()
    assert young.exists()
    assert hidden.exists()
    assert store.get(KEY) == b"one"


def test_remove_orphans_when_no_folder_then_none(tmp_path: Path) -> None:
    assert FolderStore(tmp_path / "none").remove_orphans() == 0


def test_write_when_done_then_no_temporary_left(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    assert store.put_new(KEY, b"one")
    assert not store.put_new(KEY, b"two")
    store.replace(KEY, b"three")
    assert [path.name for path in (tmp_path / KEY).parent.iterdir()] == [Path(KEY).name]


def test_write_when_link_lost_the_race_then_no_temporary_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another process creates the value after this one looked.
    store = FolderStore(tmp_path)
    store.put_new(KEY, b"one")
    monkeypatch.setattr(Path, "exists", lambda path: path != tmp_path / KEY)
    assert not store.put_new(KEY, b"two")
    assert store.get(KEY) == b"one"
    assert [path.name for path in (tmp_path / KEY).parent.iterdir()] == [Path(KEY).name]


def test_open_when_folder_missing_then_made_by_the_first_write_alone(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "deep" / "lake"))
    assert list(store.keys()) == []
    assert not (tmp_path / "deep").exists()
    store.put_new(KEY, b"one")
    assert store.get(KEY) == b"one"


def test_write_when_root_is_a_file_then_error_names_it(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("a file")
    store = FolderStore(tmp_path / "lake")
    with pytest.raises(LakeError, match=r"lake/blocks/ab/abcdef01.parquet: cannot be written"):
        store.put_new(KEY, b"one")
    with pytest.raises(LakeError, match="cannot be read"):
        store.get(KEY)
    with pytest.raises(LakeError, match="cannot be listed"):
        list(store.keys())


CRASHES = """
import os, signal, sys
from pathlib import Path
from pmx_ray.lake import FolderStore

KEY = "blocks/ab/abcdef01.parquet"
OLD, NEW = b"old" * 100_000, b"new" * 90_000
os.fsync = lambda descriptor: None  # a kill, unlike a power cut, loses nothing handed to the system

def die_at(line):
    seen = 0
    def trace(frame, event, arg):
        nonlocal seen
        seen += event == "line"
        if seen == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace
    sys.settrace(trace)

def killed(write, root, line):
    child = os.fork()
    if child == 0:
        die_at(line)
        write(FolderStore(root), KEY, NEW)
        os._exit(0)
    return os.waitpid(child, 0)[1] == signal.SIGKILL

def crash_everywhere(write, root, old):
    line, found = 0, set()
    while True:
        line += 1
        store = FolderStore(root / str(line))
        if old is not None:
            store.put_new(KEY, old)
        if not killed(write, store.root, line):
            return line - 1, found
        values = [store.get(key) for key in store.keys()]
        assert values in ([], [OLD], [NEW]), (line, [len(value) for value in values])
        found.add({(): "none", (OLD,): "old", (NEW,): "new"}[tuple(values)])
        store.replace(KEY, NEW)
        assert store.get(KEY) == NEW

root = Path(sys.argv[1])
for verb, old in (("put_new", None), ("replace", OLD), ("replace", None)):
    lines, found = crash_everywhere(getattr(FolderStore, verb), root / f"{verb}-{old is None}", old)
    print(verb, lines > 30, sorted(found))
"""


@pytest.mark.drill
def test_write_when_killed_at_any_line_then_old_value_or_new_or_none(tmp_path: Path) -> None:
    # A child process for each line that a write runs through, our own and the library's, killed
    # on reaching it.
    done = subprocess.run(
        [sys.executable, "-c", CRASHES, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "put_new True ['new', 'none']",
        "replace True ['new', 'old']",
        "replace True ['new', 'none']",
    ]


FILLS = """
import resource, sys
from pathlib import Path
from pmx_ray.errors import LakeError
from pmx_ray.lake import FolderStore
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for write in (FolderStore(Path(sys.argv[1])).put_new, FolderStore(Path(sys.argv[1])).replace):
    try:
        write("blocks/ab/abcdef01.parquet", b"x" * 100_000)
    except LakeError as error:
        print(error)
"""


def test_write_when_disk_refuses_more_then_error_and_nothing_left(tmp_path: Path) -> None:
    # A limit on the size of a file stands in for a full disk: the write stops half-way.
    done = subprocess.run(
        [sys.executable, "-c", FILLS, str(tmp_path)], capture_output=True, text=True, check=True
    )
    errors = done.stdout.splitlines()
    assert len(errors) == 2
    for error in errors:
        assert f"{tmp_path.as_uri()}/blocks/ab/abcdef01.parquet: cannot be written" in error
        assert "File too large; it needs 100,000 bytes, and " in error
        assert re.search(rf"[0-9,]+ are free on the disk of {tmp_path}; make room", error)
        assert "run the same command again" in error
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_store_when_made_with_a_relative_path_then_address_is_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("runs/lake")
    monkeypatch.chdir("/")
    store.put_new(KEY, b"one")
    assert store.url == f"file://{tmp_path}/runs/lake"
    assert open_store(store.url).get(KEY) == b"one"


def test_open_when_path_holds_a_space_then_address_reopens_it(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "my lake 100%"))
    store.put_new(KEY, b"one")
    assert "%20" in store.url
    assert open_store(store.url).get(KEY) == b"one"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "  ",
        "ftp://host/lake",
        "gs://bucket/lake",
        "https://user:secret@host/lake",
        "s3:bucket",
        "s3://",
        "s3://b",
        "s3://Bucket/x",
        "s3://bucket/a/../b",
        "s3://bucket/a?versionId=3",
        "s3://key:secret@bucket/x",
        "file://otherhost/lake",
        "file:lake",
    ],
)
def test_open_when_address_is_not_known_then_refused_without_its_secret(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        open_store(url)
    assert "secret" not in str(caught.value).replace("AWS_SECRET_ACCESS_KEY", "")


def test_open_when_s3_then_prefix_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    store = open_store("s3://my-bucket/some/prefix/")
    assert isinstance(store, ObjectStore)
    assert store.url == "s3://my-bucket/some/prefix"
    assert repr(store) == "ObjectStore('s3://my-bucket/some/prefix')"
    assert open_store("s3://my-bucket").url == "s3://my-bucket"
