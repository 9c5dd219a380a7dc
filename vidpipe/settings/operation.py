"""Sections of config.ini about operation: downloads, limits, logs, servers, sensors, budget, alerts, retention.

None of them changes a result.
"""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, SecretStr, field_validator, model_validator

# Host names and IP addresses; names that are not ASCII are written as xn--...
_HOST_NAME = re.compile(r"[A-Za-z0-9_.-]+|(?:[0-9A-Fa-f]*:){2,}[0-9A-Fa-f.]*")
_QUIET_HOURS = re.compile(r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d")


class Section(BaseModel, frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False):
    """Base of all sections: immutable, without unknown keys.

    The string below each field is its description in config.ini and `vidpipe config`; see `Key.description`.
    """


def split_list(value: str) -> tuple[str, ...]:
    """Return the parts of a comma-separated value."""
    return tuple(part.strip() for part in value.split(",") if part.strip())


#: Comma-separated in config.ini.
Listed = Annotated[
    tuple[str, ...], BeforeValidator(lambda value: split_list(value) if isinstance(value, str) else value)
]

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


class Download(Section):
    """Limits of downloads, retries, and the private addresses that may be reached."""

    max_size_mb: int = Field(20_000, ge=1)
    """Largest file to accept, in megabytes."""
    min_free_mb: int = Field(1_000, ge=0)
    """Free disk space to keep, in megabytes."""
    parallel: int = Field(4, ge=1, le=64)
    """Number of parallel downloads."""
    connect_timeout: float = Field(10.0, gt=0, le=600)
    """Timeout for connecting, in seconds."""
    read_timeout: float = Field(30.0, gt=0, le=3600)
    """Timeout for reading, in seconds without a byte."""
    min_speed: int = Field(1024, ge=0)
    """Minimum speed in bytes per second, averaged over ReadTimeout; slower counts as stalled. 0: no limit."""
    retries: int = Field(5, ge=0, le=100)
    """Retries after a transient error."""
    backoff: float = Field(1.0, ge=0, le=600)
    """Delay before the first retry, in seconds; doubles with each retry."""
    max_wait: float = Field(300.0, ge=0)
    """Longest delay between two attempts, in seconds; also limits Retry-After."""
    max_redirects: int = Field(10, ge=0, le=50)
    """Redirects to follow per download."""
    allowed_private: Listed = ()
    """Private hosts and networks (CIDR) that may be reached, comma-separated."""
    use_proxy: bool = False
    """Use HTTP_PROXY and HTTPS_PROXY. The proxy then decides which addresses can be reached."""
    user_agent: str = "vidpipe"
    """User-Agent header."""
    format: str = Field("", max_length=500)
    """Video sites: format selection of yt-dlp; empty: the best one of at most MaxHeight."""
    max_height: int = Field(1080, ge=0, le=10_000)
    """Video sites and streams: largest height in pixels; 0: no limit."""
    cookies_file: str = ""
    """Video sites: file with cookies in Netscape format, such as a browser extension exports, for videos that need a
    login; empty: none."""
    max_entries: int = Field(1000, ge=1, le=1_000_000)
    """Most videos of a playlist or channel."""
    host_interval: float = Field(1.0, ge=0, le=3600)
    """Seconds between two requests to the same video site."""

    @field_validator("allowed_private")
    @classmethod
    def _check_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            if "/" in entry:
                ipaddress.ip_network(entry, strict=False)
        return value


def column_name(text: str) -> str:
    """Normalize the name of a CSV column: "Video URL" and "video_url" are the same column."""
    return re.sub(r"[\s_-]+", "_", text.strip().lstrip("#").strip()).casefold()


class Lists(Section):
    """Column names in tables (CSV, TSV, JSON Lines, Parquet, MongoDB), comma-separated.

    They apply to `vidpipe add` and to watched lists. Case, spaces, hyphens and underscores are ignored.
    """

    url_columns: Listed = Field(("url", "urls", "video_url", "link", "address"), min_length=1)
    """Column with the URL or path; the first of these names that a list has is used."""
    title_columns: Listed = ("title",)
    """Column with the title; the first of these names that a list has is used."""
    label_columns: Listed = ("label", "labels", "tags", "class", "action")
    """Columns with labels; the labels of all of them are combined."""
    priority_columns: Listed = ("priority",)
    """Column with the priority; the first of these names that a list has is used."""
    licence_columns: Listed = ("licence", "license")
    """Column with the licence; the first of these names that a list has is used."""
    start_columns: Listed = ("start", "start_s", "start_time", "t_start", "begin")
    """Column with the start of a labelled part, in seconds or h:mm:ss; its row's labels are those of the part."""
    end_columns: Listed = ("end", "end_s", "end_time", "t_end")
    """Column with the end of a labelled part, in seconds or h:mm:ss."""

    @field_validator("*")
    @classmethod
    def _normalize(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(map(column_name, value)))

    @model_validator(mode="after")
    def _check_distinct(self) -> "Lists":
        named = [*self.url_columns, *self.title_columns, *self.label_columns, *self.priority_columns]
        twice = next((name for name in named if named.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"the column {twice} has two meanings")
        return self


class Limits(Section):
    """Limits on reading one file; a file that needs more is refused."""

    memory_mb: int = Field(400, ge=0, le=1_000_000)
    """Memory of one ffmpeg or ffprobe process besides its decoded pictures, in megabytes. 0: unlimited."""
    header_seconds: int = Field(10, ge=0, le=3600)
    """CPU time for reading the headers of a file, in seconds. 0: unlimited."""
    max_pixels: int = Field(8192 * 4352, ge=1, le=16384 * 16384)
    """Most pixels (width x height) of a picture. The default is the limit of H.264 and HEVC at level 6.2."""


class Logging(Section):
    """The log file, and audit.jsonl next to it with one JSON object per event. Both are rotated."""

    log_file: Path = Path("data/logs/vidpipe.log")
    """Path of the log file. Secrets are masked."""
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Lowest level that is logged."""
    format: Literal["text", "json"] = "text"
    """Format of the log file. json: one JSON object per line."""
    max_size_mb: int = Field(10, ge=1, le=10_000)
    """Size at which a log file is rotated, in megabytes."""
    keep: int = Field(5, ge=0, le=1000)
    """Number of rotated log files to keep."""


class Services(Section):
    """The servers that `vidpipe up` starts: the library page, Dagster's web page and daemon, and the metrics page."""

    host: str = "127.0.0.1"
    """Address to listen on. On any other address than loopback, the library page requires keys (`vidpipe keys`); the
    other pages have no authentication and are exposed."""
    allowed_hosts: Listed = ()
    """Additional host names of the pages, for example behind a reverse proxy, comma-separated. Requests for other names
    are refused, so that web sites cannot reach the pages through your browser."""
    library_port: int = Field(8000, ge=1, le=65535)
    """Port of the library page and its API; if it is in use, the next free one is taken."""
    web_port: int = Field(3000, ge=1, le=65535)
    """Port of Dagster's web page; if it is in use, the next free one is taken."""
    metrics_port: int = Field(9464, ge=1, le=65535)
    """Port of the page /metrics (Prometheus); if it is in use, the next free one is taken."""
    max_runs: int = Field(4, ge=1, le=256)
    """Number of concurrent Dagster runs."""

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := next((name for name in value if not _HOST_NAME.fullmatch(name)), None):
            raise ValueError(f"{wrong!r} is not a host name; write names such as videos.example.org, without a port")
        return value


class LibraryPage(Section):
    """The library page and its API, which `vidpipe up` and `vidpipe web` serve on [Services] LibraryPort."""

    public_url: str = Field("", pattern=r"^(https?://[A-Za-z0-9.:\[\]_-]{1,200})?$")
    """Address at which users reach the page behind a reverse proxy, such as https://videos.example.org; its host is
    allowed like those of [Services] AllowedHosts, and every request needs a key. Empty: the address that it listens
    on."""
    require_keys: Literal["auto", "always"] = "auto"
    """Whether requests need a key (`vidpipe keys`). auto: not if the user who runs the server sends them, on this
    machine to a loopback address."""
    requests_per_minute: int = Field(1200, ge=0, le=1_000_000)
    """Most requests of one key, or of one address without a valid key, in a minute; 20 times as many for pictures and
    videos, and from this machine where no key is needed. 0: unlimited."""
    max_upload_mb: int = Field(20_000, ge=1, le=1_000_000)
    """Largest file that can be uploaded, in megabytes."""
    upload_quota_mb: int = Field(50_000, ge=1, le=10_000_000)
    """Most disk space of unfinished uploads, in megabytes."""
    proxy_cache_mb: int = Field(20_000, ge=0, le=100_000_000)
    """Disk space for playable copies of videos that browsers cannot play, in megabytes; beyond it, those not played for
    longest are deleted."""


class Sensors(Section):
    """What `vidpipe up` does automatically: it watches the lists of [Paths] SourceLists and processes what is due."""

    enabled: bool = True
    """Start runs automatically. Individual sensors can be stopped on the page."""
    interval: float = Field(5.0, ge=1, le=86400)
    """Interval between two ticks, in seconds; Dagster's minimum is 5."""
    ingest_batch: int = Field(100, ge=1, le=10_000)
    """Sources per run."""
    prepare_batch: int = Field(100, ge=1, le=10_000)
    """Videos per run of prepare."""
    describe_batch: int = Field(50, ge=1, le=10_000)
    """Videos per run of describe."""
    label_batch: int = Field(1000, ge=1, le=100_000)
    """Videos per run of label."""
    describe_changed: bool = False
    """Also rerun prepare and describe when a changed detector, model or prompt makes videos due. Otherwise they wait
    for `vidpipe run` or a backfill, or, for changes of the model or prompts, for a limit in [Budget]."""


class Budget(Section):
    """Prices of the describing model, and limits on what sensors may use in any 24 hours.

    With a limit set, sensors also describe videos that a changed model or prompt made due, within the limit.
    `vidpipe run`, `vidpipe ask` and backfills are not limited, but what they use counts.
    """

    model_hours: float | None = Field(None, ge=0, le=100_000)
    """Hours of model time in 24 hours; empty: no limit."""
    cost: float | None = Field(None, ge=0)
    """Cost in 24 hours at the prices below; empty: no limit."""
    price_input: float = Field(0.0, ge=0)
    """Price of a million input tokens of the endpoint."""
    price_output: float = Field(0.0, ge=0)
    """Price of a million output tokens of the endpoint."""
    price_gpu_hour: float = Field(0.0, ge=0)
    """Price of an hour of model time: of the GPU, or of a server billed by the hour."""
    currency: str = Field("USD", pattern=r"^\w{1,8}$")
    """Currency of the prices: 1 to 8 letters or digits."""

    @model_validator(mode="after")
    def _check_prices(self) -> "Budget":
        if self.cost is not None and not (self.price_input or self.price_output or self.price_gpu_hour):
            raise ValueError("Cost is a limit, but there are no prices: set PriceInput, PriceOutput or PriceGpuHour")
        return self

    @property
    def is_limited(self) -> bool:
        """Whether sensors have a budget at all."""
        return self.model_hours is not None or self.cost is not None


class Alerts(Section):
    """Who is notified of failed runs, in addition to the log.

    WebhookUrl and SmtpPassword are secrets: set VIDPIPE_ALERTS_WEBHOOKURL and VIDPIPE_ALERTS_SMTPPASSWORD, or write
    them to config.local.ini, never to this file.
    """

    webhook_url: SecretStr = SecretStr("")
    """Secret. URL that JSON is POSTed to; empty: none."""
    mail_to: Listed = ()
    """E-mail addresses, comma-separated; empty: no e-mail."""
    mail_from: str = "vidpipe@localhost"
    """Address of the sender."""
    smtp_host: str = ""
    """Mail server; empty: no e-mail."""
    smtp_port: int = Field(587, ge=1, le=65535)
    """Port of the mail server."""
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    """Security of the connection to the mail server."""
    smtp_user: str = ""
    """User name at the mail server; empty: no login."""
    smtp_password: SecretStr = SecretStr("")
    """Secret. Only in the environment or config.local.ini."""
    failure_rate: float = Field(0.2, gt=0, le=1)
    """Share of the videos and sources tried within RateWindow that may fail without an alert."""
    rate_window: float = Field(60.0, gt=0, le=10_080)
    """Window of the failure rate, in minutes."""
    rate_minimum: int = Field(10, ge=1)
    """Fewest attempts within RateWindow for a failure rate to be computed."""
    quiet_minutes: float = Field(30.0, ge=0, le=10_080)
    """Minimum time between two alerts, in minutes; the second one summarizes what happened meanwhile."""
    quiet_hours: str = ""
    """Local time in which alerts are held back until afterwards, written as 22:00-07:00."""

    @field_validator("quiet_hours")
    @classmethod
    def _check_hours(cls, value: str) -> str:
        if value and not _QUIET_HOURS.fullmatch(value):
            raise ValueError("hours are written as 22:00-07:00")
        return value


class Retention(Section):
    """What is deleted automatically, and when. Videos, results and lineage never are."""

    schedule: CronSchedule = "40 3 * * *"
    """Cron schedule of the clean-up; empty: only `vidpipe prune` deletes."""
    runs_days: float = Field(60.0, ge=0)
    """Days to keep the record and log of a finished Dagster run. What the page shows of each partition is kept."""
    ticks_days: float = Field(3.0, ge=0)
    """Days to keep the ticks of Dagster's sensors and schedules."""
    logs_days: float = Field(30.0, ge=0)
    """Days to keep the log files of ended servers and runs."""
    logs_size_mb: int = Field(1000, ge=1)
    """Total size of log files in megabytes; beyond it, the oldest rotated files are deleted."""
    derived_days: float = Field(1.0, ge=0)
    """Days until thumbnails and frame packs that no video references are deleted."""
    clips_days: float = Field(30.0, ge=0)
    """Days until a clip that nothing used is deleted from data/derived/clips; it is made again when needed."""
    partial_days: float = Field(7.0, ge=0)
    """Days until abandoned partial downloads and uploads are deleted."""
    measures_days: float = Field(400.0, ge=0)
    """Days to keep the metrics of each run for `vidpipe stats`."""
