"""Sweeps as jobs of a cluster, over Ray's jobs API: submitted once, followed by anyone.

This module imports Ray: call ``remote.token.use_token`` first.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from pmx_ray.errors import ClusterError

Say: TypeAlias = Callable[[str], object]

OURS = {"pmx": "sweep"}
"""Metadata of every job of ours."""

TRIES = 3
"""Of a submission: one that is refused may have been overtaken by another of the same name."""


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
    """

    name: str
    status: str
    started: datetime | None
    ended: datetime | None
    exit_code: int | None
    message: str

    @property
    def ends(self) -> bool:
        """Whether it has ended."""
        return JobStatus(self.status).is_terminal()


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
        except (RuntimeError, ConnectionError) as error:
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
            Command, run in a copy of ``folder`` on the head.
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
                with suppress(RuntimeError):  # another did, or submitted it again meanwhile
                    self._client.delete_job(name)
            try:
                self._client.submit_job(
                    entrypoint=entrypoint,
                    submission_id=name,
                    runtime_env={"working_dir": str(folder)},
                    metadata=OURS,
                )
            except (RuntimeError, ConnectionError, ValueError) as error:
                refusal = _said(error)  # perhaps as another was quicker
            else:
                return True
        raise ClusterError(f"job {name} was not taken by {self._where}: {refusal}")

    def find(self, name: str) -> Job | None:
        """Return a job by name, or None where there is none."""
        try:
            return _job(self._client.get_job_info(name))
        except RuntimeError:
            return None

    def sweeps(self) -> tuple[Job, ...]:
        """Return every job of ours, the newest first.

        Raises
        ------
        ClusterError
            If the cluster does not answer.
        """
        try:
            found = self._client.list_jobs()
        except (RuntimeError, ConnectionError) as error:
            raise ClusterError(f"{self._where} does not list its jobs: {_said(error)}") from None
        ours = [row for row in found if OURS.items() <= (row.metadata or {}).items()]
        return tuple(_job(row) for row in sorted(ours, key=lambda row: -(row.start_time or 0)))

    def follow(self, name: str, *, say: Say) -> Job:
        """Pass a job's log on until it ends, and return it.

        Raises
        ------
        ClusterError
            If the job is gone.
        """

        async def passed_on() -> None:
            async for lines in self._client.tail_job_logs(name):
                say(lines)

        asyncio.run(passed_on())
        found = self.find(name)
        if found is None:
            raise ClusterError(f"job {name} is gone from {self._where}")
        return found


def _job(row: JobDetails) -> Job:
    return Job(
        name=str(row.submission_id),
        status=str(row.status.value),
        started=_time(row.start_time),
        ended=_time(row.end_time),
        exit_code=row.driver_exit_code,
        message=str(row.message or ""),
    )


def _time(ms: int | None) -> datetime | None:
    return None if not ms else datetime.fromtimestamp(ms / 1000, UTC)


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
