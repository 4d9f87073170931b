"""The image: what a linter says of it, and that it holds what its nodes need."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "Dockerfile").read_text()


def locked(name: str) -> dict[str, str]:
    """Return package and version of each line of a lock, its condition with it."""
    lines = (ROOT / name).read_text().splitlines()
    pinned = [line.rstrip(" \\").split("==") for line in lines if re.match(r"[a-z0-9].*==", line)]
    return {package: version for package, version, *_ in pinned}


def test_image_when_linted_then_nothing_to_mend():
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [linter, "--failure-threshold", "info", ROOT / "Dockerfile"], capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_image_when_built_then_everything_is_installed_by_hash():
    installs = [line for line in LINES.splitlines() if "pip install" in line]
    of_others = [line for line in installs if "--no-deps" not in line]
    assert len(of_others) == 2
    assert all("--require-hashes" in line for line in of_others)


def test_image_when_built_as_told_then_buckets_postgres_and_traces_can_be_used():
    [lock] = re.findall(r"^ARG LOCKS=(\S+)$", LINES, flags=re.MULTILINE)
    held = locked(lock)
    assert {"boto3", "psycopg", "psycopg-binary", "opentelemetry-exporter-otlp-proto-http"} <= set(
        held
    )
    own, dev = locked("requirements.lock"), locked("requirements-dev.lock")
    assert held.items() >= own.items()
    assert dev.keys() >= held.keys()
    assert [name for name in held if held[name] != dev[name]] == []


@pytest.mark.parametrize("name", re.findall(r"^COPY (?!--)(\S+)", LINES, flags=re.MULTILINE))
def test_image_when_it_copies_a_path_then_the_path_is_there_and_not_ignored(name):
    assert list(ROOT.glob(name))
    assert f"!{name}" in (ROOT / ".dockerignore").read_text().splitlines()


def test_image_when_a_package_is_shipped_then_it_is_copied():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for package in settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert f"COPY {package} {package}" in LINES


def test_image_when_run_then_kernels_come_from_the_build_and_the_cache_is_a_copy():
    build, _, run = LINES.rpartition("\nFROM ")
    assert "NUMBA_CACHE_DIR=/opt/pmx/kernels" in build
    assert "PMX_KERNELS=/opt/pmx/kernels" in run
    assert "NUMBA_CACHE_DIR" not in run  # an image is read-only


def stages() -> list[dict[str, str]]:
    """Return the variables of each stage, as its programs see them."""
    texts = re.split(r"^FROM .*$", LINES.replace("\\\n", " "), flags=re.MULTILINE)[1:]
    lines = [re.findall(r"^ENV (.*)$", text, flags=re.MULTILINE) for text in texts]
    return [
        dict(word.split("=", 1) for line in stage for word in shlex.split(line)) for stage in lines
    ]


def test_image_when_built_and_when_run_then_kernels_are_of_one_processor_and_no_hosts_own():
    of_cpu = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")
    build, run = ({name: stage[name] for name in of_cpu} for stage in stages())
    assert build == run
    code = (
        "from numba.core.registry import cpu_target\n"
        "print(*cpu_target.target_context.codegen().magic_tuple()[1:], sep='|')"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | run, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert told.stdout == "x86-64-v3|\n"  # the key of what is kept: no feature of this machine
