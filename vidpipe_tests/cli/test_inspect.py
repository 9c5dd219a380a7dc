"""One video without a library: the same results as in a home, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from vidpipe_tests import clips
from vidpipe_tests.cli.conftest import CUTS, Command
from vidpipe_tests.end_to_end.home import wait_for

_CALL = "from vidpipe.cli.main import main; main()"
#: As the command, and says on stderr which packages it has imported.
_IMPORTS = (
    "import sys\nfrom vidpipe.cli.main import app\napp(standalone_mode=False)\nsys.stderr.write(' '.join(sys.modules))"
)
_CLONE = Path(__file__).parents[2]


def _environment(temporary: Path, **more: str) -> dict[str, str]:
    temporary.mkdir(exist_ok=True)
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(_CLONE), "TMPDIR": str(temporary), **more}


def _inspect(*words: str | Path, where: Path, code: str = _CALL, given: bytes | None = None) -> Any:
    command = [sys.executable, "-c", code, "inspect", *map(str, words)]
    return subprocess.run(
        command, cwd=where, env=_environment(where / "tmp"), input=given, capture_output=True, timeout=240, check=False
    )


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return clips.color_cuts(tmp_path / CUTS, ("red", "green", "blue"), audio="sine")


def _comparable(found: Any) -> Any:
    """Without paths of files, which a library keeps elsewhere."""
    if isinstance(found, dict):
        return {name: _comparable(one) for name, one in found.items() if name not in ("thumbnail", "path", "poster")}
    return [_comparable(one) for one in found] if isinstance(found, list) else found


def test_the_results_are_those_of_a_home(filled: Command, clip: Path) -> None:
    stored, found = filled.json("show", CUTS), filled.json("inspect", clip)
    assert found["errors"] == {}
    assert stored["video"]["sha256"] == found["video"]["sha256"]
    for key in ("metadata", "scenes", "description", "sentiment", "tags", "scene_tags", "category"):
        assert _comparable(found[key]) == _comparable(stored[key])
    assert {*stored} <= {*found}


def test_without_a_home_mongodb_and_dagster(clip: Path) -> None:
    done = _inspect(clip, "--stages", "metadata,tags", "--json", where=clip.parent, code=_IMPORTS)
    found = json.loads(done.stdout)
    assert {*found} == {"video", "sources", "metadata", "tags", "scene_tags", "stages", "errors"}
    assert found["metadata"]["duration_s"] == pytest.approx(3, abs=0.1)
    assert {"Widescreen", "Short Clip"} <= {tag["tag"] for tag in found["tags"]}
    assert not {"pymongo", "bson", "dagster"} & {*done.stderr.decode().split()}
    assert sorted(path.name for path in clip.parent.iterdir()) == [CUTS, "tmp"]
    assert not [*(clip.parent / "tmp").iterdir()]


def test_a_video_on_stdin(clip: Path) -> None:
    done = _inspect("-", "--stages", "metadata", where=clip.parent, given=clip.read_bytes())
    assert (done.returncode, b"320x180" in done.stdout) == (0, True)


def test_what_is_no_video_gives_the_sentence_of_add(tmp_path: Path, vidpipe: Command) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"\0" * 3000)
    added = vidpipe.json("add", tmp_path / "broken.mp4", code=1)["inputs"][0]["error"]
    refused = vidpipe("inspect", tmp_path / "broken.mp4")
    assert refused.exit_code == 1
    assert added in refused.stderr
    assert vidpipe("inspect", tmp_path / "broken.mp4", "--stages", "nonsense").exit_code == 2


def test_a_failed_stage_does_not_stop_the_others(clip: Path, vidpipe: Command) -> None:
    (vidpipe.home / "rules" / "custom_tags.json").write_text("{")
    found = vidpipe.json("inspect", clip, code=1)
    assert "custom_tags.json" in found["errors"]["tags"]["message"]
    assert found["description"]["text"]


@pytest.mark.soak
def test_in_a_read_only_folder_as_another_user(tmp_path: Path) -> None:
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("needs root and setpriv")
    temporary = Path(tempfile.mkdtemp(prefix="vidpipe-nobody-"))  # others may not enter tmp_path
    clip = clips.color_cuts(temporary / "clip.mp4", ("red", "green"))
    (temporary / "tmp").mkdir(exist_ok=True)
    for path in (temporary, temporary / "tmp", clip):
        path.chmod(0o777)
    try:
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
             sys.executable, "-B", "-c", _CALL, "inspect", str(clip), "--json"],
            cwd="/", env=_environment(temporary / "tmp"), capture_output=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert len(json.loads(done.stdout)["scenes"]) == 2
        assert not [*(temporary / "tmp").iterdir()]
    finally:
        shutil.rmtree(temporary)


@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_one_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    clip = clips.moving(tmp_path / "long.mp4", seconds=30, size="1280x720")
    temporary = tmp_path / "tmp"
    with subprocess.Popen(
        [sys.executable, "-c", _CALL, "inspect", str(clip)], cwd=tmp_path, env=_environment(temporary)
    ) as process:
        wait_for("it decodes", lambda: any(temporary.glob("vidpipe-*/derived/*")), limit_s=120)
        process.send_signal(number)
        assert process.wait(60) in (130, 143)
    assert not [*temporary.iterdir()]
