"""The sections and keys of config.ini, their types, defaults and limits.

A key is written in config.ini in the spelling of `KEY_NAMES` (`MinSceneLength`); in Python it is snake_case.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from vidpipe.redaction import redact_by_form
from vidpipe.settings.lists import Lists
from vidpipe.settings.operation import Alerts, Budget, CronLine, Limits, Retention, Sensors, Services
from vidpipe.settings.section import Listed, Section
from vidpipe.settings.stored_paths import path_text, text_path
from vidpipe.settings.thresholds import THRESHOLD_SCALES, DetectorName, off_scale

#: What the describing model can be asked by itself, in the order of the asking.
PROMPT_NAMES = ("describe_scene", "describe_video", "sentiment", "tags", "category", "summary")


class Paths(Section):
    """Where files go. Relative paths are relative to the home, the folder of this file."""

    download_directory: Path = Field(
        Path("data/media"), description="the media store: one file a video, named by its hash"
    )
    processed_directory: Path = Field(Path("data/derived"), description="thumbnails and frame packs")
    source_lists: Listed = Field(
        ("data/urls.txt",),
        description="the watched lists, comma-separated: text files with a URL a line, CSV files with a column url",
    )
    watched_files: Literal["copy", "hardlink", "reference"] = Field(
        "copy",
        description="how local files of the watched lists are taken into the media store. copy: the store has bytes of "
        "its own; hardlink: a second name for the same bytes, a copy where the disks differ; reference: the file stays "
        "where it is and must not be changed. A change counts for files that are taken in from then on",
    )


class MongoDB(Section):
    """The library's database."""

    uri: SecretStr = Field(
        SecretStr(""),
        description="mongodb:// or mongodb+srv:// address; empty: the embedded server in data/mongo",
    )
    database_name: str = Field(
        "vidpipe", pattern=r"^[A-Za-z0-9_-]{1,38}$", description="letters, digits, _ and -, at most 38"
    )
    collection_name: str = Field(
        "videos",
        pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,80}$",
        description="of the videos, and prefix of the other collections; letters, digits, _ . and -",
    )
    timeout_s: float = Field(10.0, gt=0, le=600, description="seconds to look for the server before giving up")
    max_pool_size: int = Field(100, ge=1, le=10_000, description="most connections of one process to the server")
    tls_ca_file: str = Field(
        "", description="certificates (PEM) that the server's is checked against; empty: the system's"
    )
    tls_certificate_key_file: str = Field(
        "", description="certificate and key (PEM) by which the server knows vidpipe; empty: none"
    )

    @field_validator("uri")
    @classmethod
    def _is_a_mongodb_address(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and not value.get_secret_value().startswith(("mongodb://", "mongodb+srv://")):
            raise ValueError("the address of a MongoDB server starts with mongodb:// or mongodb+srv://")
        return value


class Concurrency(Section):
    """How much is done at once. Nothing here changes a result."""

    max_workers: int | None = Field(None, ge=1, le=1024, description="videos decoded at once; empty: one a CPU core")

    @property
    def workers(self) -> int:
        return self.max_workers or os.cpu_count() or 1


class QwenVL(Section):
    """The describing model. Its AccessKey is a secret: environment variable VIDPIPE_QWENVL_ACCESSKEY or
    config.local.ini, never this file."""

    backend: Literal["statistics", "qwen", "endpoint"] = Field(
        "statistics",
        description="statistics: sentences made of measurements, no model; qwen: Qwen2-VL in this process; "
        "endpoint: an OpenAI-compatible server",
    )
    public_endpoint: str = Field("", description="http(s) address of the server, as reached from anywhere")
    vpc_endpoint: str = Field("", description="http(s) address of the same server inside its private network")
    use_vpc: bool = Field(False, description="ask VpcEndpoint instead of PublicEndpoint")
    model: str = Field(
        "Qwen/Qwen2-VL-7B-Instruct",
        pattern=r"^[\w./:@+-]+$",
        max_length=200,  # not in the pattern: each of its repetitions costs time at every start
        description="for backend qwen: a model's name on ModelHub; fetched at first use where ModelDir is empty. "
        "For backend endpoint: the name that the server gives its model",
    )
    model_hub: Literal["huggingface", "modelscope"] = Field(
        "huggingface",
        description="where backend qwen fetches Model from; modelscope needs the package of that name",
    )
    model_dir: str = Field("", description="a local checkpoint folder, for backend qwen")
    min_pixels: int | None = Field(
        None,
        ge=28 * 28,
        le=4_000_000,
        description="fewest pixels of a frame as qwen sees it; empty: the checkpoint's own",
    )
    max_pixels: int | None = Field(
        None,
        ge=28 * 28,
        le=4_000_000,
        description="most pixels of a frame as qwen sees it; empty: the checkpoint's own",
    )
    max_video_tokens: int = Field(
        16_384,
        ge=64,
        le=1_000_000,
        description="most tokens that the frames of one scene or video cost, for backend qwen",
    )
    batch_tokens: int = Field(
        65_536,
        ge=256,
        le=100_000_000,
        description="tokens that backend qwen works on at once, questions and answers counted; changes no result",
    )
    prompts: Listed = Field(
        PROMPT_NAMES,
        description="what the model is asked, comma-separated, of " + ", ".join(PROMPT_NAMES) + "; the questions of "
        "[Rules] Questions come on top",
    )
    language: str = Field(
        "English",
        pattern=r"^[^\W\d_][\w ()-]*$",
        max_length=40,
        description="the language that descriptions, reasons and summaries are written in; labels stay as they are",
    )
    api_style: Literal["openai", "pai"] = Field(
        "openai",
        description="for backend endpoint. openai: POST to /v1/chat/completions; pai: the plain form of a PAI-EAS "
        "deployment, video_url and instruction posted to the endpoint as it is, answered by description",
    )
    video_format: Literal["images", "video_url"] = Field(
        "images",
        description="for backend endpoint, how frames are sent. images: each as an image_url after its time, which "
        "every server takes; video_url: as one video with its frames' times, which vLLM takes, at half the tokens",
    )
    max_frames: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="most frames of one request to backend endpoint, evenly chosen; empty: all of the scene or video",
    )
    requests_in_flight: int = Field(
        8, ge=1, le=256, description="requests that backend endpoint has with the server at once; changes no result"
    )
    request_timeout: float = Field(
        300.0,
        gt=0,
        le=86400,
        description="seconds that one answer of the server may take, from connecting to its last byte",
    )
    request_retries: int = Field(
        5, ge=0, le=100, description="further attempts after 429, 5xx, a time limit or a broken connection"
    )
    request_backoff: float = Field(
        1.0, ge=0, le=600, description="seconds before the first further attempt; doubles each time"
    )
    request_max_wait: float = Field(
        60.0, ge=0, le=3600, description="seconds, the longest wait between two attempts, Retry-After included"
    )
    default_instruction: str = Field(
        "", max_length=8000, description="added to the prompts for descriptions; empty: they stay as they are"
    )
    access_key: SecretStr = Field(SecretStr(""), description="secret: environment or config.local.ini only")

    @field_validator("prompts")
    @classmethod
    def _prompts_are_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in PROMPT_NAMES:
                raise ValueError(f"{name!r} is not among {', '.join(PROMPT_NAMES)}")
        return tuple(name for name in PROMPT_NAMES if name in value)

    @field_validator("public_endpoint", "vpc_endpoint")
    @classmethod
    def _is_an_http_address(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("an endpoint starts with http:// or https://")
        if redact_by_form(value) != value:
            raise ValueError("an endpoint has no place for a password or token; AccessKey has")
        return value


class SceneDetection(Section):
    """Cuts, thumbnails and the frames that the describing model sees."""

    detector: DetectorName = Field(
        "adaptive",
        description="PySceneDetect's adaptive, content, histogram and hash (hard cuts) and threshold (fades to "
        "black), or ffmpeg's scene filter",
    )
    default_threshold: float | None = Field(
        None,
        description="on the detector's own scale; empty: its good default. "
        + "; ".join(f"{name}: {scale.limits}, default {scale.default:g}" for name, scale in THRESHOLD_SCALES.items()),
    )
    min_scene_length: float = Field(0.6, ge=0, le=3600, description="seconds; no scene is shorter, nor is the last one")
    frames_per_scene: int = Field(
        8, ge=1, le=256, description="most frames of one scene that the describing model will see"
    )
    frames_per_video: int = Field(
        96, ge=1, le=4096, description="most frames of one video that the describing model will see"
    )
    frame_max_pixels: int = Field(
        360 * 420, ge=28 * 28, le=4_000_000, description="most pixels (width times height) of one such frame"
    )
    thumbnails: Literal["scenes", "interval"] = Field(
        "scenes", description="scenes: one where each scene begins; interval: one every ThumbnailInterval"
    )
    thumbnail_interval: float = Field(
        10.0, gt=0, le=86400, description="seconds between two, with Thumbnails = interval"
    )
    thumbnail_width: int = Field(320, ge=32, le=1920, description="pixels; the height follows the picture")
    max_thumbnails: int = Field(200, ge=1, le=10_000, description="most thumbnails of one video")
    timeout_factor: float = Field(
        20.0,
        gt=0,
        le=1000,
        description="times the video's duration that its decode may take, and never less than 120 s",
    )

    @model_validator(mode="after")
    def _threshold_is_on_the_detectors_scale(self) -> SceneDetection:
        if self.default_threshold is not None and (fault := off_scale(self.detector, self.default_threshold)):
            raise ValueError(fault)
        return self

    @property
    def threshold(self) -> float:
        """The threshold in force, on the detector's own scale."""
        return self.default_threshold if self.default_threshold is not None else THRESHOLD_SCALES[self.detector].default


class Rules(Section):
    """The files that steer tags and categories."""

    custom_tag_rules: Path = Field(Path("rules/custom_tags.json"), description="the rules that give tags")
    priority_keywords: Path = Field(
        Path("rules/priority_keywords.json"), description="what the describing model looks for first"
    )
    categories: Path = Field(Path("rules/categories.json"), description="the rules that give the category")
    prompts: Path = Field(
        Path("rules/prompts"), description="folder with the templates of what the model is asked; see docs/prompts.md"
    )
    questions: Path = Field(Path("rules/questions.json"), description="further questions to the describing model")
    tag_vocabulary: str = Field(
        "", description="JSON file with a list of the tags that the model may give; empty: any that fit"
    )
    schedule: CronLine = Field(
        "",
        description="cron line (15 3 * * *): when changed rules are applied to the library; empty: as soon as they are "
        "seen",
    )


class Download(Section):
    """Limits of downloads, retries, and which private addresses may be asked."""

    max_size_mb: int = Field(20_000, ge=1, description="megabytes; a larger file is refused")
    min_free_mb: int = Field(1_000, ge=0, description="megabytes of free disk space that a download must leave")
    parallel: int = Field(4, ge=1, le=64, description="downloads at once")
    connect_timeout: float = Field(10.0, gt=0, le=600, description="seconds to wait for a connection")
    read_timeout: float = Field(30.0, gt=0, le=3600, description="seconds without a byte")
    min_speed: int = Field(
        1024,
        ge=0,
        description="bytes a second, averaged over ReadTimeout; a slower server counts as stalled; 0: no limit",
    )
    retries: int = Field(5, ge=0, le=100, description="further attempts after a transient fault")
    backoff: float = Field(1.0, ge=0, le=600, description="seconds before the first retry; doubles each time")
    max_wait: float = Field(
        300.0, ge=0, description="seconds, the longest wait between two attempts, Retry-After included"
    )
    max_redirects: int = Field(10, ge=0, le=50, description="redirects followed for one download")
    allowed_private: Listed = Field(
        (), description="private hosts or networks (CIDR) that may be asked, comma-separated"
    )
    use_proxy: bool = Field(
        False, description="go through HTTP_PROXY/HTTPS_PROXY; the proxy then decides which addresses are reached"
    )
    user_agent: str = Field("vidpipe", description="the User-Agent header that servers see")

    @field_validator("allowed_private")
    @classmethod
    def _networks_parse(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            if "/" in entry:
                ipaddress.ip_network(entry, strict=False)
        return value


class Logging(Section):
    """The log file, and audit.jsonl beside it: one JSON line an event. Both rotate."""

    log_file: Path = Field(Path("data/logs/vidpipe.log"), description="for people; secrets are masked")
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="the least that is logged")
    max_size_mb: int = Field(10, ge=1, le=10_000, description="megabytes of one log file before it is rotated")
    keep: int = Field(5, ge=0, le=1000, description="rotated log files kept")


class Settings(BaseModel):
    """The effective settings of one home. Build it with `vidpipe.settings.load`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path
    paths: Paths = Paths()
    mongodb: MongoDB = MongoDB()
    concurrency: Concurrency = Concurrency()
    qwen_vl: QwenVL = QwenVL()
    scene_detection: SceneDetection = SceneDetection()
    rules: Rules = Rules()
    download: Download = Download()
    lists: Lists = Lists()
    limits: Limits = Limits()
    logging: Logging = Logging()
    services: Services = Services()
    sensors: Sensors = Sensors()
    budget: Budget = Budget()
    alerts: Alerts = Alerts()
    retention: Retention = Retention()

    def resolve(self, path: Path | str) -> Path:
        """`path`, as written in config.ini or stored, below the home, or as it is when absolute."""
        return self.home / text_path(path)

    def relative(self, path: Path) -> str:
        """`path` as it is stored: relative to the home where it lies below it (see `path_text`)."""
        for form in (path.absolute(), path.resolve()):
            if form.is_relative_to(self.home):
                return path_text(form, self.home)
        return path_text(path.absolute())

    @property
    def media_directory(self) -> Path:
        return self.resolve(self.paths.download_directory)

    @property
    def derived_directory(self) -> Path:
        return self.resolve(self.paths.processed_directory)

    @property
    def data_directory(self) -> Path:
        """data/: the embedded server, Dagster's instance, logs and run files live here."""
        return self.home / "data"


SECTION_NAMES: dict[str, str] = {
    "paths": "Paths", "mongodb": "MongoDB", "concurrency": "Concurrency", "qwen_vl": "QwenVL",
    "scene_detection": "SceneDetection", "rules": "Rules", "download": "Download", "lists": "Lists",
    "limits": "Limits", "logging": "Logging",
    "services": "Services", "sensors": "Sensors", "budget": "Budget", "alerts": "Alerts", "retention": "Retention",
}  # fmt: skip

#: snake_case fields whose config.ini spelling is not plain PascalCase.
_SPECIAL_KEYS = {"uri": "URI", "max_size_mb": "MaxSizeMB", "min_free_mb": "MinFreeMB", "logs_size_mb": "LogsSizeMB",
                 "memory_mb": "MemoryMB",
                 "use_vpc": "UseVpc", "timeout_s": "Timeout"}  # fmt: skip


def key_name(field: str) -> str:
    """The config.ini spelling of a field: `min_scene_length` -> `MinSceneLength`."""
    return _SPECIAL_KEYS.get(field) or "".join(part.capitalize() for part in field.split("_"))
