"""The settings as types: every section and key of config.ini with its default and limits.

A key is PascalCase in config.ini (`MinSceneLength`) and snake_case in Python (`min_scene_length`).
"""

import hashlib
import os
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, Field, SecretStr, ValidationInfo, field_validator, model_validator

from vidpipe.redaction import redact_by_form
from vidpipe.safe_files import network_file_system, path_text, text_path
from vidpipe.settings import analyses as optional
from vidpipe.settings import datasets, operation
from vidpipe.settings.cluster import Cluster, Concurrency
from vidpipe.settings.operation import CronSchedule, Listed, Section
from vidpipe.settings.storage import Privacy, Storage

#: The prompts of the describing model, in the order in which they are asked.
PROMPT_NAMES = ("describe_scene", "describe_video", "sentiment", "tags", "category", "summary")


class Paths(Section):
    """Where files are stored. Relative paths are relative to the home, the folder of this file."""

    download_directory: Path = Path("data/media")
    """Media store: one file per video, named by its hash."""
    processed_directory: Path = Path("data/derived")
    """Thumbnails and frame packs."""
    source_lists: Listed = ("data/urls.txt",)
    """Watched lists and folders, comma-separated: text files with one URL per line, tables (CSV, TSV, JSON Lines,
    Parquet) with a column url, and local folders, of which every video is a source."""
    watched_files: Literal["copy", "hardlink", "reference"] = "copy"
    """How local files of watched lists enter the media store. copy: the store has its own copy; hardlink: a second link
    to the same file, or a copy across disks; reference: the file stays in place and must not be changed. A change
    applies to files added from then on."""


class MongoDB(Section):
    """The library's database."""

    uri: SecretStr = SecretStr("")
    """A mongodb:// or mongodb+srv:// address; empty: the embedded server in data/mongo."""
    database_name: str = Field("vidpipe", pattern=r"^[A-Za-z0-9_-]{1,38}$")
    """Name of the database: letters, digits, _ and -, at most 38 characters."""
    collection_name: str = Field("videos", pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,80}$")
    """Collection of the videos, and prefix of the other collections: letters, digits, _ . and -."""
    timeout_s: float = Field(10.0, gt=0, le=600)
    """Timeout for reaching the server, in seconds."""
    max_pool_size: int = Field(100, ge=1, le=10_000)
    """Most connections of one process to the server."""
    tls_ca_file: str = ""
    """CA certificates (PEM) to verify the server with; empty: those of the system."""
    tls_certificate_key_file: str = ""
    """Client certificate and key (PEM); empty: none."""

    @field_validator("uri")
    @classmethod
    def _check_scheme(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and not value.get_secret_value().startswith(("mongodb://", "mongodb+srv://")):
            raise ValueError("the address of a MongoDB server starts with mongodb:// or mongodb+srv://")
        return value


class QwenVL(Section):
    """The describing model.

    Its AccessKey is a secret: set VIDPIPE_QWENVL_ACCESSKEY, or write it to config.local.ini, never to this file.
    """

    backend: Literal["statistics", "measured", "qwen", "endpoint"] = "statistics"
    """statistics, or measured (the same): sentences made from measurements and from what the analyses found, without a
    vision model; qwen: Qwen2-VL in this process; endpoint: an OpenAI-compatible server."""
    public_endpoint: str = ""
    """Public http(s) address of the server; or of several servers of the same model, comma-separated: each video is
    sent to one of them, and to another while that one does not answer."""
    vpc_endpoint: str = ""
    """http(s) addresses of the same servers inside their private network."""
    use_vpc: bool = False
    """Use VpcEndpoint instead of PublicEndpoint."""
    # the length is not in the pattern: each of its repetitions costs time at every start
    model: str = Field("Qwen/Qwen2-VL-7B-Instruct", pattern=r"^[\w./:@+-]+$", max_length=200)
    """Backend qwen: name of the model on ModelHub, downloaded on first use unless ModelDir is set. Backend endpoint:
    name of the model on the server."""
    model_hub: Literal["huggingface", "modelscope"] = "huggingface"
    """Where backend qwen downloads Model from. modelscope needs the package of that name."""
    model_dir: str = ""
    """Backend qwen: a local checkpoint folder."""
    min_pixels: int | None = Field(None, ge=28 * 28, le=4_000_000)
    """Backend qwen: fewest pixels per frame; empty: the checkpoint's own limit."""
    max_pixels: int | None = Field(None, ge=28 * 28, le=4_000_000)
    """Backend qwen: most pixels per frame; empty: the checkpoint's own limit."""
    max_video_tokens: int = Field(16_384, ge=64, le=1_000_000)
    """Backend qwen: most tokens for the frames of one scene or video."""
    batch_tokens: int = Field(65_536, ge=256, le=100_000_000)
    """Backend qwen: tokens per batch, including prompts and answers. Does not change results."""
    prompts: Listed = PROMPT_NAMES
    """Prompts to run, comma-separated: describe_scene, describe_video, sentiment, tags, category, summary. The
    questions of [Rules] Questions are asked in addition."""
    language: str = Field("English", pattern=r"^[^\W\d_][\w ()-]*$", max_length=40)
    """Language of descriptions, reasons and summaries, such as English or Chinese (simplified). Labels stay as they
    are."""
    api_style: Literal["openai", "pai"] = "openai"
    """Backend endpoint. openai: POST to /v1/chat/completions; pai: the plain form of a PAI-EAS deployment, which takes
    video_url and instruction at the endpoint itself and returns description."""
    video_format: Literal["images", "video_url"] = "images"
    """Backend endpoint: how frames are sent. images: one image_url per frame after its timestamp, supported by every
    server; video_url: one video with the timestamps of its frames, supported by vLLM, at half the tokens."""
    max_frames: int | None = Field(None, ge=1, le=4096)
    """Backend endpoint: most frames per request, evenly spaced; empty: all frames of the scene or video."""
    requests_in_flight: int = Field(8, ge=1, le=256)
    """Backend endpoint: number of concurrent requests. Does not change results."""
    request_timeout: float = Field(300.0, gt=0, le=86400)
    """Timeout of one request in seconds, from connecting to the last byte of the response."""
    request_retries: int = Field(5, ge=0, le=100)
    """Retries after 429, 5xx, a timeout or a broken connection."""
    server_wait: float = Field(180.0, ge=0, le=86400)
    """Longest wait for a server that cannot be reached, in seconds, before the run ends and its videos stay due."""
    request_backoff: float = Field(1.0, ge=0, le=600)
    """Delay before the first retry, in seconds; doubles with each retry."""
    request_max_wait: float = Field(60.0, ge=0, le=3600)
    """Longest delay between two attempts, in seconds; also limits Retry-After."""
    default_instruction: str = Field("", max_length=8000)
    """Text appended to the description prompts; empty: none."""
    access_key: SecretStr = SecretStr("")
    """Secret. Only in the environment or config.local.ini."""

    @field_validator("prompts")
    @classmethod
    def _check_prompts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in PROMPT_NAMES:
                raise ValueError(f"{name!r} is not among {', '.join(PROMPT_NAMES)}")
        return tuple(name for name in PROMPT_NAMES if name in value)

    @field_validator("public_endpoint", "vpc_endpoint")
    @classmethod
    def _check_endpoint(cls, value: str) -> str:
        if not all(address.startswith(("http://", "https://")) for address in operation.split_list(value)):
            raise ValueError("an endpoint starts with http:// or https://")
        if redact_by_form(value) != value:
            raise ValueError("an endpoint must not contain a password or token; use AccessKey")
        return value

    @property
    def measured(self) -> bool:
        """Whether descriptions are made without a vision model."""
        return self.backend in ("statistics", "measured")


DetectorName = Literal["adaptive", "content", "histogram", "hash", "threshold", "ffmpeg", "transnetv2"]


class ThresholdScale(NamedTuple):
    """The range of thresholds of one detector.

    Attributes:
        low: Lowest threshold; 0 itself is not allowed.
        high: Highest threshold.
        default: Threshold used when none is set.
    """

    low: float
    high: float
    default: float

    def holds(self, threshold: float) -> bool:
        """Return whether `threshold` is on this scale."""
        return self.low <= threshold <= self.high and threshold > 0

    @property
    def limits(self) -> str:
        """The range as a phrase."""
        return f"{'at least' if self.low else 'above'} {self.low:g}, at most {self.high:g}"


#: content and adaptive compare scores of 0 to 255, or their ratio: below 1 nearly every frame would be a cut.
#: content 31 is the tuned value of PySceneDetect's own benchmark at one frame's tolerance. adaptive: with that
#: benchmark's window of 3 frames its 3.5 misses hard cuts in moving shots (two of nine known ones), 3.0 finds them all.
THRESHOLD_SCALES: dict[DetectorName, ThresholdScale] = {
    "adaptive": ThresholdScale(1.0, 255.0, 3.0),
    "content": ThresholdScale(1.0, 255.0, 31.0),
    "histogram": ThresholdScale(0.0, 1.0, 0.05),
    "hash": ThresholdScale(0.0, 1.0, 0.395),
    "threshold": ThresholdScale(0.0, 255.0, 12.0),
    "ffmpeg": ThresholdScale(0.0, 1.0, 0.3),
    "transnetv2": ThresholdScale(0.0, 1.0, 0.5),
}


def off_scale(detector: DetectorName, threshold: float) -> str:
    """Explain why `threshold` is wrong for `detector`.

    Returns:
        A phrase that names the scale and, if the threshold fits content or ffmpeg, what to write; empty if the
        threshold is on the detector's scale.
    """
    scale = THRESHOLD_SCALES[detector]
    if scale.holds(threshold):
        return ""
    other: DetectorName = "content" if threshold > 1 else "ffmpeg"
    advice = ""
    if other != detector and THRESHOLD_SCALES[other].holds(threshold):
        whose = "PySceneDetect's content" if other == "content" else "ffmpeg's scene"
        advice = f"; {threshold:g} is on {whose} scale: set Detector = {other}, or pass --scene-detector {other}"
    return (
        f"DefaultThreshold {threshold:g} is not on the scale of Detector {detector}: {scale.limits} "
        f"(leave it empty for {scale.default:g}){advice}"
    )


class SceneDetection(Section):
    """Cuts, thumbnails, and the frames that the describing model sees."""

    detector: DetectorName = "adaptive"
    """PySceneDetect's adaptive (hard cuts; here also dissolves and fades), content, histogram and hash (hard cuts) and
    threshold (fades to black), ffmpeg's scene filter, or transnetv2, a neural network (hard cuts and dissolves), which
    needs the extra of that name and decodes every frame."""
    default_threshold: float | None = None
    """Threshold on the detector's own scale; empty: its default. adaptive: 1 to 255, default 3; content: 1 to 255,
    default 31; histogram: above 0 up to 1, default 0.05; hash: above 0 up to 1, default 0.395; threshold: above 0 up
    to 255, default 12; ffmpeg: above 0 up to 1, default 0.3; transnetv2: above 0 up to 1, default 0.5."""
    decode: Literal["auto", "all"] = "auto"
    """auto: decode only reference frames (those that other frames are predicted from), and every frame around possible
    cuts; every frame of videos for which that is unsuitable or slower. all: decode every frame. Damage in skipped
    frames is found only by all and by `vidpipe check`."""
    hw_accel: Literal["none", "auto", "cuda", "vaapi", "videotoolbox"] = "none"
    """Hardware decoder; auto: the first that this machine has. Videos that it cannot decode are decoded in software;
    `vidpipe show` says which decoder was used. A change makes nothing due."""
    min_scene_length: float = Field(0.6, ge=0, le=3600)
    """Minimum length of a scene in seconds, including the last one."""
    frames_per_scene: int = Field(8, ge=1, le=256)
    """Most frames per scene for the describing model."""
    frames_per_video: int = Field(96, ge=1, le=4096)
    """Most frames per video for the describing model."""
    frame_max_pixels: int = Field(360 * 420, ge=28 * 28, le=4_000_000)
    """Most pixels (width x height) of such a frame."""
    thumbnails: Literal["scenes", "interval"] = "scenes"
    """scenes: one at the start of each scene; interval: one every ThumbnailInterval."""
    thumbnail_interval: float = Field(10.0, gt=0, le=86400)
    """Seconds between two thumbnails if Thumbnails = interval."""
    thumbnail_width: int = Field(320, ge=32, le=1920)
    """Width of thumbnails in pixels; the height follows the aspect ratio."""
    max_thumbnails: int = Field(200, ge=1, le=10_000)
    """Most thumbnails per video."""
    timeout_factor: float = Field(20.0, gt=0, le=1000)
    """Timeout of decoding a video as a multiple of its duration; at least 120 s."""

    @model_validator(mode="after")
    def _check_threshold(self) -> "SceneDetection":
        if self.default_threshold is not None and (fault := off_scale(self.detector, self.default_threshold)):
            raise ValueError(fault)
        return self

    @property
    def threshold(self) -> float:
        """The threshold in effect, on the detector's own scale."""
        return self.default_threshold if self.default_threshold is not None else THRESHOLD_SCALES[self.detector].default


class Rules(Section):
    """The files that define tags, categories and prompts."""

    custom_tag_rules: Path = Path("rules/custom_tags.json")
    """Rules for tags; the other .yaml and .json files of its folder may hold more."""
    apply: Literal["automatic", "approve"] = "automatic"
    """Whether edited rules apply by themselves; approve: `vidpipe rules apply` or the page applies them."""
    priority_keywords: Path = Path("rules/priority_keywords.json")
    """What the describing model looks for first."""
    categories: Path = Path("rules/categories.json")
    """Rules for categories."""
    prompts: Path = Path("rules/prompts")
    """Folder with the prompt templates; see docs/prompts.md."""
    questions: Path = Path("rules/questions.json")
    """Additional questions for the describing model."""
    tag_vocabulary: str = ""
    """JSON file with a list of the tags that the model may use; empty: any."""
    schedule: CronSchedule = ""
    """Cron schedule (15 3 * * *) for applying changed rules to the library; empty: immediately."""


class Settings(BaseModel, frozen=True, extra="forbid"):
    """The effective settings of one home. Create it with `vidpipe.settings.load`.

    Attributes:
        home: The folder that relative paths refer to.
    """

    home: Path
    paths: Paths = Paths()
    mongodb: MongoDB = MongoDB()
    concurrency: Concurrency = Concurrency()
    qwen_vl: QwenVL = QwenVL()
    scene_detection: SceneDetection = SceneDetection()
    rules: Rules = Rules()
    analyses: optional.Analyses = optional.Analyses()
    models: optional.Models = optional.Models()
    speech: optional.Speech = optional.Speech()
    screen_text: optional.ScreenText = optional.ScreenText()
    objects: optional.Objects = optional.Objects()
    faces: optional.Faces = optional.Faces()
    privacy: Privacy = Privacy()
    moderation: optional.Moderation = optional.Moderation()
    meaning: optional.Meaning = optional.Meaning()
    storage: Storage = Storage()
    download: operation.Download = operation.Download()
    lists: operation.Lists = operation.Lists()
    limits: operation.Limits = operation.Limits()
    logging: operation.Logging = operation.Logging()
    services: operation.Services = operation.Services()
    cluster: Cluster = Cluster()
    library_page: operation.LibraryPage = operation.LibraryPage()
    sensors: operation.Sensors = operation.Sensors()
    budget: operation.Budget = operation.Budget()
    alerts: operation.Alerts = operation.Alerts()
    retention: operation.Retention = operation.Retention()
    mirror: datasets.Mirror = datasets.Mirror()
    near_duplicates: datasets.NearDuplicates = datasets.NearDuplicates()

    @field_validator("near_duplicates")
    @classmethod
    def _check_fingerprints(cls, value: datasets.NearDuplicates, info: ValidationInfo) -> datasets.NearDuplicates:
        if value.describe_once and "analyses" in info.data and "fingerprint" not in info.data["analyses"].enabled:
            raise ValueError("DescribeOnce = yes needs fingerprint in Enabled of [Analyses]")
        return value

    def resolve(self, path: Path | str) -> Path:
        """Return `path`, as written in config.ini or stored, below the home, or unchanged if absolute."""
        return self.home / text_path(path)

    def relative(self, path: Path) -> str:
        """Return `path` as it is stored: relative to the home if it is below it (see `path_text`)."""
        for form in (path.absolute(), path.resolve()):
            if form.is_relative_to(self.home):
                return path_text(form, self.home)
        return path_text(path.absolute())

    @property
    def media_directory(self) -> Path:
        """The media store."""
        return self.resolve(self.paths.download_directory)

    @property
    def derived_directory(self) -> Path:
        """Thumbnails and frame packs."""
        return self.resolve(self.paths.processed_directory)

    @property
    def data_directory(self) -> Path:
        """data/: the embedded server, Dagster's instance, logs and run files."""
        return self.home / "data"

    @property
    def uploads_directory(self) -> Path:
        """Files that are being uploaded to the library page, each in a folder of its own."""
        return self.data_directory / "uploads"

    @property
    def models_directory(self) -> Path:
        """The installed models of the analyses."""
        return self.data_directory / "models"

    @property
    def index_directory(self) -> Path:
        """The library's search index, in data/index, or in the user's cache if that is on a network file system."""
        index = self.data_directory / "index"
        if network_file_system(index):
            cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
            index = cache / "vidpipe" / "index" / hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]
        return index / f"{self.mongodb.database_name}.{self.mongodb.collection_name}"


def section_models(model: type[Settings]) -> dict[str, type[Section]]:
    """Return field -> class of each section: `SceneDetection` for "scene_detection"."""
    return {field: info.annotation for field, info in model.model_fields.items() if field != "home"}  # type: ignore[misc]


#: A section in Python -> in config.ini, where it has the name of its class.
SECTION_NAMES: dict[str, str] = {field: section.__name__ for field, section in section_models(Settings).items()}

#: Fields whose spelling in config.ini is not plain PascalCase.
_SPECIAL_KEYS = {
    "uri": "URI", "url": "URL", "max_size_mb": "MaxSizeMB", "min_free_mb": "MinFreeMB", "logs_size_mb": "LogsSizeMB",
    "memory_mb": "MemoryMB", "max_upload_mb": "MaxUploadMB", "upload_quota_mb": "UploadQuotaMB",
    "proxy_cache_mb": "ProxyCacheMB", "cache_mb": "CacheMB",
    "refetch_mb": "RefetchMB", "public_url": "PublicURL", "use_vpc": "UseVpc", "timeout_s": "Timeout",
}  # fmt: skip


def key_name(field: str) -> str:
    """Return the config.ini spelling of a field: `min_scene_length` -> `MinSceneLength`."""
    return _SPECIAL_KEYS.get(field) or "".join(part.capitalize() for part in field.split("_"))
