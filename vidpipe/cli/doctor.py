"""vidpipe doctor: check the installation and the home."""

import contextlib
import hashlib
import importlib.metadata
import platform
import re
import shlex
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import typer

from vidpipe.cli.context import command_context
from vidpipe.cli.options import Json
from vidpipe.cli.output import counted, err, out, print_json, table, words
from vidpipe.cli.repair import repair as repair_home
from vidpipe.errors import SettingsError, UnavailableError, VidpipeError
from vidpipe.library import embedded
from vidpipe.library.capabilities import capabilities
from vidpipe.library.embedded import files_of
from vidpipe.library.library import Library
from vidpipe.library.mongod_files import logged_damage, traces
from vidpipe.media import ffmpeg, programs
from vidpipe.models.builders import template_prompts
from vidpipe.operations.backups.manifest import whole_backups
from vidpipe.runner.plan import Plan
from vidpipe.runner.rule_changes import edits_wait, rules_problem
from vidpipe.settings import Settings, free_by_disk
from vidpipe.settings.home import LOCAL_CONFIG_NAME
from vidpipe.settings.logs import AUDIT_NAME
from vidpipe.settings.plugins import installed_plugins
from vidpipe.stages.registry import build_graph, enabled_analyses
from vidpipe.tagging.categories import build_categories
from vidpipe.tagging.rule_files import tag_rule_texts
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
) -> int:
    """Check the installation and this home, and say how to fix problems.

    Exit code 3 if a check fails. --repair lets mongod salvage a copy of damaged data, restores the newest backup if
    videos are lost, and adds stored files that are missing from the library. Damaged files are moved to data/damaged.
    """
    if repair:
        settings = command_context(context).load().settings
        return repair_home(settings, yes=yes, empty=empty, backup=backup, as_json=as_json)
    if yes or empty or backup:
        raise SettingsError("--yes, --empty and --backup require --repair.", "See `vidpipe doctor --help`.")
    console = err()
    try:
        settings = command_context(context).load().settings
    except VidpipeError as error:
        findings = {"settings": Finding("fail", error.message, error.hint)}
    else:
        shows = console.is_terminal and not as_json  # MongoDB's check may take as long as its timeout
        with console.status("Checking …") if shows else contextlib.nullcontext():
            findings = dict(check_all(settings))
    failed = sum(finding.status == "fail" for finding in findings.values())
    if as_json:
        checks: list[dict[str, Any]] = [{"name": name, **one._asdict()} for name, one in findings.items()]
        print_json({"ok": not failed, "checks": checks})
    else:
        made = table("", "what", "found", "what to do", fold=("found", "what to do"))
        for name, one in findings.items():
            made.add_row(words(one.status, _STYLES[one.status]), words(name), words(one.found), words(one.todo))
        out().print(made)
        out().print(f"{counted(failed, 'check')} failed." if failed else "All checks passed.")
    return 3 if failed else 0


Status = Literal["ok", "warn", "fail"]

#: Filters that decoding and probing use, and the decoders that most videos need.
_FILTERS = ("scale", "select", "split", "format", "setsar", "aformat", "asetnsamples")
_DECODERS = ("h264", "hevc", "vp9", "av1", "mpeg4", "aac")
_OLDEST_FFMPEG = (4, 4)
#: Age of yt-dlp after which many sites have changed.
_OLD_DAYS = 90
#: First digits of the sha256 of default tag rules and categories that earlier versions wrote into homes.
_OLD_DEFAULTS = frozenset(
    (
        "d8e35c1471ee", "f869f29a7d47", "c74ec4269bbe", "3c2b00118e4d", "2b337a106ef5", "c42f74ab01b8", "f6bdeb86f446",
        "99418cb97979",
    )
)  # fmt: skip
_OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")


class Finding(NamedTuple):
    """The result of one check.

    Attributes:
        found: What was found, for people.
        todo: How to fix it.
    """

    status: Status
    found: str
    todo: str = ""


def check_all(settings: Settings) -> Iterator[tuple[str, Finding]]:
    """Run every check in turn; an unexpected error fails its own check and does not stop the others."""
    checks: Mapping[str, Callable[[Settings], Finding]] = {
        "Python": _python, "OpenCV": _opencv, "home": _home, "ffmpeg": _ffmpeg, "ffprobe": _ffprobe,
        "MongoDB": _mongodb, "disk": _disk, "rules": _rules, "model": _model,
        "analyses": _analyses, "plugins": _plugins, "Dagster": _dagster, "video sites": _sites,
    }  # fmt: skip
    for name, check in checks.items():
        try:
            yield name, check(settings)
        except VidpipeError as error:
            yield name, Finding("fail", error.message, error.hint)
        except Exception as error:
            yield name, Finding("fail", f"{type(error).__name__}: {error}", "Reinstall vidpipe and its dependencies.")


def _python(settings: Settings) -> Finding:
    found = f"{platform.python_version()} in {sys.prefix}, on {platform.system()} {platform.machine()}"
    return Finding("ok", found)


def _opencv(settings: Settings) -> Finding:
    installed = [name for name in _OPENCV if _version(name)]
    import cv2

    found = f"{cv2.__version__} ({', '.join(installed) or 'not from pip'})"
    if len(installed) > 1:
        return Finding(
            "warn",
            f"{found}: several packages overwrite each other's files",
            "Uninstall all of them, then run `pip install opencv-python-headless`.",
        )
    return Finding("ok", found)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _home(settings: Settings) -> Finding:
    for folder in (settings.data_directory, settings.media_directory, settings.derived_directory):
        _can_write(folder)
    return _readable_by_others(settings) or Finding("ok", f"{settings.home}, writable")


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


def _ffmpeg(settings: Settings) -> Finding:
    program = ffmpeg.ffmpeg_path()
    found = f"{ffmpeg.version(program)}, {program}"
    number = re.search(r"(?:^|\s|n)(\d+)\.(\d+)", ffmpeg.version(program))
    if number and (int(number[1]), int(number[2])) < _OLDEST_FFMPEG:
        return Finding("fail", f"{found}: too old", "Install ffmpeg 4.4 or later.")
    filters = _listed(program, "-filters")
    decoders = _listed(program, "-decoders")
    no_filters = [name for name in _FILTERS if name not in filters]
    if no_filters:
        return Finding(
            "fail", f"{found}: missing the filters {', '.join(no_filters)}", "Install a full build of ffmpeg."
        )
    if "mjpeg" not in _listed(program, "-encoders"):
        return Finding("fail", f"{found}: missing the encoder mjpeg", "Install a full build of ffmpeg.")
    lacking = [name for name in _DECODERS if name not in decoders and f"lib{name}" not in decoders]
    lacking = [name for name in lacking if not (name == "av1" and "libdav1d" in decoders)]
    if lacking:
        return Finding("warn", f"{found}: cannot decode {', '.join(lacking)}", "Install a full build of ffmpeg.")
    return Finding("ok", found)


def _listed(program: str, what: str) -> frozenset[str]:
    """Return the names listed by `ffmpeg -filters` and the like: the second word of each line."""
    lines = programs.run([program, "-hide_banner", what], timeout_s=20).stdout.decode(errors="replace").splitlines()
    return frozenset(line.split()[1] for line in lines if len(line.split()) > 1)


def _ffprobe(settings: Settings) -> Finding:
    program = ffmpeg.ffprobe_path()
    return Finding("ok", f"{ffmpeg.version(program)}, {program}")


def _mongodb(settings: Settings) -> Finding:
    is_embedded = embedded.is_embedded(settings)
    with Library.open(settings, build_graph(settings)) as library:
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
    if not found.writable:
        problem = "It accepts no writes: it is not the primary of its replica set."
        return Finding("fail", f"{sentence}. {problem}", "Use the primary's address in [MongoDB] URI.")
    if not videos and (left := traces(settings)):
        todo = "If the library was lost, `vidpipe doctor --repair` restores or rebuilds it."
        return Finding("warn", f"{sentence}, although {left}", todo)
    return Finding("ok", sentence)


def _disk(settings: Settings) -> Finding:
    needed = settings.download.min_free_mb
    disks = free_by_disk(settings)
    least_mb = min(disks.values()) / 1e6
    status: Status = "fail" if least_mb < needed else "warn" if least_mb < 2 * needed else "ok"
    found = [f"{free / 1e9:.1f} GB free for {folder}" for folder, free in disks.items()]
    todo = f"Downloads keep {needed} MB free ([Download] MinFreeMB): free space, or move the home to a larger disk."
    return Finding(status, "; ".join(found), "" if status == "ok" else todo)


def _rules(settings: Settings) -> Finding:
    enabled = enabled_analyses(settings)
    rules, categories = build_rules(settings, enabled.vocabulary), build_categories(settings, enabled.vocabulary)
    # for any backend: find a broken template before it is needed
    prompts = template_prompts(settings, [text.name for text in enabled.evidence])
    found = (
        f"{counted(len(rules.rules), 'tag rule')}, {len(categories.categories)} categories, "
        f"{counted(len(settings.qwen_vl.prompts), 'prompt')}, {counted(len(prompts.questions), 'question')}"
    )
    found += f", {counted(len(tag_rule_texts(settings)), 'file')} of tag rules"
    if edits_wait(settings):
        problem = rules_problem(settings) or "`vidpipe rules plan` shows what the edits would do."
        return Finding("warn", f"{found}; edited files wait for `vidpipe rules apply`", problem)
    for path in map(settings.resolve, (settings.rules.custom_tag_rules, settings.rules.categories)):
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest()[:12] in _OLD_DEFAULTS:
            found += f"; {path} is the unchanged default of an older version"
            return Finding("warn", found, "Delete it and run `vidpipe init`, which writes the current defaults.")
    return Finding("ok", found)


def _model(settings: Settings) -> Finding:
    from vidpipe.models.builders import build_model, unread_instructions
    from vidpipe.models.qwen.loading import has_gpu

    model = build_model(settings)
    try:
        found = f"{model.name}: {model.readiness()}"
        if settings.qwen_vl.backend == "qwen" and not has_gpu():
            return Finding("warn", found, "A model with billions of parameters takes minutes per scene on a CPU.")
        unread = unread_instructions(settings)
        return Finding("warn" if unread else "ok", found, unread)
    finally:
        model.close()


def _analyses(settings: Settings) -> Finding:
    graph = build_graph(settings)
    names = [stage.name for stage in graph if stage.optional]
    with contextlib.closing(Plan.make(graph, settings, ["scenes", *names])) as plan:
        faults = plan.unavailable
    if faults:
        found = " ".join(f"{name}: {error.message}" for name, error in faults.items())
        return Finding("fail", found, " ".join(dict.fromkeys(error.hint for error in faults.values())))
    return Finding("ok", ", ".join(names) or "none is enabled")


def _plugins(settings: Settings) -> Finding:
    enabled = enabled_analyses(settings)
    plugins = installed_plugins()
    if enabled.broken:
        faults = list(enabled.broken.values())
        return Finding("fail", " ".join(fault.message for fault in faults), faults[0].hint)
    on = [f"{plugin} enabled" for name, plugin in plugins.items() if name in settings.analyses.enabled]
    off = [f"{plugin} not enabled" for name, plugin in plugins.items() if name not in settings.analyses.enabled]
    return Finding("ok", "; ".join([*on, *off]) or "none installed")


def _sites(settings: Settings) -> Finding:
    version = importlib.metadata.version("yt-dlp")
    age_days = (date.today() - date(*map(int, version.split(".")[:3]))).days
    deno = shutil.which("deno") or shutil.which("deno", path=sysconfig.get_path("scripts"))
    todo = "" if deno else "YouTube needs the JavaScript runtime Deno: `pip install 'yt-dlp[default,deno]'`."
    if age_days > _OLD_DAYS:
        todo += " Sites change often: `pip install --upgrade yt-dlp`."
    found = f"yt-dlp {version}, {counted(max(0, age_days), 'day')} old; Deno: {deno or 'not found'}"
    return Finding("warn" if todo else "ok", found, todo.strip())


def _dagster(settings: Settings) -> Finding:
    from vidpipe.operations.services.state import dagster_home
    from vidpipe.pipeline.build import build_definitions
    from vidpipe.pipeline.cluster_config import ADDRESSES, check_server
    from vidpipe.pipeline.instance import check_history

    folder = dagster_home(settings)
    _can_write(folder)
    check_history(folder, thorough=True)
    build_definitions(build_graph(settings), settings)  # raises if Dagster or our definitions cannot be loaded
    version = importlib.metadata.version("dagster")
    servers = "".join(f", {key} at {host}" for key in ADDRESSES if (host := check_server(settings, key)))
    return Finding("ok", f"{version}, history in {settings.relative(folder)}{servers}")


def _readable_by_others(settings: Settings) -> Finding | None:
    """Return a warning if other users can read files that may contain secrets or reveal the library's content."""
    from vidpipe.operations.services.state import dagster_home

    log_file = settings.resolve(settings.logging.log_file)
    own_logs = settings.data_directory / "logs"
    private = [settings.home / LOCAL_CONFIG_NAME, dagster_home(settings), own_logs, files_of(settings).data]
    private += [settings.resolve(settings.download.cookies_file)] * bool(settings.download.cookies_file)
    private += [backup for folder in settings.home.iterdir() if folder.is_dir() for backup in whole_backups(folder)]
    if log_file.parent != own_logs:  # a directory that other programs may use
        private += [path for path in (log_file, log_file.with_name(AUDIT_NAME)) if path.is_file()]
    exposed = [path for path in private if path.exists() and path.stat().st_mode & 0o077]
    if not exposed:
        return None
    shown = ", ".join(settings.relative(path) for path in exposed)
    todo = f"`chmod -R go= {shlex.join(map(str, exposed))}`"
    return Finding("warn", f"{settings.home}, writable; other users can read {shown}", todo)
