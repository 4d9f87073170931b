"""What is particular to S3: conflicts, lost answers, wrong credentials, a missing library."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import stamina

from pmx_ray.errors import LakeError, MissingValueError
from pmx_ray.lake import BlockStore, find_receipts, open_store

if TYPE_CHECKING:
    from tests.lake.conftest import S3Server

BUCKET = "pmx-lake-test"
KEY = "blocks/ab/abcdef01.parquet"


class ScriptedServer(ThreadingHTTPServer):
    """One bucket in memory that misbehaves as told.

    ``faults`` are taken one a request: ``conflict`` answers 409, ``lose`` carries the request out
    and drops the connection, ``cut`` sends half of the body, ``fail`` answers 500.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ScriptedHandler)
        self.objects: dict[str, tuple[bytes, str]] = {}
        self.faults: list[str] = []
        self.requests: list[str] = []


class ScriptedHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _fault(self) -> str:
        self.server.requests.append(self.command)
        return self.server.faults.pop(0) if self.server.faults else ""

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _error(self, status: int, code: str) -> None:
        body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        self._answer(status, body)

    def do_PUT(self) -> None:
        fault = self._fault()
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if fault == "conflict":
            return self._error(409, "ConditionalRequestConflict")
        if fault == "fail":
            return self._error(500, "InternalError")
        if self.headers.get("If-None-Match") == "*" and self.path in self.server.objects:
            return self._error(412, "PreconditionFailed")
        self.server.objects[self.path] = (data, self.headers.get("x-amz-meta-writer", ""))
        if fault == "lose":
            self.close_connection = True
            return None
        return self._answer(200, ETag='"x"')

    def do_HEAD(self) -> None:
        self._fault()
        if self.path not in self.server.objects:
            return self._answer(404)
        data, writer = self.server.objects[self.path]
        return self._answer(200, x_amz_meta_writer=writer, Content_Length=str(len(data)))

    def do_GET(self) -> None:
        fault = self._fault()
        if self.path not in self.server.objects:
            return self._error(404, "NoSuchKey")
        data = self.server.objects[self.path][0]
        if fault == "cut":
            self._answer(200, data[: len(data) // 2], Content_Length=str(len(data)))
            self.close_connection = True
            return None
        return self._answer(200, data)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_put_new_when_server_reports_conflict_then_repeated(scripted: ScriptedServer) -> None:
    scripted.faults = ["conflict", "conflict"]
    assert open_store("s3://bucket/lake").put_new(KEY, b"one")
    assert scripted.requests == ["PUT"] * 3
    assert scripted.objects[f"/bucket/lake/{KEY}"][0] == b"one"


def test_put_new_when_conflict_never_ends_then_error(scripted: ScriptedServer) -> None:
    scripted.faults = ["conflict"] * 50
    with (
        stamina.set_testing(True, attempts=4),
        pytest.raises(LakeError, match=r"ConditionalRequestConflict \(409\)"),
    ):
        open_store("s3://bucket/lake").put_new(KEY, b"one")
    assert scripted.requests == ["PUT"] * 4


def test_put_new_when_answer_was_lost_then_this_call_is_the_winner(
    scripted: ScriptedServer,
) -> None:
    # The value is written, the answer is lost, and the repeated request meets its own value.
    scripted.faults = ["lose"]
    assert open_store("s3://bucket/lake").put_new(KEY, b"one")
    assert scripted.requests == ["PUT", "PUT", "HEAD"]


def test_put_new_when_another_writer_came_first_then_false(scripted: ScriptedServer) -> None:
    assert open_store("s3://bucket/lake").put_new(KEY, b"one")
    assert not open_store("s3://bucket/lake").put_new(KEY, b"two")
    assert scripted.objects[f"/bucket/lake/{KEY}"][0] == b"one"


def test_put_new_when_server_fails_once_then_repeated(scripted: ScriptedServer) -> None:
    scripted.faults = ["fail"]
    assert open_store("s3://bucket/lake").put_new(KEY, b"one")


def test_get_when_body_is_cut_off_then_read_again(scripted: ScriptedServer) -> None:
    store = open_store("s3://bucket/lake")
    store.put_new(KEY, b"0123456789" * 1000)
    scripted.faults = ["cut"]
    assert store.get(KEY) == b"0123456789" * 1000


def test_find_receipts_when_bucket_is_missing_then_error_says_so(
    seaweed_server: "S3Server", monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in seaweed_server.environment().items():
        monkeypatch.setenv(name, value)
    with pytest.raises(LakeError, match=r"s3://no-such-bucket/.*NoSuchBucket.*create it first"):
        find_receipts(open_store("s3://no-such-bucket/x"))


@pytest.mark.parametrize(
    ("variable", "advice"),
    [
        ("AWS_SECRET_ACCESS_KEY", "check AWS_SECRET_ACCESS_KEY"),
        ("AWS_ACCESS_KEY_ID", "check AWS_ACCESS_KEY_ID"),
    ],
)
def test_put_new_when_credentials_are_wrong_then_error_without_them(
    seaweed_server: "S3Server", monkeypatch: pytest.MonkeyPatch, variable: str, advice: str
) -> None:
    for name, value in seaweed_server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(variable, "hunter2")
    store = open_store(f"s3://{BUCKET}/x")
    with pytest.raises(LakeError) as caught:
        store.put_new(KEY, b"one")
    assert advice in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_get_when_server_is_down_then_error_names_no_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://me:hunter2@127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr("pmx_ray.lake.objects.ATTEMPTS", 1)
    with pytest.raises(LakeError, match="AWS_ENDPOINT_URL_S3") as caught:
        open_store("s3://bucket/lake").get(KEY)
    assert not isinstance(caught.value, MissingValueError)
    assert "hunter2" not in str(caught.value)


WITHOUT_BOTO3 = """
import sys
sys.modules["boto3"] = None
from pmx_ray.lake import open_store
open_store("/tmp/lake")
open_store("s3://bucket/lake")
"""


def test_open_when_boto3_is_missing_then_error_says_what_to_install() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_BOTO3], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "SettingsError" in done.stderr.splitlines()[-1]
    assert "pip install 'pmx-ray[s3]'" in done.stderr.splitlines()[-1]


def test_import_when_lake_is_a_folder_then_boto3_not_loaded() -> None:
    code = "import sys, pmx_ray.lake; sys.exit('boto3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_put_new_when_sixteen_clients_race_on_a_server_then_one_winner(
    seaweed_server: "S3Server", monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in seaweed_server.environment().items():
        monkeypatch.setenv(name, value)
    url = f"s3://{BUCKET}/{uuid4().hex}"
    stores: list[BlockStore] = [open_store(url) for _ in range(16)]
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(lambda n: stores[n].put_new(KEY, b"%d" % n), range(16)))
    assert won.count(True) == 1
    assert stores[0].get(KEY) == b"%d" % won.index(True)
