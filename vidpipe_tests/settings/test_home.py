"""How a home is found and created, in a clone and from a wheel."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from vidpipe.errors import SettingsError
from vidpipe.models.questions import add_question, build_questions, new_question
from vidpipe.settings import find_home, init_home, load
from vidpipe.settings.home import render_config
from vidpipe.settings.keys import all_keys
from vidpipe_tests.clone import ROOT, build
from vidpipe_tests.models.homes import load_questions


def test_a_fresh_home_loads_with_every_setting_at_its_default(home: Path) -> None:
    loaded = load(home, {})
    assert not [entry for entry in loaded.entries() if entry.differs]
    assert (home / "data" / "urls.txt").is_file()
    assert "config.local.ini" in (home / ".gitignore").read_text().splitlines()


def test_a_fresh_config_ini_has_every_key_but_the_secrets_with_its_default_and_its_description() -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    text = render_config()
    parser.read_string(text)
    written = {(section, name): value for section in parser.sections() for name, value in parser.items(section)}
    assert written == {(key.section, key.name): key.default_text for key in all_keys() if not key.secret}
    unwrapped = text.replace("\n# ", " ")
    assert all(key.description in unwrapped for key in all_keys() if not key.secret)
    assert max(map(len, text.splitlines())) <= 120


def test_the_config_ini_of_the_repository_is_what_init_writes() -> None:
    config = ROOT / "config.ini"
    compare = ["git", "diff", "--quiet", "HEAD", "--", "config.ini"]
    if shutil.which("git") is None or subprocess.run(compare, cwd=ROOT, check=False).returncode != 0:
        pytest.skip("config.ini is edited here, or this is no git checkout")
    assert config.read_text(encoding="utf-8") == render_config()


def test_init_keeps_what_is_there_and_says_so(home: Path) -> None:
    (home / "config.ini").write_text("[SceneDetection]\nDetector = hash\n")
    (home / "data" / "urls.txt").write_text("https://example.org/mine.mp4\n")
    report = init_home(home)
    assert not report.made
    assert {"config.ini", "data/urls.txt"} <= set(report.kept)
    assert load(home, {}).settings.scene_detection.detector == "hash"
    assert "kept" in report.sentence()


def test_init_with_force_renews_what_it_ships_keeps_the_old_text_and_never_touches_the_users_lists(home: Path) -> None:
    for name in ("config.ini", "data/urls.txt", "config.local.ini"):
        (home / name).write_text("# mine\n")
    report = init_home(home, force=True)
    assert report.replaced == ("config.ini",)
    assert (home / "config.ini").read_text() == render_config()
    assert (home / "config.ini.bak").read_text() == "# mine\n"
    assert (home / "data/urls.txt").read_text() == (home / "config.local.ini").read_text() == "# mine\n"


def test_init_where_nothing_can_be_written_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"config\.ini cannot be written"):
        init_home(tmp_path / "file" / "home")


def test_the_home_is_the_named_one_then_vidpipe_home_then_the_nearest_folder_above(tmp_path: Path) -> None:
    outer, inner, named = (init_home(tmp_path / name).home for name in ("outer", "outer/inner", "named"))
    deep = inner / "data" / "media"
    deep.mkdir(parents=True)
    assert find_home(named, {"VIDPIPE_HOME": str(outer)}, deep) == named
    assert find_home(None, {"VIDPIPE_HOME": str(outer)}, deep) == outer
    assert find_home(None, {"VIDPIPE_HOME": ""}, deep) == inner
    assert find_home(None, {}, outer / "data") == outer


def test_a_config_ini_of_another_program_makes_no_home(tmp_path: Path) -> None:
    (tmp_path / "config.ini").write_text("[Server]\nport = 1\n[Auth]\n[Paths]\nroot = /\n")
    with pytest.raises(SettingsError) as failed:
        find_home(None, {}, tmp_path)
    assert "vidpipe init" in str(failed.value)
    assert str(tmp_path / "config.ini") in str(failed.value)


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_named_home_that_is_none_is_an_error_that_says_what_to_do(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match=f"VIDPIPE_HOME.*{name}.*vidpipe init"):
        find_home(None, {"VIDPIPE_HOME": str(tmp_path / name)}, tmp_path)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The files of a clone that a wheel is built from, as a zip download unpacks them."""
    tree = tmp_path / "clone"
    for folder in ("vidpipe", "rules"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "config.ini", "workspace.yaml", "dagster.yaml"):
        shutil.copy(ROOT / name, tree)
    return tree


def wheel(clone: Path) -> zipfile.ZipFile:
    folder = clone.parent / "wheel"
    build(clone, folder, "-t", "wheel")
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def init(packages: Path, home: Path) -> Path:
    """Run `vidpipe init` of the vidpipe in `packages`."""
    code = "from vidpipe.cli.main import main; main()"
    environ = {**os.environ, "PYTHONPATH": str(packages)}
    command = [sys.executable, "-c", code, "init", str(home)]
    done = subprocess.run(command, cwd=packages.parent, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return home


def files_of(home: Path) -> dict[str, bytes]:
    return {path.relative_to(home).as_posix(): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def test_an_installed_wheel_makes_the_same_home_as_a_clone(clone: Path, tmp_path: Path) -> None:
    built = wheel(clone)
    assert all(name.startswith(("vidpipe/", "vidpipe-")) for name in built.namelist())
    pages = [path for folder in ("static", "templates") for path in (clone / "vidpipe/web" / folder).rglob("*.*")]
    assert pages
    assert {path.relative_to(clone).as_posix() for path in pages} <= set(built.namelist())
    built.extractall(tmp_path / "site" / "packages")
    installed = files_of(init(tmp_path / "site" / "packages", tmp_path / "from wheel"))
    assert installed == files_of(init(clone, tmp_path / "from clone"))
    assert installed["rules/custom_tags.json"] == (ROOT / "rules" / "custom_tags.json").read_bytes()
    assert {"config.ini", "dagster.yaml", "workspace.yaml", "data/urls.txt", "rules/prompts/tags.j2"} <= set(installed)


def test_a_question_saved_in_a_clone_reaches_no_other_home(clone: Path, tmp_path: Path) -> None:
    settings = load(clone, {}).settings
    assert build_questions(settings) == ()
    add_question(settings.resolve(settings.rules.questions), new_question("Is there a dog in it?"))
    assert [question.text for question in build_questions(settings)] == ["Is there a dog in it?"]
    assert load_questions(init(clone, tmp_path / "home") / "rules" / "questions.json") == ()
    built = wheel(clone)
    assert not [name for name in built.namelist() if b"Is there a dog" in built.read(name)]


def test_the_repository_has_no_symlinks() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    assert not [name for name in listed.stdout.splitlines() if (ROOT / name).is_symlink()]
