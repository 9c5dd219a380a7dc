"""The local folders as a store: frame packs travel as archives, and hostile archives write nothing."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from vidpipe.media.facts import PackReference
from vidpipe.media.frame_pack import FramePack, FramePackWriter
from vidpipe.settings import Settings
from vidpipe.storage.local_store import LocalStore
from vidpipe.storage.object_store import Progress, StoreError, pack_key

VIDEO = "ab" * 32


@pytest.fixture
def local(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def write_pack(settings: Settings) -> PackReference:
    with FramePackWriter(settings, VIDEO) as writer:
        for number in range(3):
            writer.add_frame(time_s=number, scene=number, size=(8, 8), jpeg=b"frame %d" % number * 1000)
            writer.add_thumbnail(number, number, (4, 4), b"thumbnail %d" % number)
        return writer.publish()


def sha256_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_pack_travels_as_an_archive_and_arrives_equal(local: Settings, tmp_path: Path) -> None:
    reference, store = write_pack(local), LocalStore(local)
    key, archive = pack_key(VIDEO, reference.version), tmp_path / "pack.tar"
    sha256 = store.get(key, archive, Progress())
    assert sha256 == sha256_of(archive)
    found = store.stat(key)
    assert found is not None
    assert found.size_bytes == archive.stat().st_size == len(store.read(key, 0, 1 << 30))
    assert [stored.key for stored in store.objects("packs/")] == [key]
    other = LocalStore(Settings(home=tmp_path / "other"))
    other.put(key, archive, sha256, Progress())
    assert [jpeg for _, jpeg in FramePack(other.path(key))] == [jpeg for _, jpeg in FramePack(store.path(key))]
    names = [{file.name: file.read_bytes() for file in one.path(key).iterdir()} for one in (store, other)]
    assert names[0] == names[1]
    assert other.get(key, tmp_path / "again.tar", Progress()) == sha256
    other.delete(key)
    assert other.stat(key) is None


def test_any_part_of_a_pack_is_that_of_its_archive(local: Settings) -> None:
    """Without owners and times, so that equal packs have equal archives, as they always had."""
    reference, store = write_pack(local), LocalStore(local)
    key, made = pack_key(VIDEO, reference.version), io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for file in sorted(store.path(key).iterdir()):
            content = file.read_bytes()
            entry = tarfile.TarInfo(file.name)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    expected = made.getvalue()
    for start, length in ((0, 1 << 30), (0, 1), (511, 2), (500, 9000), (len(expected) - 3, 100), (1024, 512)):
        assert store.read(key, start, length) == expected[start : start + length]


def test_a_damaged_pack_is_replaced(local: Settings, tmp_path: Path) -> None:
    reference, store = write_pack(local), LocalStore(local)
    key, archive = pack_key(VIDEO, reference.version), tmp_path / "pack.tar"
    sha256 = store.get(key, archive, Progress())
    (store.path(key) / "manifest.json").unlink()
    store.put(key, archive, sha256, Progress())
    assert len(FramePack(store.path(key)).frames) == 3
    assert [path.name for path in store.path(key).parent.iterdir() if path.name[0] != "."] == [reference.version]


def named(name: str, **fields: object) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(entry, field, value)
    return entry


HOSTILE: dict[str, Callable[[], list[tarfile.TarInfo]]] = {
    "a path upwards": lambda: [named("../escaped")],
    "an absolute path": lambda: [named("/etc/escaped")],
    "a folder": lambda: [named("sub/file")],
    "a hidden file": lambda: [named(".hidden")],
    "a symbolic link": lambda: [named("link", type=tarfile.SYMTYPE, linkname="/etc/passwd")],
    "a hard link": lambda: [named("link", type=tarfile.LNKTYPE, linkname="../../manifest.json")],
    "a device": lambda: [named("device", type=tarfile.CHRTYPE)],
    "a pipe": lambda: [named("pipe", type=tarfile.FIFOTYPE)],
    "the same name twice": lambda: [named("file"), named("file")],
    "a name that PAX headers change": lambda: [named("file", pax_headers={"path": "../escaped"})],
    "a sparse file": lambda: [
        named("file", pax_headers={"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 50), "GNU.sparse.name": "big"})
    ],
}


@pytest.mark.parametrize("what", [*HOSTILE, "no archive", "a compressed archive"])
def test_a_hostile_archive_writes_nothing(local: Settings, tmp_path: Path, what: str) -> None:
    archive = tmp_path / "hostile.tar"
    if what == "no archive":
        archive.write_bytes(b"not an archive" * 100)
    else:
        with tarfile.open(
            archive, "w:gz" if what == "a compressed archive" else "w:", format=tarfile.PAX_FORMAT
        ) as tar:
            tar.addfile(named("manifest.json", size=2), io.BytesIO(b"{}"))
            for entry in HOSTILE.get(what, list)():
                tar.addfile(entry)
    store, before = LocalStore(local), sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreError, match="is not the archive of a frame pack") as refused:
        store.put(pack_key(VIDEO, "0" * 16), archive, sha256_of(archive), Progress())
    assert refused.value.kind == "permanent"
    new = {path for path in tmp_path.rglob("*") if path.is_file()} - set(before)
    assert new == set()


@pytest.mark.parametrize("key", ["media/../../x.mp4", "packs/x/y.tar", "media/ab/" + "c" * 64, "exports/x.zip", ""])
def test_a_key_that_is_none_of_ours_is_refused(local: Settings, key: str) -> None:
    with pytest.raises(StoreError, match="is not a key"):
        LocalStore(local).stat(key)


def test_a_folder_that_cannot_be_written_is_reported(local: Settings, tmp_path: Path) -> None:
    local.derived_directory.parent.mkdir(parents=True, exist_ok=True)
    local.derived_directory.write_text("a file in its place")
    archive = tmp_path / "pack.tar"
    with tarfile.open(archive, "w:") as tar:
        tar.addfile(named("manifest.json", size=2), io.BytesIO(b"{}"))
    with pytest.raises(StoreError, match="local: the storage is not available"):
        LocalStore(local).put(pack_key(VIDEO, "0" * 16), archive, sha256_of(archive), Progress())
