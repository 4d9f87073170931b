import hashlib
import hmac
import stat

import pytest

from pmx_ray.errors import SettingsError
from serve_apps.tokens import (
    TOKENS_VARIABLE,
    Keyring,
    Scope,
    Token,
    add_token,
    load_keyring,
    tokens_path,
)

HASH = hashlib.sha256(b"open sesame").hexdigest()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "api_tokens"


def written(path, text, *, mode=0o600):
    path.write_text(text)
    path.chmod(mode)
    return path


def test_scope_when_asked_then_covers_itself_and_what_comes_before():
    rows = {have: [have.covers(want) for want in Scope] for have in Scope}
    assert rows == {
        Scope.READ: [True, False, False],
        Scope.TRADE: [True, True, False],
        Scope.ADMIN: [True, True, True],
    }


def test_add_token_when_made_then_found_by_the_token_alone(path):
    token = add_token(path, "desk", Scope.TRADE)
    keyring = load_keyring(path)
    found = keyring.find(token)
    assert (found.name, found.scope) == ("desk", Scope.TRADE)
    for wrong in ("", token[:-1], token + "x", token.upper(), found.sha256, "\udcff", "ü"):
        assert keyring.find(wrong) is None, wrong


def test_add_token_when_made_then_file_is_private_and_holds_no_token(path):
    first = add_token(path, "a", Scope.READ)
    second = add_token(path, "b", Scope.ADMIN)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert first not in path.read_text()
    assert second not in path.read_text()
    assert load_keyring(path).names == ("a", "b")
    assert [left.name for left in path.parent.iterdir()] == [path.name]


def test_add_token_when_last_line_has_no_end_then_both_lines_stand(path):
    written(path, f"old read {HASH}")
    add_token(path, "new", Scope.READ)
    assert load_keyring(path).names == ("old", "new")


@pytest.mark.parametrize("name", ["", "-", "a b", "a\nb", "../a", "ü", "x" * 33])
def test_add_token_when_name_is_no_plain_name_then_refused(path, name):
    with pytest.raises(SettingsError, match="token name was"):
        add_token(path, name, Scope.READ)
    assert not path.exists()


def test_add_token_when_name_is_taken_then_refused_and_file_stays(path):
    add_token(path, "desk", Scope.READ)
    before = path.read_bytes()
    with pytest.raises(SettingsError, match="'desk' is there already"):
        add_token(path, "desk", Scope.ADMIN)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o666])
def test_load_keyring_when_others_may_use_the_file_then_refused(path, mode):
    written(path, f"desk read {HASH}\n", mode=mode)
    with pytest.raises(SettingsError, match="chmod 600"):
        load_keyring(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("desk read\n", "line 1: write it as"),
        (f"desk read {HASH} more\n", "line 1: write it as"),
        (f"a read {HASH}\n\nb root {'0' * 64}\n", "line 3: scope was root; known: read"),
        (f"a read {HASH[:-1]}\n", "line 1: write it as"),
        (f"a read {HASH.upper()}\n", "line 1: write it as"),
        (f"- read {HASH}\n", "line 1: write it as"),
        (f"a read {HASH}\na admin {'0' * 64}\n", "token 'a' is there twice"),
        (f"a read {HASH}\nb admin {HASH}\n", "'a' and 'b' are the same token"),
        ("ü", "cannot be read"),
    ],
)
def test_load_keyring_when_a_line_is_wrong_then_says_which(path, text, said):
    written(path, text)
    with pytest.raises(SettingsError, match=said):
        load_keyring(path)


def test_load_keyring_when_there_is_no_file_then_says_how_to_make_one(path):
    with pytest.raises(SettingsError, match="make a token with: pmx token"):
        load_keyring(path)


def test_find_when_presented_anything_then_compares_every_hash_in_constant_time(monkeypatch):
    ring = Keyring([Token(f"t{n}", Scope.READ, _sha(f"secret-{n}")) for n in range(5)])
    compared = []

    def counting(left, right):
        compared.append(right)
        return constant_time(left, right)

    constant_time = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", counting)
    for presented in ("secret-0", "secret-2", "secret-4", "wrong", ""):
        compared.clear()
        ring.find(presented)
        assert compared == [_sha(f"secret-{n}") for n in range(5)]


def test_find_when_nothing_is_presented_then_none():
    assert Keyring([]).find("") is None
    assert Keyring([Token("a", Scope.READ, _sha("x"))]).find("") is None


def test_tokens_path_when_named_by_the_environment_then_that_one(tmp_path, monkeypatch):
    monkeypatch.delenv(TOKENS_VARIABLE, raising=False)
    assert tokens_path(tmp_path) == tmp_path / "api_tokens"
    monkeypatch.setenv(TOKENS_VARIABLE, str(tmp_path / "elsewhere"))
    assert tokens_path(tmp_path) == tmp_path / "elsewhere"


def _sha(token):
    return hashlib.sha256(token.encode()).hexdigest()
