"""Field types that the sections of config.ini share."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict


class Section(BaseModel):
    """Base of all sections: immutable, without unknown keys.

    The string below each field is its description in config.ini and `vidpipe config`; see `Key.description`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


#: Comma-separated in config.ini.
Listed = Annotated[tuple[str, ...], BeforeValidator(_split)]

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
#: minute, hour, day of the month, month, weekday: (lowest, highest, names)
_CRON_FIELDS: tuple[tuple[int, int, tuple[str, ...]], ...] = (
    (0, 59, ()), (0, 23, ()), (1, 31, ()), (1, 12, _MONTHS), (0, 7, _WEEKDAYS),
)  # fmt: skip


def _check_cron(value: str) -> str:
    # Dagster would refuse a wrong schedule only while loading the definitions, and with it the whole pipeline.
    fields = value.split()
    if value and len(fields) != len(_CRON_FIELDS):
        raise ValueError("a cron schedule has five fields: minute hour day month weekday")
    for field, (low, high, names) in zip(fields, _CRON_FIELDS, strict=False):
        for part in field.lower().split(","):
            span, slash, step = part.partition("/")
            ends = [low, high] if span == "*" else [_cron_number(end, names, low) for end in span.split("-")]
            good_step = not slash or (step.isdigit() and int(step) > 0)
            if not good_step or len(ends) > 2 or ends != sorted(ends) or not all(low <= end <= high for end in ends):
                raise ValueError(f"{part!r} is not valid in a cron schedule; its field ranges from {low} to {high}")
    return value


def _cron_number(text: str, names: tuple[str, ...], low: int) -> int:
    if text in names:
        return names.index(text) + low
    return int(text) if text.isdigit() else -1


#: A cron schedule, or empty.
CronSchedule = Annotated[str, AfterValidator(_check_cron)]
