"""Makes the dump of a schema version: a small library that this version's own program filled and backed up.

    python -m vidpipe_tests.library.dumps.make                   # of the working tree
    python -m vidpipe_tests.library.dumps.make 3c49cb79 33b15b44 # of the commits, in worktrees that are removed again

Each makes `schema-N` beside this file anew, where N is the schema version of that program. It gets only commands, as a
user types them, and serves the clips at the same address each time. Media, frame packs, settings and rules, which vary
little between versions, are in `files` by their hash; `files.sha256` says which a dump has and under which paths.
`vidpipe_tests.library.older_homes` puts a home together again.

The dumps were made of these commits, each the last one of its schema version that is not in the middle of a change:
1 3c49cb79, 2 33b15b44, 3 5f1ba616, 4 41d38cee, 5 6e208cbb, 6 9a5041ab, 7 8c226ec1, 8 e9b1d8de, 9 37825266.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

from vidpipe.operations.backups import manifest as manifests
from vidpipe_tests import clips
from vidpipe_tests.library.older_homes import FILES, FILES_LIST, FOLDER
from vidpipe_tests.loopback_server import LoopbackServer

ROOT = Path(__file__).resolve().parents[3]
PORT = 8043
SITE = f"http://127.0.0.1:{PORT}"
#: Parts of a backup that are kept in `FILES`.
_SHARED = ("media", "derived", "settings")
#: Files of a home that no backup contains.
_OF_THE_HOME = ("dagster.yaml", "workspace.yaml")
_ENVIRONMENT = {
    "VIDPIPE_DOWNLOAD_ALLOWEDPRIVATE": "127.0.0.1",
    "VIDPIPE_DOWNLOAD_RETRIES": "1",
    "VIDPIPE_DOWNLOAD_MINFREEMB": "0",
}
_COMMAND = "import sys; sys.argv[0] = 'vidpipe'; from vidpipe.cli.main import main; sys.exit(main())"
#: Of the versions that had verdicts and no command for them.
_VERDICT = """
import sys
from vidpipe.library.library import Library
from vidpipe.library.verdicts import Verdicts
from vidpipe.settings import find_home, load
from vidpipe.stages.registry import build_graph
settings = load(find_home()).settings
with Library.open(settings, build_graph(settings)) as library:
    Verdicts(library.collections).put(library.videos.resolve("harbour.mp4"), sys.argv[1], "no", "ada")
"""


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing."""


class _OlderProgram:
    """The program in `tree`, working on the home `home`."""

    def __init__(self, tree: Path, home: Path) -> None:
        self.tree, self.home = tree, home

    def has(self, file: str) -> bool:
        return (self.tree / "vidpipe" / file).is_file()

    def __call__(self, *words: str | Path, code: int = 0) -> str:
        return self.python(_COMMAND, *words, code=code)

    def python(self, program: str, *words: str | Path, code: int = 0) -> str:
        print("$ vidpipe", *words, flush=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VIDPIPE_")}
        environment |= _ENVIRONMENT | {"PYTHONPATH": str(self.tree), "VIDPIPE_HOME": str(self.home)}
        done = subprocess.run(
            [sys.executable, "-c", program, *map(str, words)],
            cwd=self.home if self.home.is_dir() else self.tree, env=environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != code:
            raise SystemExit(f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout


def make_clips(folder: Path) -> None:
    """Make one clip with sound, one with subtitles, one damaged, one that gets lost and one that is forgotten."""
    size, coarse = "96x54", ("-crf", "40", "-b:a", "16k")
    clips.color_cuts(folder / "harbour.mp4", ("navy", "orange"), size=size, audio="sine", options=coarse)
    subtitles = folder / "talk.srt"
    subtitles.write_text("1\n00:00:00,100 --> 00:00:00,800\nWhat a wonderful, happy lighthouse\n", encoding="utf-8")
    clips.ffmpeg(
        folder / "talk.mkv", "-f", "lavfi", "-t", "1", "-i", f"mandelbrot=size={size}:rate=25", "-i", str(subtitles),
        "-map", "0:v", "-map", "1:s", "-pix_fmt", "yuv420p", *coarse[:2], "-c:s", "srt", *clips.BITEXACT,
    )  # fmt: skip
    whole = clips.moving(folder / "whole.mkv", seconds=1.2, size=size, options=coarse[:2])
    clips.damaged(folder / "damaged.mkv", whole, start=0.5, end=0.9, every=60)
    clips.color_cuts(folder / "lost.mp4", ("red",), size=size)
    clips.color_cuts(folder / "forgotten.mp4", ("green",), size=size)
    for path in (whole, subtitles):
        path.unlink()


def fill(vidpipe: _OlderProgram, served: Path, directory: Path) -> Path:
    """Do what a user of this version did, and return the backup: the files that are not there yet give exit code 1."""
    vidpipe("init", vidpipe.home)
    urls = vidpipe.home / "data" / "urls.txt"
    listed = ("talk.mkv", "lost.mp4", "missing.mp4", *(["forgotten.mp4"] if vidpipe.has("cli/forget.py") else ()))
    with urls.open("a", encoding="utf-8") as file:
        file.writelines(f"{SITE}/{name}\n" for name in listed)
        file.write("http://10.0.0.1/private.mp4\n")
    table = directory / "more.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("url", "labels", "title", "priority"))
        writer.writerow((f"{SITE}/harbour.mp4", "talks|2026", "CityAtNight", "5"))
        writer.writerow((f"{SITE}/damaged.mkv", "talks", "", ""))
    vidpipe("add", urls, table, code=1)
    lost = hashlib.sha256((served / "lost.mp4").read_bytes()).hexdigest()
    (served / "lost.mp4").unlink()
    for file in (vidpipe.home / "data" / "media").rglob(f"{lost}*"):
        file.unlink()
    vidpipe("run", code=1)
    if vidpipe.has("search/saved.py"):
        vidpipe("search", "lighthouse", "--save", "towers")
    if vidpipe.has("cli/verdict.py"):
        vidpipe("verdict", "harbour.mp4", "Short Clip", "no", "--by", "ada")
    elif vidpipe.has("library/verdicts.py"):
        vidpipe.python(_VERDICT, "Short Clip")
    if vidpipe.has("library/exports.py"):
        vidpipe("export", directory / "exported", "--format", "json")
    if vidpipe.has("cli/forget.py"):
        vidpipe("forget", "forgotten.mp4", "--yes")
    # The first versions had no backups; today's program makes one without a change to the library.
    saving = vidpipe if vidpipe.has("cli/backup.py") else _OlderProgram(ROOT, vidpipe.home)
    saving("backup", directory / "backups", "--media")
    vidpipe("down")
    return manifests.whole_backups(directory / "backups")[-1]


def keep(backup: Path, home: Path) -> Path:
    """Put the backup here, with its media and derived files in `FILES`."""
    target = FOLDER / f"schema-{manifests.read(backup)[1].schema_version}"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(backup, target, ignore=shutil.ignore_patterns(*_SHARED))
    lines = []
    for path in sorted(file for part in _SHARED for file in (backup / part).rglob("*") if file.is_file()):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        FILES.mkdir(exist_ok=True)
        (FILES / f"{digest}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        lines.append(f"{digest}  {path.relative_to(backup)}\n")
    (target / FILES_LIST).write_text("".join(lines), encoding="utf-8")
    for name in _OF_THE_HOME:
        if (home / name).is_file():
            (target / "home").mkdir(exist_ok=True)
            shutil.copyfile(home / name, target / "home" / name)
    return target


def drop_unused() -> None:
    """Remove files that no dump refers to."""
    used = {line.split()[0] for path in FOLDER.glob(f"schema-*/{FILES_LIST}") for line in path.open(encoding="utf-8")}
    for path in FILES.iterdir():
        if path.stem not in used:
            path.unlink()


@contextlib.contextmanager
def tree_of(commit: str | None) -> Iterator[Path]:
    """Give the working tree, or a worktree of `commit` for the time of the block."""
    if commit is None:
        yield ROOT
        return
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git = partial(subprocess.run, cwd=ROOT, check=True, capture_output=True)
        git(["git", "worktree", "add", "--detach", tree, commit])
        try:
            yield tree
        finally:
            git(["git", "worktree", "remove", "--force", tree])


def main() -> None:
    for commit in sys.argv[1:] or [None]:
        with tree_of(commit) as tree, tempfile.TemporaryDirectory() as folder:
            directory = Path(folder)
            served = directory / "served"
            make_clips(served)
            with LoopbackServer(partial(_QuietHandler, directory=str(served)), port=PORT):  # type: ignore[arg-type]
                vidpipe = _OlderProgram(tree, directory / "home")
                print(keep(fill(vidpipe, served, directory), vidpipe.home))
    drop_unused()


if __name__ == "__main__":
    main()
