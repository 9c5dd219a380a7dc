"""vidpipe doctor: check the installation and the home."""

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
from typing import Annotated, Any, Literal

import typer

from vidpipe.cli.context import command_context
from vidpipe.cli.options import Json
from vidpipe.cli.output import counted, err, out, print_json, table, words
from vidpipe.cli.repair import repair as repair_home
from vidpipe.errors import SettingsError, UnavailableError, VidpipeError
from vidpipe.library import embedded
from vidpipe.library.capabilities import capabilities
from vidpipe.library.embedded import files_of
from vidpipe.library.embedded.damage import logged_damage, traces
from vidpipe.library.library import Library
from vidpipe.media import ffmpeg
from vidpipe.models.prompt_building import template_prompts
from vidpipe.operations.backups.manifest import whole_backups
from vidpipe.safe_files import readable_by_others
from vidpipe.settings import Settings, free_by_disk
from vidpipe.settings.home import LOCAL_CONFIG_NAME
from vidpipe.settings.logs import AUDIT_NAME
from vidpipe.stages.registry import GRAPH
from vidpipe.tagging.categories import build_categories
from vidpipe.tagging.rules import build_rules

_STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(
    context: typer.Context,
    *,
    repair: Annotated[
        bool, typer.Option("--repair", help="Repair damaged MongoDB and Dagster data, asking before each step.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --repair: do not ask for confirmation.")] = False,
    empty: Annotated[
        bool, typer.Option("--empty", help="With --repair: start with an empty library if it is missing.")
    ] = False,
    backup: Annotated[
        Path | None,
        typer.Option("--backup", metavar="DIR", help="With --repair: restore this backup instead of the newest."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check the installation and this home, and say how to fix problems.

    Exit code 3 if a check fails. --repair lets mongod salvage a copy of damaged data, restores the newest backup if
    videos are lost, and adds stored files that are missing from the library. Damaged files are moved to data/damaged.
    """
    if repair:
        settings = command_context(context).load().settings
        code = repair_home(settings, yes=yes, empty=empty, backup=backup, as_json=as_json)
        if code:
            raise typer.Exit(code)
        return
    if yes or empty or backup:
        raise SettingsError("--yes, --empty and --backup require --repair.", "See `vidpipe doctor --help`.")

    checks: list[DoctorCheck]
    try:
        settings = command_context(context).load().settings
    except VidpipeError as error:
        checks = [failed_check("settings", error)]
    else:
        checks = list(_with_spinner(check_all(settings), quiet=as_json))
    worst = max((check.rank for check in checks), default=0)
    if as_json:
        plain: list[dict[str, Any]] = [check.plain() for check in checks]
        print_json({"ok": worst < 2, "checks": plain})
    else:
        _show(checks)
    if worst == 2:
        raise typer.Exit(3)


def _with_spinner(checks: Iterator[Any], *, quiet: bool) -> Iterator[Any]:
    """Yield `checks` behind a spinner: MongoDB's check may take as long as its timeout."""
    console = err()
    if quiet or not console.is_terminal:
        yield from checks
        return
    with console.status("Checking …"):
        yield from checks


def _show(checks: list[Any]) -> None:
    console = out()
    made = table("", "what", ("found", {"overflow": "fold"}), ("what to do", {"overflow": "fold"}))
    for check in checks:
        cells = (check.name, check.found, check.todo)
        made.add_row(words(check.status, _STYLES[check.status]), *(words(cell) for cell in cells))
    console.print(made)
    wrong = sum(check.status == "fail" for check in checks)
    console.print(f"{counted(wrong, 'check')} failed." if wrong else "All checks passed.")


Status = Literal["ok", "warn", "fail"]

#: Filters that decoding and probing use, and the decoders that most videos need.
_FILTERS = ("scale", "select", "split", "format", "setsar", "aformat", "asetnsamples")
_DECODERS = ("h264", "hevc", "vp9", "av1", "mpeg4", "aac")
_OLDEST_FFMPEG = (4, 4)
#: First digits of the sha256 of default tag rules and categories that earlier versions wrote into homes.
_OLD_DEFAULTS = frozenset(("d8e35c1471ee", "f869f29a7d47", "c74ec4269bbe", "3c2b00118e4d", "2b337a106ef5"))
_OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")


@dataclass(frozen=True)
class DoctorCheck:
    """The result of one check.

    Attributes:
        found: What was found, for people.
        todo: How to fix it.
    """

    name: str
    status: Status
    found: str
    todo: str = ""

    @property
    def rank(self) -> int:
        """The severity: 0 ok, 1 warn, 2 fail."""
        return ("ok", "warn", "fail").index(self.status)

    def plain(self) -> dict[str, Any]:
        """Return the check as JSON values."""
        return asdict(self)


def failed_check(name: str, error: VidpipeError) -> DoctorCheck:
    """Return the failed check that reports `error`."""
    return DoctorCheck(name, "fail", error.message, error.hint)


def check_all(settings: Settings) -> Iterator[DoctorCheck]:
    """Run every check in turn; an unexpected error fails its own check and does not stop the others."""
    checks: tuple[tuple[str, Callable[[Settings], DoctorCheck]], ...] = (
        ("Python", _python), ("OpenCV", _opencv), ("home", _home), ("ffmpeg", _ffmpeg), ("ffprobe", _ffprobe),
        ("MongoDB", _mongodb), ("disk", _disk), ("rules", _rules), ("model", _model), ("Dagster", _dagster),
    )  # fmt: skip
    for name, check in checks:
        try:
            yield check(settings)
        except VidpipeError as error:
            yield failed_check(name, error)
        except Exception as error:
            yield DoctorCheck(
                name, "fail", f"{type(error).__name__}: {error}", "Reinstall vidpipe and its dependencies."
            )


def _python(settings: Settings) -> DoctorCheck:
    found = f"{platform.python_version()} in {sys.prefix}, on {platform.system()} {platform.machine()}"
    return DoctorCheck("Python", "ok", found)


def _opencv(settings: Settings) -> DoctorCheck:
    installed = [name for name in _OPENCV if _version(name)]
    import cv2

    found = f"{cv2.__version__} ({', '.join(installed) or 'not from pip'})"
    if len(installed) > 1:
        return DoctorCheck(
            "OpenCV", "warn", f"{found}: several packages overwrite each other's files",
            "Uninstall all of them, then run `pip install opencv-python-headless`.",
        )  # fmt: skip
    return DoctorCheck("OpenCV", "ok", found)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _home(settings: Settings) -> DoctorCheck:
    for folder in (settings.data_directory, settings.media_directory, settings.derived_directory):
        _can_write(folder)
    return _readable_by_others(settings) or DoctorCheck("home", "ok", f"{settings.home}, writable")


def _can_write(folder: Path) -> None:
    """Raise UnavailableError unless a file can be created in `folder` or its nearest existing parent."""
    there = folder
    while not there.exists():
        there = there.parent
    try:
        with tempfile.NamedTemporaryFile(dir=there):
            pass
    except OSError as error:
        raise UnavailableError(
            f"{there} is not writable: {error.strerror or error}.",
            "Change its permissions, or use another home (VIDPIPE_HOME).",
        ) from error


def _ffmpeg(settings: Settings) -> DoctorCheck:
    program = ffmpeg.ffmpeg_path()
    found = f"{ffmpeg.version(program)}, {program}"
    number = re.search(r"(?:^|\s|n)(\d+)\.(\d+)", ffmpeg.version(program))
    if number and (int(number[1]), int(number[2])) < _OLDEST_FFMPEG:
        return DoctorCheck("ffmpeg", "fail", f"{found}: too old", "Install ffmpeg 4.4 or later.")
    filters = _listed(program, "-filters")
    decoders = _listed(program, "-decoders")
    no_filters = [name for name in _FILTERS if name not in filters]
    if no_filters:
        return DoctorCheck(
            "ffmpeg", "fail", f"{found}: missing the filters {', '.join(no_filters)}", "Install a full build of ffmpeg."
        )
    if "mjpeg" not in _listed(program, "-encoders"):
        return DoctorCheck("ffmpeg", "fail", f"{found}: missing the encoder mjpeg", "Install a full build of ffmpeg.")
    lacking = [name for name in _DECODERS if name not in decoders and f"lib{name}" not in decoders]
    lacking = [name for name in lacking if not (name == "av1" and "libdav1d" in decoders)]
    if lacking:
        return DoctorCheck(
            "ffmpeg", "warn", f"{found}: cannot decode {', '.join(lacking)}", "Install a full build of ffmpeg."
        )
    return DoctorCheck("ffmpeg", "ok", found)


def _listed(program: str, what: str) -> frozenset[str]:
    """Return the names listed by `ffmpeg -filters` and the like: the second word of each line."""
    lines = ffmpeg.run([program, "-hide_banner", what], timeout_s=20).stdout.decode(errors="replace").splitlines()
    return frozenset(line.split()[1] for line in lines if len(line.split()) > 1)


def _ffprobe(settings: Settings) -> DoctorCheck:
    program = ffmpeg.ffprobe_path()
    return DoctorCheck("ffprobe", "ok", f"{ffmpeg.version(program)}, {program}")


def _mongodb(settings: Settings) -> DoctorCheck:
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
        f"{found.product} {found.version} at {found.host} ({where}), {kind}, {secured}, responds in "
        f"{found.latency_ms:.1f} ms, {counted(videos, 'video')}"
    )
    serious = [limitation.message for limitation in found.limitations if limitation.affects_vidpipe]
    if not found.writable:
        return DoctorCheck(
            "MongoDB", "fail", f"{sentence}. {' '.join(serious)}", "Use the primary's address in [MongoDB] URI."
        )
    if serious:
        return DoctorCheck("MongoDB", "warn", f"{sentence}. {' '.join(serious)}")
    if not videos and (left := traces(settings)):
        todo = "If the library was lost, `vidpipe doctor --repair` restores or rebuilds it."
        return DoctorCheck("MongoDB", "warn", f"{sentence}, although {left}", todo)
    return DoctorCheck("MongoDB", "ok", sentence)


def _disk(settings: Settings) -> DoctorCheck:
    needed = settings.download.min_free_mb
    disks = free_by_disk(settings)
    least_mb = min(disks.values()) / 1e6
    status: Status = "fail" if least_mb < needed else "warn" if least_mb < 2 * needed else "ok"
    found = [f"{free / 1e9:.1f} GB free for {folder}" for folder, free in disks.items()]
    todo = f"Downloads keep {needed} MB free ([Download] MinFreeMB): free space, or move the home to a larger disk."
    return DoctorCheck("disk", status, "; ".join(found), "" if status == "ok" else todo)


def _rules(settings: Settings) -> DoctorCheck:
    rules, categories = build_rules(settings), build_categories(settings)
    prompts = template_prompts(settings)  # for any backend: find a broken template before it is needed
    found = (
        f"{counted(len(rules.rules), 'tag rule')}, {len(categories.categories)} categories, "
        f"{counted(len(settings.qwen_vl.prompts), 'prompt')}, {counted(len(prompts.questions), 'question')}"
    )
    for path in map(settings.resolve, (settings.rules.custom_tag_rules, settings.rules.categories)):
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest()[:12] in _OLD_DEFAULTS:
            found += f"; {path} is the unchanged default of an older version"
            return DoctorCheck(
                "rules", "warn", found, "Delete it and run `vidpipe init`, which writes the current defaults."
            )
    return DoctorCheck("rules", "ok", found)


def _model(settings: Settings) -> DoctorCheck:
    from vidpipe.models.describing_model import build_model
    from vidpipe.models.prompt_building import unread_instructions

    model = build_model(settings)
    try:
        found = f"{model.name}: {model.readiness()}"
        if "on a CPU" in found:
            return DoctorCheck(
                "model", "warn", found, "A model with billions of parameters takes minutes per scene on a CPU."
            )
        unread = unread_instructions(settings)
        return DoctorCheck("model", "warn" if unread else "ok", found, unread)
    finally:
        model.close()


def _dagster(settings: Settings) -> DoctorCheck:
    from vidpipe.operations.services.state import dagster_home
    from vidpipe.pipeline.build import build_definitions
    from vidpipe.pipeline.instance import check_history

    folder = dagster_home(settings)
    _can_write(folder)
    check_history(folder, thorough=True)
    build_definitions(GRAPH, settings)  # raises if Dagster or our definitions cannot be loaded
    version = importlib.metadata.version("dagster")
    return DoctorCheck("Dagster", "ok", f"{version}, history in {settings.relative(folder)}")


def _readable_by_others(settings: Settings) -> DoctorCheck | None:
    """Return a warning if other users can read files that may contain secrets or reveal the library's content."""
    from vidpipe.operations.services.state import dagster_home

    log_file = settings.resolve(settings.logging.log_file)
    own_logs = settings.data_directory / "logs"
    private = [settings.home / LOCAL_CONFIG_NAME, dagster_home(settings), own_logs, files_of(settings).data]
    private += [backup for folder in settings.home.iterdir() if folder.is_dir() for backup in whole_backups(folder)]
    if log_file.parent != own_logs:  # a directory that other programs may use
        private += [path for path in (log_file, log_file.with_name(AUDIT_NAME)) if path.is_file()]
    exposed = [path for path in private if readable_by_others(path)]
    if not exposed:
        return None
    shown = ", ".join(settings.relative(path) for path in exposed)
    todo = f"`chmod -R go= {shlex.join(map(str, exposed))}`"
    return DoctorCheck("home", "warn", f"{settings.home}, writable; other users can read {shown}", todo)
