"""The catalogue of models that can be installed: catalogue.toml next to this file."""

import os
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from vidpipe.errors import UnavailableError, visible
from vidpipe.settings.keys import suggestion


def _below(path: str) -> str:
    """Return a path, provided that it stays below the folder it is joined to."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise ValueError("a path below a folder, without '..', is required")
    return path


RelativePath = Annotated[str, AfterValidator(_below)]


class _CatalogueModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PackageSource(_CatalogueModel):
    """Wheels on PyPI: name -> version."""

    packages: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")], str]

    def __str__(self) -> str:
        return ", ".join(f"{name} {version}" for name, version in self.packages.items())


class HubSource(_CatalogueModel):
    """One revision of a repository on Hugging Face."""

    hub: str
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")

    @property
    def url(self) -> str:
        """The address below which its files are."""
        server = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        return f"{server.rstrip('/')}/{self.hub}/resolve/{self.revision}/"

    def __str__(self) -> str:
        return f"{self.hub}@{self.revision[:8]}"


class UrlSource(_CatalogueModel):
    """The address below which the files are."""

    url: str = Field(pattern=r"^https?://.*/$")

    def __str__(self) -> str:
        return self.url


class ModelFile(_CatalogueModel):
    """One file of a model.

    Attributes:
        sha256: Its hash; "" only for a file of a hub, which the revision pins.
        size_bytes: Its size; 0 if unknown.
        members: The parts it is joined from, as "package:path in the wheel"; for a hub, its path in the repository.
            Without any, it is its path in the folder.
    """

    sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    size_bytes: int = Field(0, ge=0)
    members: tuple[str, ...] = ()

    @property
    def parts(self) -> list[tuple[str, str]]:
        """`members` as (package, path)."""
        return [(package, _below(path)) for package, _, path in (member.partition(":") for member in self.members)]


class CatalogueEntry(_CatalogueModel):
    """A model that can be installed.

    Attributes:
        name: Its name, and that of its folder.
        purpose: What it is for.
        version: Its version; raised when its files change.
        licence: SPDX expression of its weights; "undeclared" if nobody declares one.
        languages: What it understands or answers in; empty where that means nothing.
        upstream: Who published the weights first: an address.
        source: Where the files come from.
        files: Path below its folder -> file.
        card: What a stage must know to use it: input size, normalization, labels.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    purpose: Literal["speech", "voice activity", "screen text", "objects", "faces", "moderation", "meaning"]
    version: str
    licence: str
    languages: tuple[str, ...] = ()
    upstream: str = ""
    source: PackageSource | HubSource | UrlSource
    files: dict[RelativePath, ModelFile]
    card: dict[str, Any] = {}

    @property
    def undeclared(self) -> bool:
        """Whether nobody declares a licence."""
        return self.licence == "undeclared"

    @property
    def size_bytes(self) -> int:
        """Size of all files, as far as known."""
        return sum(file.size_bytes for file in self.files.values())

    @model_validator(mode="after")
    def _can_be_verified(self) -> "CatalogueEntry":
        for path, file in self.files.items():
            if not (file.sha256 and file.size_bytes) and not isinstance(self.source, HubSource):
                raise ValueError(f"{path}: sha256 and size_bytes are missing")
            if isinstance(self.source, PackageSource) and not (
                file.members and {package for package, _ in file.parts} <= self.source.packages.keys()
            ):
                raise ValueError(f"{path}: members of the named packages are required")
        return self


@cache
def catalogue() -> Mapping[str, CatalogueEntry]:
    """Return name -> model, in the order of the file."""
    read = tomllib.loads(Path(__file__).with_name("catalogue.toml").read_text(encoding="utf-8"))
    return {name: CatalogueEntry.model_validate({"name": name, **entry}) for name, entry in read.items()}


def entry_of(name: str) -> CatalogueEntry:
    """Return a model of the catalogue.

    Raises:
        UnavailableError: There is none of that name.
    """
    if name not in catalogue():
        hint = f"Models: {', '.join(catalogue())}. A name with a slash is a folder."
        raise UnavailableError(f"There is no model called {visible(name)}.{suggestion(name, catalogue())}", hint)
    return catalogue()[name]


@cache
def hub_models() -> Mapping[str, str]:
    """Return hub id -> name of the models that come from a hub."""
    return {entry.source.hub: name for name, entry in catalogue().items() if isinstance(entry.source, HubSource)}
