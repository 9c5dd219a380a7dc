"""The models installed in data/models: one folder each, with a manifest of its files.

data/models/<name>/model.json    name, version, licence, source, and sha256 and size of each file
...           the files
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from vidpipe.errors import UnavailableError
from vidpipe.models.catalogue import catalogue

MANIFEST = "model.json"


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
        return [name for name, sha256 in self.files.items() if _hash(self.folder / name) != sha256]


def installed_model(directory: Path, name: str) -> InstalledModel:
    """Return an installed model. Cheap: no file but the manifest is read.

    Args:
        directory: The folder of all models (`Settings.models_directory`).
        name: Its name in the catalogue.

    Raises:
        UnavailableError: It is not installed; the hint is the command that installs it.
    """
    folder = directory / name
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = {path: str(file["sha256"]) for path, file in manifest["files"].items()}
        known = catalogue().get(name)
        card = known.card if known else manifest.get("card") or {}
        return InstalledModel(name, str(manifest["version"]), folder, files, card)
    except FileNotFoundError:
        raise UnavailableError(f"The model {name} is not installed.", f"Run `vidpipe models install {name}`.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnavailableError(
            f"The manifest of the model {name} cannot be read: {error}.", f"Run `vidpipe models install {name}`."
        ) from error


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
