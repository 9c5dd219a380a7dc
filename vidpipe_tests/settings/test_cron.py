"""An invalid cron schedule is refused with the settings, not when Dagster loads the pipeline."""

import dagster as dg
import pytest
from pydantic import ValidationError

from vidpipe.settings.operation import Retention

GOOD = ["40 3 * * *", "*/5 * * * *", "0 0 1,15 jan-mar mon-fri", "0-30/10 22 * * 0", "5 4 * * 7", ""]
BAD = ["99 3 * * *", "0 24 * * *", "0 0 0 * *", "0 0 * 13 *", "a b c d e", "0 0 * *", "*/0 * * * *", "5-1 * * * *",
       "1- * * * *", "1,,2 * * * *", "*/ * * * *", "0 0 * * mond"]  # fmt: skip


@pytest.mark.parametrize("line", GOOD)
def test_taken(line: str) -> None:
    assert Retention(schedule=line).schedule == line
    assert not line or dg.ScheduleDefinition(job_name="clean_up", cron_schedule=line)


@pytest.mark.parametrize("line", BAD)
def test_refused(line: str) -> None:
    with pytest.raises(ValidationError):
        Retention(schedule=line)
