"""The single checks of `vidpipe doctor`. Each says what was found; a failed one says what to do."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import re
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from vidpipe.cli.output import counted
from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.safe_files import readable_by_others
from vidpipe.settings import Settings, free_by_disk
from vidpipe.settings.home import LOCAL_CONFIG_NAME
from vidpipe.settings.logs import AUDIT_NAME

Status = Literal["ok", "warn", "fail"]

#: What the decode and the probe ask of ffmpeg, and the decoders that most videos need.
_FILTERS = ("scale", "select", "split", "format", "setsar", "aformat", "asetnsamples")
_DECODERS = ("h264", "hevc", "vp9", "av1", "mpeg4", "aac")
_OLDEST_FFMPEG = (4, 4)
#: sha256, its first digits, of default tag rules and categories that earlier versions wrote into homes.
_OLD_DEFAULTS = frozenset(("d8e35c1471ee", "f869f29a7d47", "c74ec4269bbe", "3c2b00118e4d", "2b337a106ef5"))
_OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")


@dataclass(frozen=True)
class Check:
    name: str
    status: Status
    found: str
    todo: str = ""

    @property
    def rank(self) -> int:
        return ("ok", "warn", "fail").index(self.status)

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def failed(name: str, error: VidpipeError) -> Check:
    return Check(name, "fail", error.message, error.hint)


def check_all(settings: Settings) -> Iterator[Check]:
    """Every check, one after another; a fault in one is that check's failure and ends none of the others."""
    checks: tuple[tuple[str, Callable[[Settings], Check]], ...] = (
        ("Python", _python), ("OpenCV", _opencv), ("home", _home), ("ffmpeg", _ffmpeg), ("ffprobe", _ffprobe),
        ("MongoDB", _mongodb), ("disk", _disk), ("rules", _rules), ("model", _model), ("Dagster", _dagster),
    )  # fmt: skip
    for name, check in checks:
        try:
            yield check(settings)
        except VidpipeError as error:
            yield failed(name, error)
        except Exception as error:
            yield Check(name, "fail", f"{type(error).__name__}: {error}", "Install vidpipe and its packages anew.")


def _python(settings: Settings) -> Check:
    found = f"{platform.python_version()} in {sys.prefix}, on {platform.system()} {platform.machine()}"
    return Check("Python", "ok", found)


def _opencv(settings: Settings) -> Check:
    installed = [name for name in _OPENCV if _version(name)]
    import cv2

    found = f"{cv2.__version__} ({', '.join(installed) or 'not from pip'})"
    if len(installed) > 1:
        return Check(
            "OpenCV", "warn", f"{found}: several packages that overwrite each other's files",
            "pip uninstall all of them, then `pip install opencv-python-headless`.",
        )  # fmt: skip
    return Check("OpenCV", "ok", found)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _home(settings: Settings) -> Check:
    for folder in (settings.data_directory, settings.media_directory, settings.derived_directory):
        _can_write(folder)
    return _readable_by_others(settings) or Check("home", "ok", f"{settings.home}, writable")


def _can_write(folder: Path) -> None:
    """Raises UnavailableError unless a file can be made in `folder`, or in the nearest folder above that exists."""
    there = folder
    while not there.exists():
        there = there.parent
    try:
        with tempfile.NamedTemporaryFile(dir=there):
            pass
    except OSError as error:
        raise UnavailableError(
            f"{there} cannot be written: {error.strerror or error}.",
            "Make it writable, or use another home (VIDPIPE_HOME).",
        ) from error


def _ffmpeg(settings: Settings) -> Check:
    from vidpipe.media import ffmpeg

    program = ffmpeg.ffmpeg_path()
    found = f"{ffmpeg.version(program)}, {program}"
    number = re.search(r"(?:^|\s|n)(\d+)\.(\d+)", ffmpeg.version(program))
    if number and (int(number[1]), int(number[2])) < _OLDEST_FFMPEG:
        return Check("ffmpeg", "fail", f"{found}: too old", "Install ffmpeg 4.4 or later.")
    filters = _listed(program, "-filters")
    decoders = _listed(program, "-decoders")
    no_filters = [name for name in _FILTERS if name not in filters]
    if no_filters:
        return Check(
            "ffmpeg", "fail", f"{found}: without the filters {', '.join(no_filters)}", "Install a complete ffmpeg."
        )
    if "mjpeg" not in _listed(program, "-encoders"):
        return Check("ffmpeg", "fail", f"{found}: it cannot write JPEG (encoder mjpeg)", "Install a complete ffmpeg.")
    lacking = [name for name in _DECODERS if name not in decoders and f"lib{name}" not in decoders]
    lacking = [name for name in lacking if not (name == "av1" and "libdav1d" in decoders)]
    if lacking:
        return Check("ffmpeg", "warn", f"{found}: cannot read {', '.join(lacking)}", "Install a complete ffmpeg.")
    return Check("ffmpeg", "ok", found)


def _listed(program: str, what: str) -> frozenset[str]:
    """Names that `ffmpeg -filters` and the like list: the second word of each line."""
    from vidpipe.media import ffmpeg

    lines = ffmpeg.run([program, "-hide_banner", what], timeout_s=20).stdout.decode(errors="replace").splitlines()
    return frozenset(line.split()[1] for line in lines if len(line.split()) > 1)


def _ffprobe(settings: Settings) -> Check:
    from vidpipe.media import ffmpeg

    program = ffmpeg.ffprobe_path()
    return Check("ffprobe", "ok", f"{ffmpeg.version(program)}, {program}")


def _mongodb(settings: Settings) -> Check:
    from vidpipe.library import embedded
    from vidpipe.library.capabilities import capabilities
    from vidpipe.library.embedded_damage import logged_damage, traces
    from vidpipe.library.library import Library
    from vidpipe.stages.registry import GRAPH

    is_embedded = embedded.is_embedded(settings)
    with Library.open(settings, GRAPH) as library:
        found = capabilities(library.connection)
        videos = library.videos.count()
    if is_embedded and (damage := logged_damage(embedded.files_of(settings), last_start=False)):
        raise damage
    where = "embedded" if is_embedded else "own server"
    kind = "stand-alone"
    if found.sharded:
        kind = "a sharded cluster"
    elif found.replica_set is not None:
        kind = f"replica set {found.replica_set} of {counted(found.members, 'member')}"
    secured = "with TLS" if found.tls else "without TLS"
    sentence = (
        f"{found.product} {found.version} at {found.host} ({where}), {kind}, {secured}, answers in "
        f"{found.latency_ms:.1f} ms, {counted(videos, 'video')}"
    )
    serious = [lack for lack in found.lacks if "vidpipe needs neither" not in lack]
    if not found.writable:
        return Check("MongoDB", "fail", f"{sentence}. {' '.join(serious)}", "Name the primary in [MongoDB] URI.")
    if serious:
        return Check("MongoDB", "warn", f"{sentence}. {' '.join(serious)}")
    if not videos and (left := traces(settings)):
        todo = "If the library was lost, `vidpipe doctor --repair` restores or rebuilds it."
        return Check("MongoDB", "warn", f"{sentence}, although {left}", todo)
    return Check("MongoDB", "ok", sentence)


def _disk(settings: Settings) -> Check:
    needed = settings.download.min_free_mb
    disks = free_by_disk(settings)
    least_mb = min(disks.values()) / 1e6
    status: Status = "fail" if least_mb < needed else "warn" if least_mb < 2 * needed else "ok"
    found = [f"{free / 1e9:.1f} GB free for {folder}" for folder, free in disks.items()]
    todo = f"Downloads leave {needed} MB free ([Download] MinFreeMB): make room, or move the home to a larger disk."
    return Check("disk", status, "; ".join(found), "" if status == "ok" else todo)


def _rules(settings: Settings) -> Check:
    from vidpipe.tagging.build import build_categories, build_rules
    from vidpipe.vlm.templating.rendered import rendered_prompts

    rules, categories = build_rules(settings), build_categories(settings)
    prompts = rendered_prompts(settings)  # whatever the backend: a broken template is better found before it is needed
    found = (
        f"{counted(len(rules.rules), 'tag rule')}, {len(categories.categories)} categories, "
        f"{counted(len(settings.qwen_vl.prompts), 'prompt')}, {counted(len(prompts.questions), 'question')}"
    )
    for path in map(settings.resolve, (settings.rules.custom_tag_rules, settings.rules.categories)):
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest()[:12] in _OLD_DEFAULTS:
            found += f"; {path} is the unchanged default of an older version"
            return Check("rules", "warn", found, "Delete it and run `vidpipe init`, which writes today's defaults.")
    return Check("rules", "ok", found)


def _model(settings: Settings) -> Check:
    from vidpipe.vlm.build import build_model
    from vidpipe.vlm.prompts import unread_instructions

    model = build_model(settings)
    try:
        found = f"{model.name}: {model.readiness()}"
        if "on a CPU" in found:
            return Check("model", "warn", found, "A model of billions of parameters takes minutes a scene there.")
        unread = unread_instructions(settings)
        return Check("model", "warn" if unread else "ok", found, unread)
    finally:
        model.close()


def _dagster(settings: Settings) -> Check:
    from vidpipe.pipeline.build import build_definitions
    from vidpipe.pipeline.history_damage import check_history
    from vidpipe.pipeline.instance import dagster_home
    from vidpipe.stages.registry import GRAPH

    folder = dagster_home(settings)
    _can_write(folder)
    check_history(folder, thorough=True)
    build_definitions(GRAPH, settings)  # raises where Dagster cannot be loaded, or not with our assets
    version = importlib.metadata.version("dagster")
    return Check("Dagster", "ok", f"{version}, history in {settings.relative(folder)}")


def _readable_by_others(settings: Settings) -> Check | None:
    """A warning if other users can read files that may hold secrets or reveal what is in the library."""
    from vidpipe.library.backups.manifest import whole_backups
    from vidpipe.library.embedded import files_of
    from vidpipe.pipeline.instance import dagster_home

    log_file = settings.resolve(settings.logging.log_file)
    own_logs = settings.data_directory / "logs"
    private = [settings.home / LOCAL_CONFIG_NAME, dagster_home(settings), own_logs, files_of(settings).data]
    private += [backup for folder in settings.home.iterdir() if folder.is_dir() for backup in whole_backups(folder)]
    if log_file.parent != own_logs:  # a folder that others may use, too
        private += [path for path in (log_file, log_file.with_name(AUDIT_NAME)) if path.is_file()]
    exposed = [path for path in private if readable_by_others(path)]
    if not exposed:
        return None
    shown = ", ".join(settings.relative(path) for path in exposed)
    todo = f"`chmod -R go= {shlex.join(map(str, exposed))}`"
    return Check("home", "warn", f"{settings.home}, writable; other users can read {shown}", todo)
