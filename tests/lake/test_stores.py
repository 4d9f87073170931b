"""One suite over every store: what ``BlockStore`` promises."""

import multiprocessing
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pmx_ray.errors import LakeError, MissingValueError
from pmx_ray.lake import BlockStore, open_store
from pmx_ray.lake.store import MAX_KEY, check_key, is_key

KEY = "blocks/ab/abcdef01.parquet"


def test_put_new_when_absent_then_written(store: BlockStore) -> None:
    assert store.put_new(KEY, b"one")
    assert store.get(KEY) == b"one"
    assert store.exists(KEY)


def test_put_new_when_present_then_first_value_stands(store: BlockStore) -> None:
    assert store.put_new(KEY, b"one")
    assert not store.put_new(KEY, b"two")
    assert store.get(KEY) == b"one"


def test_put_new_when_empty_value_then_value_is_empty(store: BlockStore) -> None:
    assert store.put_new(KEY, b"")
    assert store.get(KEY) == b""
    assert not store.put_new(KEY, b"more")


def test_replace_when_present_or_absent_then_last_value_stands(store: BlockStore) -> None:
    store.replace(KEY, b"one")
    store.replace(KEY, b"two" * 100_000)
    assert store.get(KEY) == b"two" * 100_000


def test_get_when_absent_then_error_names_the_address(store: BlockStore) -> None:
    with pytest.raises(MissingValueError) as caught:
        store.get(KEY)
    assert f"{store.url}/{KEY}" in str(caught.value)
    assert not store.exists(KEY)


def test_delete_when_present_or_absent_then_gone(store: BlockStore) -> None:
    store.put_new(KEY, b"one")
    store.delete(KEY)
    store.delete(KEY)
    assert not store.exists(KEY)
    assert store.put_new(KEY, b"again")


def test_keys_when_empty_then_none(store: BlockStore) -> None:
    assert list(store.keys()) == []
    assert list(store.keys("blocks/ab/")) == []


def test_keys_when_prefix_cuts_a_name_then_its_matches(store: BlockStore) -> None:
    names = ["blocks/ab/ab01.json", "blocks/ab/ab02.json", "blocks/ac/ac01.json", "notes.txt"]
    for name in names:
        store.put_new(name, b"x")
    assert sorted(store.keys()) == names
    assert sorted(store.keys("blocks/ab/")) == names[:2]
    assert sorted(store.keys("blocks/a")) == names[:3]
    assert sorted(store.keys("blocks/ab/ab02")) == names[1:2]
    assert list(store.keys("blocks/zz/")) == []


def test_keys_when_over_a_page_then_all_of_them(store: BlockStore) -> None:
    # S3 lists at most 1000 keys a page.
    names = {f"blocks/{n % 7:02d}/{n:08x}.json" for n in range(1_003)}
    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(lambda name: store.put_new(name, b"{}"), names))
    listed = list(store.keys("blocks/"))
    assert len(listed) == len(names)
    assert set(listed) == names


def test_put_new_when_sixteen_threads_race_then_one_winner(racing_store: BlockStore) -> None:
    for n in range(5):
        key = f"blocks/ab/{n:08x}.parquet"
        with ThreadPoolExecutor(16) as pool:
            won = list(
                pool.map(
                    lambda i, key=key: racing_store.put_new(key, b"%d" % i * 50_000), range(16)
                )
            )
        assert won.count(True) == 1
        assert racing_store.get(key) == b"%d" % won.index(True) * 50_000


def _put(task: tuple[str, str, int]) -> bool:
    url, key, writer = task
    return open_store(url).put_new(key, b"%d" % writer * 200_000)


def test_put_new_when_four_processes_race_then_one_winner(racing_store: BlockStore) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        for n in range(5):
            key = f"blocks/ab/{n:08x}.parquet"
            won = pool.map(_put, [(racing_store.url, key, i) for i in range(4)], chunksize=1)
            assert won.count(True) == 1
            assert racing_store.get(key) == b"%d" % won.index(True) * 200_000


def test_pickle_when_reopened_then_same_place(store: BlockStore) -> None:
    store.put_new(KEY, b"one")
    again: BlockStore = pickle.loads(pickle.dumps(store))  # our own bytes, as Ray ships them
    assert again.url == store.url
    assert again.get(KEY) == b"one"


WRITER = """
import sys
from pmx_ray.lake import open_store
store = open_store(sys.argv[1])
for n in range(10_000):
    data = bytes([n % 256]) * (8 << 20)
    print("start", n, flush=True)
    if n % 2:
        store.put_new(f"blocks/ab/{n:08x}.parquet", data)
    else:
        store.replace("blocks/ab/ffffffff.parquet", data)
"""


@pytest.mark.drill
@pytest.mark.parametrize("survived", [1, 2, 5])
def test_write_when_killed_then_values_whole_or_absent(store: BlockStore, survived: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, store.url], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            if line.split() == ["start", str(survived)]:
                process.send_signal(signal.SIGKILL)  # as a value is being written
                break
    assert process.wait() == -signal.SIGKILL
    for key in list(store.keys()):
        data = store.get(key)
        assert len(data) == 8 << 20
        assert data == data[:1] * len(data)
    # Whatever was cut off can be written again.
    assert store.exists("blocks/ab/ffffffff.parquet")
    again = f"blocks/ab/{survived:08x}.parquet"
    store.replace(again, b"whole")
    assert store.get(again) == b"whole"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd.txt",
        "../a.txt",
        "a/../b.txt",
        "a//b.txt",
        "a/./b.txt",
        "a/",
        "a/b",
        "a.d/b.txt",
        "A/b.txt",
        ".hidden.txt",
        "a/.b.txt.0123.tmp",
        "a\\b.txt",
        "a/b.txt\n",
        "a/b .txt",
        "é.txt",
        "a/" * 300 + "b.txt",
        "b" * 129 + ".txt",
    ],
)
def test_key_when_not_a_key_then_every_verb_refuses(store: BlockStore, key: str) -> None:
    for verb in (store.get, store.exists, store.delete):
        with pytest.raises(LakeError, match="is not a key"):
            verb(key)
    for write in (store.put_new, store.replace):
        with pytest.raises(LakeError, match="is not a key"):
            write(key, b"x")


@pytest.mark.parametrize("prefix", ["../", "/", "a/../", "a//", "A"])
def test_prefix_when_no_key_starts_so_then_refused(store: BlockStore, prefix: str) -> None:
    with pytest.raises(LakeError, match="cannot start a key"):
        list(store.keys(prefix))


word = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True)
keys = st.builds(
    lambda folders, name, ending: "/".join([*folders, f"{name}.{ending}"]),
    st.lists(word, max_size=4),
    word,
    st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True),
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(keys=st.lists(keys, max_size=6, unique=True), data=st.binary(max_size=200))
def test_keys_when_any_keys_written_then_same_keys_listed(
    store: BlockStore, keys: list[str], data: bytes
) -> None:
    for key in keys:
        assert store.put_new(key, data)
    assert sorted(store.keys()) == sorted(keys)
    for key in keys:
        assert store.get(key) == data
        assert key in set(store.keys(key[: len(key) // 2]))
        store.delete(key)
    assert list(store.keys()) == []


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=40) | st.from_regex(r"[a-z./]{1,30}", fullmatch=True))
def test_check_key_when_any_text_then_key_stays_inside_and_is_short(text: str) -> None:
    try:
        key = check_key(text)
    except LakeError:
        assert not is_key(text)
        return
    assert is_key(key)
    assert len(key) <= MAX_KEY
    assert not {"", ".", ".."} & set(key.split("/"))
    assert key == key.lower()
