"""The sections of config.ini about operation: limits, servers, sensors, budget, alerts, retention. None changes a
result."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from vidpipe.settings.section import Listed, Section

#: minute, hour, day of the month, month, weekday: (lowest, highest, names)
_CRON_FIELDS: tuple[tuple[int, int, tuple[str, ...]], ...] = (
    (0, 59, ()), (0, 23, ()), (1, 31, ()),
    (1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    (0, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)  # fmt: skip


def _cron_line(value: str) -> str:
    """Raises ValueError for what no scheduler would take: it would keep Dagster from loading the pipeline."""
    if not value:
        return value
    fields = value.split()
    if len(fields) != len(_CRON_FIELDS):
        raise ValueError("a cron line has five fields: minute hour day month weekday")
    for field, (low, high, names) in zip(fields, _CRON_FIELDS, strict=True):
        for part in field.lower().split(","):
            span, slash, step = part.partition("/")
            ends = [low, high] if span == "*" else [_cron_number(end, names, low) for end in span.split("-")]
            good_step = not slash or (step.isdigit() and int(step) > 0)
            if not good_step or len(ends) > 2 or ends != sorted(ends) or not all(low <= end <= high for end in ends):
                raise ValueError(f"{part!r} of a cron line is not allowed; its field goes from {low} to {high}")
    return value


def _cron_number(text: str, names: tuple[str, ...], low: int) -> int:
    if text in names:
        return names.index(text) + low
    return int(text) if text.isdigit() else -1


CronLine = Annotated[str, AfterValidator(_cron_line)]

#: Or an address. Names that are not ASCII are sent, and so written, as xn--...
_HOST_NAME = re.compile(r"[A-Za-z0-9_.-]+|(?:[0-9A-Fa-f]*:){2,}[0-9A-Fa-f.]*")
_QUIET_HOURS = re.compile(r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d")


class Limits(Section):
    """Limits on reading one file; a file that needs more is refused."""

    memory_mb: int = Field(
        400,
        ge=0,
        le=1_000_000,
        description="megabytes of memory of one ffmpeg or ffprobe process, besides the pictures that it decodes; "
        "0: unlimited",
    )
    header_seconds: int = Field(
        10,
        ge=0,
        le=3600,
        description="seconds of processor time for reading the headers of a file; 0: unlimited",
    )
    max_pixels: int = Field(
        8192 * 4352,
        ge=1,
        le=16384 * 16384,
        description="most pixels (width times height) of a picture; the default is the limit of H.264 and HEVC at "
        "level 6.2",
    )


class Services(Section):
    """The servers that `vidpipe up` starts: Dagster's page and daemon, and the page of measures."""

    host: str = Field(
        "127.0.0.1",
        description="address they listen on; the pages ask for no password: anything but the loopback lets everybody "
        "in who reaches it",
    )
    allowed_hosts: Listed = Field(
        (),
        description="additional host names of the pages, behind a reverse proxy say; requests for any other name are "
        "refused, so that web sites cannot reach the pages through your browser",
    )
    web_port: int = Field(3000, ge=1, le=65535, description="of Dagster's page; where it is taken, the next free one")
    metrics_port: int = Field(
        9464, ge=1, le=65535, description="of the page /metrics (Prometheus); where it is taken, the next free one"
    )
    max_runs: int = Field(4, ge=1, le=256, description="Dagster runs at once")

    @field_validator("allowed_hosts")
    @classmethod
    def _names_alone(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := next((name for name in value if not _HOST_NAME.fullmatch(name)), None):
            raise ValueError(f"{wrong!r} is not a host name; write names such as videos.example.org, without a port")
        return value


class Sensors(Section):
    """What `vidpipe up` does by itself: it watches the lists of [Paths] SourceLists and what is due."""

    enabled: bool = Field(True, description="no: nothing starts by itself; single sensors can be stopped on the page")
    interval: float = Field(5.0, ge=1, le=86400, description="seconds between two looks; Dagster makes it 5 at least")
    ingest_batch: int = Field(100, ge=1, le=10_000, description="sources a run")
    prepare_batch: int = Field(100, ge=1, le=10_000, description="videos a run of prepare")
    describe_batch: int = Field(50, ge=1, le=10_000, description="videos a run of describe")
    label_batch: int = Field(1000, ge=1, le=100_000, description="videos a run of label")
    describe_changed: bool = Field(
        False,
        description="also prepare and describe again what a changed detector, model or prompt makes due; otherwise "
        "that waits for a person (`vidpipe run`, a backfill), or, for the model's part, for a limit in [Budget]",
    )


class Budget(Section):
    """What the describing model costs, and how much of it sensors may use by themselves in any 24 hours. With a limit
    set, what a changed model or prompt makes due is described again by itself, too, as far as the limit reaches.
    `vidpipe run`, `vidpipe ask` and backfills are never held back, but what they use counts."""

    model_hours: float | None = Field(
        None, ge=0, le=100_000, description="hours of the model's time in 24 hours; empty: no limit"
    )
    cost: float | None = Field(None, ge=0, description="cost by the prices below in 24 hours; empty: no limit")
    price_input: float = Field(0.0, ge=0, description="of a million tokens that the endpoint reads")
    price_output: float = Field(0.0, ge=0, description="of a million tokens that the endpoint writes")
    price_gpu_hour: float = Field(
        0.0, ge=0, description="of an hour of the model's time: of the GPU, or of a server that is paid by the hour"
    )
    currency: str = Field("USD", pattern=r"^\w{1,8}$", description="of the prices")

    @model_validator(mode="after")
    def _a_limit_of_cost_needs_a_price(self) -> Budget:
        if self.cost is not None and not (self.price_input or self.price_output or self.price_gpu_hour):
            raise ValueError("Cost is a limit, but there are no prices: set PriceInput, PriceOutput or PriceGpuHour")
        return self

    @property
    def is_limited(self) -> bool:
        """Whether sensors have a budget at all."""
        return self.model_hours is not None or self.cost is not None


class Alerts(Section):
    """Who hears of failed runs, besides the log. WebhookUrl and SmtpPassword are secrets: environment variables
    VIDPIPE_ALERTS_WEBHOOKURL and VIDPIPE_ALERTS_SMTPPASSWORD or config.local.ini, never this file."""

    webhook_url: SecretStr = Field(SecretStr(""), description="secret: JSON is POSTed to it; empty: none")
    mail_to: Listed = Field((), description="e-mail addresses, comma-separated; empty: no mail")
    mail_from: str = Field("vidpipe@localhost", description="the sender's address")
    smtp_host: str = Field("", description="mail server; empty: no mail")
    smtp_port: int = Field(587, ge=1, le=65535, description="of the mail server")
    smtp_security: Literal["starttls", "tls", "none"] = Field("starttls", description="how the connection is secured")
    smtp_user: str = Field("", description="login at the mail server; empty: none")
    smtp_password: SecretStr = Field(SecretStr(""), description="secret: environment or config.local.ini only")
    failure_rate: float = Field(
        0.2, gt=0, le=1, description="share of the videos and sources tried within RateWindow that may fail"
    )
    rate_window: float = Field(60.0, gt=0, le=10_080, description="minutes that the failure rate is taken over")
    rate_minimum: int = Field(10, ge=1, description="fewer tries within RateWindow say nothing about a rate")
    quiet_minutes: float = Field(
        30.0, ge=0, le=10_080, description="after an alert the next waits so long, and tells of all in between"
    )
    quiet_hours: str = Field("", description="22:00-07:00: no alert in these hours of local time; they come afterwards")

    @field_validator("quiet_hours")
    @classmethod
    def _is_a_span(cls, value: str) -> str:
        if value and not _QUIET_HOURS.fullmatch(value):
            raise ValueError("hours are written as 22:00-07:00")
        return value


class Retention(Section):
    """What is deleted by itself, and when. Videos, results and lineage never are."""

    schedule: CronLine = Field("40 3 * * *", description="cron line of the clean-up; empty: only by `vidpipe prune`")
    runs_days: float = Field(
        60.0,
        ge=0,
        description="days that Dagster keeps a finished run's record and log; what the page shows of each "
        "partition stays",
    )
    ticks_days: float = Field(3.0, ge=0, description="days that Dagster keeps what its sensors and schedules saw")
    logs_days: float = Field(30.0, ge=0, description="days that log files of ended servers and runs are kept")
    logs_size_mb: int = Field(1000, ge=1, description="megabytes of log files; beyond, the oldest rotated ones go")
    derived_days: float = Field(
        1.0, ge=0, description="days until thumbnails and frame packs that no video names any more are deleted"
    )
    partial_days: float = Field(7.0, ge=0, description="days until abandoned partial downloads are deleted")
    measures_days: float = Field(400.0, ge=0, description="days that figures of each run are kept for `vidpipe stats`")
