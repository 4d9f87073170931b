"""Sweeps as jobs of a cluster, over Ray's jobs API: submitted once, followed by anyone.

This module imports Ray: call ``remote.token.use_token`` first.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from aiohttp import ClientError
from ray.exceptions import RayError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from pmx_ray.errors import ClusterError

Say: TypeAlias = Callable[[str], object]

OURS = {"pmx": "sweep"}
"""Metadata of every job of ours."""

BEGINS = "pmx_begins"
"""Name in a job's metadata of the line with which its output begins."""

TRIES = 3
"""Of a submission: one that is refused may have been overtaken by another of the same name."""

LOST_IN_A_ROW = 3
"""Connections to a job's log that end without anything new before following it is given up."""

PAUSE_S = 2.0
"""Seconds before a lost connection is made again."""

LOST = (RuntimeError, OSError, ClientError, RayError)
"""What Ray's client raises where nobody answers, or refuses; requests' own errors are OSErrors."""


@dataclass(frozen=True, slots=True)
class Job:
    """One sweep on a cluster.

    Attributes
    ----------
    name : str
        Of the job; the same sweep has the same.
    status : str
        ``PENDING``, ``RUNNING``, ``SUCCEEDED``, ``FAILED`` or ``STOPPED``.
    started : datetime, optional
        UTC; None before it began.
    ended : datetime, optional
        UTC; None while it runs.
    exit_code : int, optional
        Of ``pmx sweep``; None while it runs, or where it was killed.
    message : str
        What Ray says of it.
    begins : str, optional
        Line with which its output begins; None of a job that was not submitted by this release.
    """

    name: str
    status: str
    started: datetime | None
    ended: datetime | None
    exit_code: int | None
    message: str
    begins: str | None = None

    @property
    def ends(self) -> bool:
        """Whether it has ended."""
        return JobStatus(self.status).is_terminal()


class Log:
    """A job's log from a line on, each part said once, though it is read from its start again.

    Ray adds the output of a job that is submitted once more to what it printed before.

    Parameters
    ----------
    begins : str, optional
        The line, which is not said; None for the whole log.
    say : callable
        Is given what is new.
    """

    def __init__(self, begins: str | None, say: Say) -> None:
        self._begins, self._say, self.n_said = begins, say, 0
        self.read_again()

    def read_again(self) -> None:
        """Take what comes next as the start of the log."""
        self._before = None if self._begins is None else "\n"
        self._known = self.n_said

    def take(self, text: str) -> None:
        """Take what follows in the log."""
        if self._before is not None:
            line = f"\n{self._begins}\n"
            before, found, text = (self._before + text).partition(line)
            self._before = None if found else before[-len(line) :]
        new, self._known = text[self._known :], max(self._known - len(text), 0)
        if new:
            self._say(new)
            self.n_said += len(new)


class Jobs:
    """The sweeps of a cluster.

    Parameters
    ----------
    dashboard : str
        URL of the dashboard, e.g. ``http://127.0.0.1:8265``.

    Raises
    ------
    ClusterError
        If nobody answers there, or refuses the token.
    """

    def __init__(self, dashboard: str) -> None:
        self._where = dashboard
        try:
            self._client = JobSubmissionClient(dashboard)
        except LOST as error:
            raise ClusterError(f"no jobs can be submitted at {dashboard}: {_said(error)}") from None

    def submit(self, name: str, entrypoint: str, *, folder: Path) -> bool:
        """Submit a sweep unless it runs already; return whether it was submitted.

        Of several who submit the same at once, one does. One that has ended is submitted again:
        what it finished is in the lake.

        Parameters
        ----------
        name : str
            Of the job.
        entrypoint : str
            Command with its words, run by a shell in a copy of ``folder`` on the head.
        folder : Path
            What it needs.

        Raises
        ------
        ClusterError
            If it is not taken.
        """
        for _ in range(TRIES):
            found = self.find(name)
            if found is not None:
                if not found.ends:
                    return False
                with suppress(*LOST):  # another did, or submitted it again meanwhile
                    self._client.delete_job(name)
            begins = f"pmx submit {secrets.token_hex(8)}"
            try:
                self._client.submit_job(
                    entrypoint=f"echo {begins}; exec {entrypoint}",
                    submission_id=name,
                    runtime_env={"working_dir": str(folder)},
                    metadata={**OURS, BEGINS: begins},
                )
            except (*LOST, ValueError) as error:
                refusal = _said(error)  # perhaps as another was quicker
            else:
                return True
        raise ClusterError(f"job {name} was not taken by {self._where}: {refusal}")

    def find(self, name: str) -> Job | None:
        """Return a job by name, or None where there is none.

        Raises
        ------
        ClusterError
            If the cluster does not answer.
        """
        try:
            return _job(self._client.get_job_info(name))
        except LOST as error:
            if "status code 404" in str(error):
                return None
            raise ClusterError(f"{self._where} does not tell of {name}: {_said(error)}") from None

    def sweeps(self) -> tuple[Job, ...]:
        """Return every job of ours, the newest first.

        Raises
        ------
        ClusterError
            If the cluster does not answer.
        """
        try:
            found = self._client.list_jobs()
        except LOST as error:
            raise ClusterError(f"{self._where} does not list its jobs: {_said(error)}") from None
        ours = [row for row in found if OURS.items() <= (row.metadata or {}).items()]
        return tuple(_job(row) for row in sorted(ours, key=lambda row: -(row.start_time or 0)))

    def follow(self, name: str, *, say: Say, pause: Callable[[float], object] = time.sleep) -> Job:
        """Pass a job's log on until it ends, and return it.

        Of a job that was submitted before only the output since the last time is passed on. A
        connection that is lost is made again.

        Parameters
        ----------
        name : str
            Of the job.
        say : callable
            Is given the log, part by part.
        pause : callable
            Waits so many seconds.

        Raises
        ------
        ClusterError
            If the job is gone, or the connection is lost again and again.
        """
        job = self.find(name)
        log = Log(None if job is None else job.begins, say)
        n_lost, why = 0, ""
        while job is not None and n_lost < LOST_IN_A_ROW:
            n_said = log.n_said
            why = self._pass_on(name, log)
            with suppress(ClusterError):  # nobody answers: the job is as it was seen last
                job = self.find(name)
            if job is not None and job.ends:
                if not log.n_said and job.status != JobStatus.SUCCEEDED.value:
                    say(f"{job.message}\n")  # it never came to its command
                return job
            n_lost = n_lost + 1 if log.n_said == n_said else 1
            pause(PAUSE_S)
        if job is None:
            raise ClusterError(f"job {name} is gone from {self._where}")
        raise ClusterError(
            f"the connection to {self._where} was lost ({why}); job {name} does not depend on it; "
            "the same command follows it again"
        )

    def _pass_on(self, name: str, log: Log) -> str:
        """Pass the log on until the connection ends; return why it did."""

        async def passed_on() -> None:
            async for lines in self._client.tail_job_logs(name):
                log.take(lines)

        log.read_again()
        try:
            asyncio.run(passed_on())
        except LOST as error:
            return _said(error)
        return "it was closed"


def _job(row: JobDetails) -> Job:
    return Job(
        name=str(row.submission_id),
        status=str(row.status.value),
        started=_time(row.start_time),
        ended=_time(row.end_time),
        exit_code=row.driver_exit_code,
        message=str(row.message or ""),
        begins=(row.metadata or {}).get(BEGINS),
    )


def _time(ms: int | None) -> datetime | None:
    return None if not ms else datetime.fromtimestamp(ms / 1000, UTC)


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
