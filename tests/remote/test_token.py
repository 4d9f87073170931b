"""This account's token: made once, for its owner alone."""

from multiprocessing.pool import ThreadPool

import pytest

from pmx_ray.errors import ClusterError
from pmx_ray.remote.token import keep_token, token_path


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_token_when_there_is_none_then_made_for_its_owner_alone(home):
    path = keep_token()
    assert path == home / ".ray" / "auth_token"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0
    assert len(path.read_text()) == 64


def test_token_when_there_is_one_then_kept():
    first = keep_token().read_text()
    assert keep_token().read_text() == first


def test_token_when_many_ask_at_once_then_one_is_made():
    with ThreadPool(8) as pool:
        found = pool.map(lambda _: keep_token().read_text(), range(32))
    assert len(set(found)) == 1


def test_token_when_others_may_read_it_then_refused_with_the_remedy(home):
    keep_token().chmod(0o644)
    with pytest.raises(ClusterError, match=f"chmod 600 {home}"):
        keep_token()


def test_token_when_its_folder_cannot_be_made_then_error_says_so(home):
    (home / ".ray").write_text("a file")
    with pytest.raises(ClusterError, match="cannot be made"):
        keep_token()


def test_token_when_the_environment_names_a_file_then_that_one(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "mine"))
    assert token_path() == tmp_path / "mine"
    assert keep_token() == tmp_path / "mine"
