"""Real places for blocks: a folder, moto's S3 server, and a SeaweedFS server."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import boto3
import pytest
from moto.server import ThreadedMotoServer
from stamina import retry_context

from pmx_ray.lake import BlockStore, open_store

BUCKET = "pmx-lake-test"
READY_S = 120.0


@dataclass(frozen=True)
class S3Server:
    """A running server and the environment that leads to it."""

    endpoint: str
    key: str
    secret: str

    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def make_bucket(self) -> None:
        session = boto3.session.Session(
            aws_access_key_id=self.key, aws_secret_access_key=self.secret, region_name="us-east-1"
        )
        session.client("s3", endpoint_url=self.endpoint).create_bucket(Bucket=BUCKET)


def free_ports(count: int) -> list[int]:
    """Return ports that were free just now, outside the range that Ray hands to workers."""
    ports: list[int] = []
    for port in random.sample(range(20_000, 32_000), 400):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise RuntimeError("no free ports between 20000 and 32000")


@pytest.fixture(scope="session")
def moto_server() -> Iterator[S3Server]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    found = S3Server(f"http://{host}:{port}", "test-key", "test-secret")
    found.make_bucket()
    yield found
    server.stop()


@pytest.fixture(scope="session")
def seaweed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    folder = tmp_path_factory.mktemp("seaweed")
    key, secret = "weed-key", uuid4().hex
    identity = {
        "name": "tester",
        "credentials": [{"accessKey": key, "secretKey": secret}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = free_ports(8)
    roles = ["master", "volume", "filer", "s3"]
    options = [
        f"-{role}.port{kind}={port}"
        for (role, kind), port in zip(
            [(role, kind) for role in roles for kind in ("", ".grpc")], ports, strict=True
        )
    ]
    command = [
        str(Path(sys.executable).with_name("weed")),
        "server",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=16",
        "-s3",
        "-iam=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.config={folder / 's3.json'}",
        *options,
    ]
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    server = S3Server(f"http://127.0.0.1:{ports[6]}", key, secret)
    try:
        _await_bucket(server, process, folder / "log.txt")
        yield server
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _await_bucket(server: S3Server, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Make the bucket and write to it as soon as the server takes it, or fail with its log."""
    for attempt in retry_context(
        on=lambda error: process.poll() is None and isinstance(error, Exception),
        attempts=None,
        timeout=READY_S,
        wait_initial=0.1,
        wait_max=0.5,
    ):
        with attempt:
            _write_once(server, log)


def _write_once(server: S3Server, log: Path) -> None:
    try:
        with urllib.request.urlopen(server.endpoint, timeout=5):
            pass
    except urllib.error.HTTPError as error:
        error.close()
    except OSError as error:
        raise RuntimeError(f"not up: {error}; {log.read_text(errors='replace')[-2000:]}") from None
    session = boto3.session.Session(
        aws_access_key_id=server.key,
        aws_secret_access_key=server.secret,
        region_name="us-east-1",
    )
    client = session.client("s3", endpoint_url=server.endpoint)
    try:
        client.create_bucket(Bucket=BUCKET)
    except client.exceptions.BucketAlreadyExists:
        pass
    except client.exceptions.BucketAlreadyOwnedByYou:
        pass
    client.put_object(Bucket=BUCKET, Key="ready.txt", Body=b"ready")


def _open(kind: str, request: pytest.FixtureRequest) -> BlockStore:
    if kind == "folder":
        tmp_path: Path = request.getfixturevalue("tmp_path")
        return open_store(str(tmp_path / "lake"))
    server: S3Server = request.getfixturevalue(f"{kind}_server")
    monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    for variable, value in server.environment().items():
        monkeypatch.setenv(variable, value)
    return open_store(f"s3://{BUCKET}/{uuid4().hex}")


@pytest.fixture(params=["folder", "moto", "seaweed"])
def store(request: pytest.FixtureRequest) -> BlockStore:
    """An empty store of each kind."""
    return _open(request.param, request)


@pytest.fixture(params=["folder", "seaweed"])
def racing_store(request: pytest.FixtureRequest) -> BlockStore:
    """An empty store of each kind that may be raced: moto looks first and writes later."""
    return _open(request.param, request)
