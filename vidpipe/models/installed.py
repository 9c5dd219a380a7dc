"""The models installed in data/models: one folder each, with a manifest of its files.

data/models/<name>/model.json    name, version, licence, source, and sha256 of each file
...           the files
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from vidpipe.errors import UnavailableError, visible
from vidpipe.safe_files import path_text, replace_file
from vidpipe.settings import Settings

MANIFEST = "model.json"
_HASHES = ".hashes.json"
_MOST_FILES = 200


@dataclass(frozen=True)
class InstalledModel:
    """A model whose files are on this machine.

    Attributes:
        name: Its name in the catalogue.
        version: Its version there.
        folder: Where its files are.
        files: Path below the folder -> sha256.
        card: What a stage must know to use it: input size, normalization, labels. See the catalogue.
    """

    name: str
    version: str
    folder: Path
    files: Mapping[str, str]
    card: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def sha256(self) -> str:
        """Hash of names and hashes of all files."""
        return hashlib.sha256(json.dumps(sorted(self.files.items())).encode()).hexdigest()

    @property
    def use(self) -> dict[str, str]:
        """What results record of it."""
        return {"name": self.name, "version": self.version, "sha256": self.sha256}

    def damaged(self) -> list[str]:
        """Return those of its files that are missing or differ from their hash. Reads all of them."""
        return [name for name, sha256 in self.files.items() if sha256_of(self.folder / name) != sha256]


class MissingModelError(UnavailableError):
    """Models are not installed.

    Attributes:
        models: Their names in the catalogue.
    """

    def __init__(self, *models: str) -> None:
        self.models = models
        subject = f"The model {models[0]} is" if len(models) == 1 else f"The models {' and '.join(models)} are"
        super().__init__(f"{subject} not installed.", f"Run `vidpipe models install {' '.join(models)}`.")


def chosen_models(settings: Settings, *names: str) -> tuple[InstalledModel, ...]:
    """Return the models that settings name: each in the catalogue, there also by its hub id, or a folder.

    A name with a slash that is no hub id of the catalogue is a folder, relative to the home. It needs no manifest.

    Raises:
        MissingModelError: Some are not installed.
        UnavailableError: A folder or a manifest cannot be read.
    """
    from vidpipe.models.catalogue import hub_models

    found: list[InstalledModel] = []
    missing: list[str] = []
    for name in (hub_models().get(name, name) for name in names):
        try:
            if "/" in name:
                found.append(_folder_model(settings.resolve(Path(name)), settings.models_directory))
            else:
                found.append(installed_model(settings.models_directory, name))
        except MissingModelError:
            missing.append(name)
    if missing:
        raise MissingModelError(*missing)
    return tuple(found)


def installed_model(directory: Path, name: str) -> InstalledModel:
    """Return an installed model. Cheap: no file but the manifest is read.

    Args:
        directory: The folder of all models (`Settings.models_directory`).
        name: Its name in the catalogue.

    Raises:
        MissingModelError: It is not installed.
        UnavailableError: The catalogue has no model of that name, or its manifest cannot be read.
    """
    from vidpipe.models.catalogue import catalogue, entry_of

    folder = directory / name
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = {path: str(file["sha256"]) for path, file in manifest["files"].items()}
        card = catalogue()[name].card if name in catalogue() else {}
        return InstalledModel(name, str(manifest["version"]), folder, files, card)
    except FileNotFoundError:
        raise MissingModelError(entry_of(name).name) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnavailableError(
            f"The manifest of the model {name} cannot be read: {error}.", f"Run `vidpipe models install {name}`."
        ) from error


def _folder_model(folder: Path, directory: Path) -> InstalledModel:
    """Return the model in a folder of the user's: everything in it counts."""
    try:
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
        if len(paths) > _MOST_FILES:
            raise UnavailableError(f"{folder} has more than {_MOST_FILES} files: it is not the folder of one model.")
        hashes = _known_hashes(paths, directory / _HASHES)
    except OSError as error:
        raise UnavailableError(f"The model in {folder} cannot be read: {error}.") from error
    if not hashes:
        raise UnavailableError(
            f"There is no model in {folder}.", "Name an installed model (`vidpipe models list`), or a folder with one."
        )
    files = {path.relative_to(folder).as_posix(): sha256 for path, sha256 in hashes.items()}
    version = hashlib.sha256(json.dumps(files).encode()).hexdigest()[:8]
    return InstalledModel(visible(folder.name), version, folder, files)


def _known_hashes(paths: list[Path], cache: Path) -> dict[Path, str]:
    """Return the hash of each file. Those of unchanged files (by size and time of change) are kept in `cache`."""
    known: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(cache.read_text(encoding="utf-8"))
    hashes, keys = {}, {}
    for path in paths:
        stat = path.stat()
        keys[path] = f"{stat.st_size} {stat.st_mtime_ns} {path_text(path)}"
        hashes[path] = known.get(keys[path]) or sha256_of(path)
    if not known.keys() >= set(keys.values()):
        kept = dict(list(known.items())[-_MOST_FILES:]) | {keys[path]: hashes[path] for path in paths}
        with contextlib.suppress(OSError):  # without the cache, files are only hashed again
            cache.parent.mkdir(parents=True, exist_ok=True)
            replace_file(cache, json.dumps(kept).encode())
    return hashes


def sha256_of(path: Path) -> str:
    """Return the hash of a file; "" if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
