"""Schedules of jobs, and the time zone that their cron expressions refer to."""

import os
from collections.abc import Sequence
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import dagster as dg


def job_schedules(job: dg.JobDefinition, cron: str) -> Sequence[dg.ScheduleDefinition]:
    """Return the schedule of `job`, called like it and running by default; none if `cron` is empty."""
    if not cron:
        return []
    return [
        dg.ScheduleDefinition(
            name=job.name,
            job_name=job.name,
            cron_schedule=cron,
            description=job.description,
            execution_timezone=local_timezone(),
            default_status=dg.DefaultScheduleStatus.RUNNING,
        )
    ]


def local_timezone() -> str:
    """Return the IANA name of this machine's time zone; UTC if it has none."""
    name = os.environ.get("TZ", "").lstrip(":") or Path("/etc/localtime").resolve().as_posix().partition("zoneinfo/")[2]
    try:
        return ZoneInfo(name).key if name else "UTC"
    except (ValueError, OSError, ZoneInfoNotFoundError):
        return "UTC"
