"""Where exports go: what a kill leaves, and a store that holds the same as a folder."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest

from vidpipe.datasets.target import FolderTarget, StoreTarget
from vidpipe.errors import SettingsError
from vidpipe_tests.datasets.conftest import CUTS, TALK, ExportedLibrary, contents, export_items
from vidpipe_tests.storage.servers import s3_service


def test_what_a_killed_export_had_replaced_is_written_again(tmp_path: Path) -> None:
    first = FolderTarget(tmp_path, "hf")
    for name in ("a", "b"):
        first.write(name, b"old")
    first.finish()
    FolderTarget(tmp_path, "hf").write("a", b"new")  # and is killed
    again = FolderTarget(tmp_path, "hf")
    for name in ("a", "b"):
        again.write(name, b"old")
    again.finish()
    assert {name: data for name, data in contents(tmp_path).items() if len(name) == 1} == {"a": b"old", "b": b"old"}


def test_a_folder_of_another_format_is_refused(tmp_path: Path) -> None:
    first = FolderTarget(tmp_path, "hf")
    first.write("a", b"of hf")
    first.finish()
    with pytest.raises(SettingsError, match="another format: hf"):
        FolderTarget(tmp_path, "kinetics")
    assert FolderTarget(tmp_path, "hf").owner("a")


def _record(target: StoreTarget, sent: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    send = target._send

    def record(name: str, path: Path) -> None:
        sent.append(name)
        send(name, path)

    monkeypatch.setattr(target, "_send", record)


@pytest.mark.soak
@pytest.mark.parametrize("file_format", ["hf", "webdataset", "fiftyone"])
def test_a_store_holds_what_a_folder_holds_and_gets_only_what_changed(
    file_format: str, small_library: ExportedLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [*(small_library.items[name] for name in (CUTS, TALK)), *small_library.parts(CUTS)]
    with s3_service(tmp_path) as server:
        server.use(monkeypatch)
        store = small_library.library.stores.of(f"s3://films/{file_format}")

        def stored() -> dict[str, bytes]:
            return {one.key: store.read(one.key, 0, one.size_bytes) for one in store.objects("")}

        for number, chosen in enumerate((items, items, items[1:])):
            before, sent = stored(), list[str]()
            target = StoreTarget(store, Event(), file_format)
            _record(target, sent, monkeypatch)
            assert export_items(small_library, file_format, target, chosen).failed == {}
            export_items(small_library, file_format, tmp_path / str(number), chosen)
            assert stored() == contents(tmp_path / str(number))
            assert {name for name in sent if name in before and name.endswith(".mp4")} == set()
            assert number != 1 or stored() == before
