"""Checks of this machine: the token, the disks, the limits, the installation."""

import re
from collections.abc import Iterator

from cluster.check import Check, judged
from cluster.found import Disk, MachineFacts

MIN_TOKEN_CHARS = 32
"""128 bits, written in hexadecimal."""

TOKEN_MODE = 0o600
OTHERS_MAY_WRITE = 0o022

MIN_FREE_BYTES = 5 * 2**30
MIN_FREE_FRAC = 0.05
"""Ray stops spilling, and so stops, on a disk that is 95 % full."""

STORE_FRAC = 0.3
"""Ray's object store takes this part of the memory, in ``/dev/shm``."""

ENOUGH_SHM_BYTES = 2**30
"""Panels and receipts of the largest sweeps need less."""

MIN_OPEN_FILES = 65_536
RAY_FLOOR = (2, 56)
"""Below it, advisories tell of code that strangers can run."""

MIN_BYTECODE_FRAC = 0.9
"""Without bytecode each of Ray's processes takes 3.5 times as long to start."""

GIB = 2**30


def machine_checks(machine: MachineFacts) -> Iterator[Check]:
    """Yield every check of this machine, in the order in which to mend them."""
    yield from token_checks(machine)
    yield judged(
        "auth_mode",
        machine.auth_mode == "token",
        sentence=f"RAY_AUTH_MODE is {machine.auth_mode or 'not set'}; it must be token",
        remedy="export RAY_AUTH_MODE=token, here and for every process of Ray",
    )
    yield disk_check("temp_disk", machine.temp, where="this machine")
    yield disk_check("runs_disk", machine.runs, where="this machine")
    yield _shared_memory(machine)
    yield judged(
        "open_files",
        machine.open_files >= MIN_OPEN_FILES,
        sentence=f"{machine.open_files} files may be open at once; at least {MIN_OPEN_FILES} "
        "are needed, as Ray holds a connection to each worker",
        remedy=f"ulimit -n {MIN_OPEN_FILES}, or LimitNOFILE={MIN_OPEN_FILES} in the service's unit",
    )
    yield judged(
        "bytecode",
        machine.bytecode_frac >= MIN_BYTECODE_FRAC,
        sentence=f"{machine.bytecode_frac:.0%} of Ray's modules are compiled; below "
        f"{MIN_BYTECODE_FRAC:.0%} every process of Ray takes up to 3.5 times as long to start",
        remedy="python -m compileall -q \"$(python -c 'import sysconfig; "
        'print(sysconfig.get_path("purelib"))\')"',
    )


def token_checks(machine: MachineFacts) -> Iterator[Check]:
    """Yield the checks of the token: there, nobody else's, not to be guessed."""
    yield _token_exists(machine)
    yield _token_private(machine)
    yield _token_folder(machine)
    yield _token_long(machine)


def _token_exists(machine: MachineFacts) -> Check:
    there = machine.token_length != 0
    return judged(
        "token_exists",
        there,
        sentence=f"a token is in {machine.token_place}"
        if there
        else f"no token is in {machine.token_place}; without one Ray obeys whoever can reach it",
        remedy="(umask 077; mkdir -p ~/.ray; openssl rand -hex 32 > ~/.ray/auth_token)",
    )


def _token_private(machine: MachineFacts) -> Check:
    file = machine.token_file
    if file is None:
        return judged("token_private", True, sentence="no file holds the token", remedy="")
    mine, private = file.owner == machine.user, not file.mode & ~TOKEN_MODE
    return judged(
        "token_private",
        mine and private,
        sentence=f"{file.path} has mode {file.mode:04o} and owner {file.owner}; it must be at most "
        f"{TOKEN_MODE:04o} and owned by {machine.user}",
        remedy=f"chmod 600 {file.path}"
        if mine
        else f"chown {machine.user} {file.path} && chmod 600 {file.path}, then renew the token",
    )


def _token_folder(machine: MachineFacts) -> Check:
    file = machine.token_file
    if file is None:
        return judged("token_folder", True, sentence="no file holds the token", remedy="")
    folder = file.path.rpartition("/")[0] or "/"
    owned = file.folder_owner in (machine.user, 0)
    return judged(
        "token_folder",
        owned and not file.folder_mode & OTHERS_MAY_WRITE,
        sentence=f"{folder} has mode {file.folder_mode:04o} and owner {file.folder_owner}; only "
        f"user {machine.user} or root may write there, or others could put another token in place",
        remedy=f"chmod go-w {folder}" if owned else f"chown {machine.user} {folder}",
    )


def _token_long(machine: MachineFacts) -> Check:
    length = machine.token_length
    if length == 0:
        return judged("token_long", True, sentence="there is no token to measure", remedy="")
    if length is None:
        return judged(
            "token_long",
            False,
            sentence=f"{machine.token_place} cannot be read; the token must have at least "
            f"{MIN_TOKEN_CHARS} characters",
            remedy=f"chown {machine.user} {machine.token_place}",
        )
    return judged(
        "token_long",
        length >= MIN_TOKEN_CHARS,
        sentence=f"the token has {length} characters; at least {MIN_TOKEN_CHARS} are needed, or "
        "it can be guessed",
        remedy="openssl rand -hex 32 > ~/.ray/auth_token, then start the cluster again",
    )


def disk_check(name: str, disk: Disk, *, where: str) -> Check:
    """Return the check that a file system has room enough for Ray to spill."""
    return judged(
        name,
        has_room(disk),
        sentence=f"{disk.folder} on {where} has {disk.free_bytes / GIB:.1f} GiB free, "
        f"{disk.free_frac:.0%}; at least {MIN_FREE_BYTES / GIB:.0f} GiB and {MIN_FREE_FRAC:.0%} "
        "are needed, as Ray stops spilling on a disk that is 95 % full",
        remedy=f"free space in {disk.folder} (rm -r {disk.folder}/session_2* of clusters that have "
        "ended, where it is Ray's), or name another folder: RAY_TMPDIR for Ray, PMX_HOME for runs",
    )


def has_room(disk: Disk) -> bool:
    """Return whether a file system has room enough for Ray to spill."""
    return disk.free_bytes >= MIN_FREE_BYTES and disk.free_frac >= MIN_FREE_FRAC


def _shared_memory(machine: MachineFacts) -> Check:
    limit = min(STORE_FRAC * machine.memory_bytes, ENOUGH_SHM_BYTES)
    return judged(
        "shared_memory",
        machine.shm_free_bytes >= limit,
        sentence=f"shared memory has {machine.shm_free_bytes / GIB:.2f} GiB free; at least "
        f"{limit / GIB:.2f} GiB are needed, the less of {STORE_FRAC:.0%} of memory and 1 GiB: "
        "Ray's object store lives there, and moves to the disk where it does not fit",
        remedy="mount -o remount,size=30% /dev/shm; for a container, --shm-size=1g or an emptyDir "
        "with medium: Memory at /dev/shm",
    )


def ray_is_safe(version: str) -> bool:
    """Return whether a version of Ray is at or above the floor.

    Examples
    --------
    >>> ray_is_safe("2.9.3"), ray_is_safe("2.56.0"), ray_is_safe("3.0.0.dev0")
    (False, True, True)
    """
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) >= RAY_FLOOR
