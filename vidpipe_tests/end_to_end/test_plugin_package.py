"""Plugins in a fresh environment, from installing to uninstalling: the example, and that of docs/plugins.md."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from vidpipe_tests import clips

CLONE = Path(__file__).parents[2]
#: `vidpipe` with several commands in one process, which spares most of the time that Python and its imports take.
_COMMANDS = """
import sys, json
from typer.testing import CliRunner
from vidpipe.cli.main import app
for arguments in json.loads(sys.argv[1]):
    ended = CliRunner().invoke(app, arguments)
    print(json.dumps([ended.exit_code, ended.stdout, ended.stderr]))
"""


def run(command: list[str], **more: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(CLONE), **more}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def vidpipe(python: Path, home: Path, *commands: list[str], enabled: str) -> list[tuple[int, str, str]]:
    every = [["--home", str(home), *command] for command in commands]
    lines = run([str(python), "-c", _COMMANDS, json.dumps(every)], VIDPIPE_ANALYSES_ENABLED=enabled)
    return [json.loads(line) for line in lines.splitlines()]


def page_plugin(folder: Path) -> Path:
    """The package that the docs page writes."""
    page = (CLONE / "docs" / "plugins.md").read_text()
    folder.mkdir()
    for language, name in (("toml", "pyproject.toml"), ("python", "vidpipe_pace.py")):
        found = re.search(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
        assert found
        (folder / name).write_text(found[1])
    return folder


@pytest.mark.soak
def test_plugins_are_installed_used_and_uninstalled(tmp_path: Path) -> None:
    environment, home = tmp_path / "environment", tmp_path / "home"
    run([sys.executable, "-m", "venv", "--without-pip", str(environment)])
    python = environment / "bin" / "python"
    site = next(environment.glob("lib/python*/site-packages"))
    (site / "shared.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    example = CLONE / "examples" / "sharpness-plugin"
    packages = [str(example), str(page_plugin(tmp_path / "pace"))]
    run([*pip, "install", "--no-deps", "--no-build-isolation", "--no-index", *packages])
    clip = clips.ffmpeg(
        tmp_path / "clip.mp4", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=10:d=2", "-f", "lavfi", "-i",
        "mandelbrot=s=320x180:r=10", "-filter_complex", "[1]trim=0:3,gblur=8,format=yuv420p[b];[0]format=yuv420p[a];"
        "[a][b]concat", "-c:v", "libx264", "-preset", "ultrafast",
    )  # fmt: skip
    rule = {"name": "Soft", "tags": ["Soft"], "metadata_conditions": [{"sharpness_lt": 0.5, "longest_scene_s_gt": 2}]}
    run([str(python), "-c", "from vidpipe.settings import init_home; import sys, pathlib; "
         "init_home(pathlib.Path(sys.argv[1]))", str(home)])  # fmt: skip
    (home / "rules" / "custom_tags.json").write_text(json.dumps({"rules": [rule]}))
    with (home / "config.ini").open("a") as file:
        file.write("\n[Sharpness]\nBlurredBelow = 0.05\n")
    table = tmp_path / "out.csv"
    *_, shown, found, doctor, stopped = vidpipe(
        python, home, ["add", str(clip)], ["run"], ["export", str(table)], ["show", "clip", "--json"],
        ["search", "sharpness:>0 focus:blurred longest:>2.5", "--json"], ["doctor"], ["down"],
        enabled="sharpness, pace",
    )  # fmt: skip
    video = json.loads(shown[1])
    assert [scene["blurred"] for scene in video["sharpness"]["scenes"]] == [False, True]
    assert video["pace"] == {"longest_s": 3.0, "pace": "fast"}
    assert [tag["tag"] for tag in video["tags"]] == ["Soft"]
    assert len(json.loads(found[1])["hits"]) == 1
    (row,) = csv.DictReader(table.open(newline=""))
    assert float(row["sharpness"]) == video["sharpness"]["sharpness"]
    assert float(row["longest_scene_s"]) == 3
    assert "sharpness (vidpipe-sharpness 1.0.0) enabled" in doctor[1]
    assert stopped[0] == 0

    run([*pip, "uninstall", "--yes", "vidpipe-sharpness", "vidpipe-pace"])
    listed, shown, found, exported, _ = vidpipe(
        python, home, ["list", "--json"], ["show", "clip", "--json"], ["search", "codec:h264", "--json"],
        ["export", str(tmp_path / "later.csv")], ["down"], enabled="sharpness, pace",
    )  # fmt: skip
    assert [listed[0], shown[0], found[0], exported[0]] == [0, 0, 0, 0]
    assert "sharpness" not in json.loads(shown[1])
    assert len(json.loads(found[1])["hits"]) == 1
