"""Resumable uploads by the tus protocol 1.0.0 (https://tus.io): core, creation and termination.

    data/uploads/<id>/.upload.json    owner, name and length
    data/uploads/<id>/<name>          the bytes so far; their number is the offset

`POST /sources` moves finished files into the media store; the clean-up deletes abandoned ones.
"""

import json
import re
import secrets
import shutil
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi import Path as InPath
from filelock import FileLock, Timeout
from starlette.requests import ClientDisconnect

from vidpipe.errors import UNSAFE
from vidpipe.media.sniff import sniff
from vidpipe.settings import Settings
from vidpipe.web.access import Writer
from vidpipe.web.home import Opened
from vidpipe.web.problems import RequestError

_VERSION = {"Tus-Resumable": "1.0.0"}
_RECORD, _LOCK = ".upload.json", ".lock"
_MOST_UPLOADS = 1000
_LONGEST_NAME_BYTES = 150
_BODY_TYPE = "application/offset+octet-stream"
_BODY = {"requestBody": {"content": {_BODY_TYPE: {"schema": {"type": "string", "format": "binary"}}}}}
_creating = threading.Lock()


@dataclass(frozen=True)
class Upload:
    """An upload: its folder, size in bytes, name, and the name of the key that it belongs to."""

    folder: Path
    length: int
    name: str
    owner: str

    @property
    def file(self) -> Path:
        """The bytes so far."""
        return self.folder / self.name

    @property
    def offset(self) -> int:
        """Number of bytes so far."""
        return self.file.stat().st_size


def _uploads(settings: Settings, name: str = "*") -> Iterator[Upload]:
    for path in settings.uploads_directory.glob(f"{name}/{_RECORD}"):
        with suppress(OSError, ValueError):
            yield Upload(path.parent, **json.loads(path.read_text("utf-8")))


def find_upload(settings: Settings, upload_id: str, owner: str) -> Upload:
    """Return an upload. Raises RequestError if it does not exist or belongs to another key."""
    found = next(_uploads(settings, upload_id), None) if re.fullmatch("[0-9a-f]{32}", upload_id) else None
    if found is None or found.owner != owner or not found.file.is_file():
        raise RequestError(404, "There is no such upload.", "Start it again; abandoned uploads are deleted.")
    return found


def _tus(
    caller: Writer, tus_resumable: Annotated[str, Header(description="Version of the protocol: 1.0.0.")] = ""
) -> None:
    if tus_resumable != _VERSION["Tus-Resumable"]:
        version = {**_VERSION, "Tus-Version": "1.0.0"}
        raise RequestError(412, "Send the header Tus-Resumable: 1.0.0.", "See https://tus.io.", version)


def _found(
    upload_id: Annotated[str, InPath(max_length=64, description="Id of the upload.")], opened: Opened, caller: Writer
) -> Upload:
    return find_upload(opened.settings, upload_id, caller.name)


_Found = Annotated[Upload, Depends(_found)]
router = APIRouter(tags=["sources"])
tus = APIRouter(dependencies=[Depends(_tus)])


@router.options("/uploads", status_code=204)
def get_upload_options(opened: Opened, caller: Writer) -> Response:
    """Return what the server supports of tus."""
    limit = str(opened.settings.library_page.max_upload_mb * 1_000_000)
    supported = {"Tus-Version": "1.0.0", "Tus-Extension": "creation,termination", "Tus-Max-Size": limit}
    return Response(status_code=204, headers={**_VERSION, **supported})


@tus.post("/uploads", status_code=201, response_class=Response)
def create_upload(
    opened: Opened,
    caller: Writer,
    upload_length: Annotated[int, Header(ge=1, description="Size of the file in bytes.")],
    upload_metadata: Annotated[str, Header(max_length=4000, description="`filename BASE64`.")] = "",
) -> Response:
    """Start an upload; its address is in the header Location."""
    page, root = opened.settings.library_page, opened.settings.uploads_directory
    if upload_length > page.max_upload_mb * 1_000_000:
        raise RequestError(413, f"Files of up to {page.max_upload_mb} MB can be uploaded.", "[LibraryPage] MaxUploadMB")
    with _creating:
        root.mkdir(parents=True, exist_ok=True)
        unfinished = [one.length for one in _uploads(opened.settings)]
        if sum(unfinished) + upload_length > page.upload_quota_mb * 1_000_000 or len(unfinished) >= _MOST_UPLOADS:
            raise RequestError(
                413,
                "Unfinished uploads take too much space.",
                "Finish or delete some; see [LibraryPage] UploadQuotaMB.",
            )
        if shutil.disk_usage(root).free - upload_length < opened.settings.download.min_free_mb << 20:
            raise RequestError(507, "The disk has no space for this file.", "Free space, or lower MinFreeMB.")
        name, folder = _file_name(upload_metadata), root / secrets.token_hex(16)
        folder.mkdir(mode=0o700)
        (folder / name).touch()
        record = {"length": upload_length, "name": name, "owner": caller.name}
        (folder / _RECORD).write_text(json.dumps(record), "utf-8")
    return Response(status_code=201, headers={**_VERSION, "Location": f"/api/v1/uploads/{folder.name}"})


def _file_name(metadata: str) -> str:
    """Return the name of the file without folders and characters that are dangerous in names."""
    given = dict(pair.strip().partition(" ")[::2] for pair in metadata.split(","))
    try:
        text = b64decode(given.get("filename", "")).decode("utf-8", "replace")
    except ValueError:
        raise RequestError(400, "Upload-Metadata is not valid.", "Send `filename` and its value in base64.") from None
    name = PureWindowsPath(UNSAFE.sub("", text)).name.strip(" .") or "upload"
    stem, dot, suffix = name.rpartition(".")
    stem = (stem if dot else name).encode()[:_LONGEST_NAME_BYTES].decode(errors="ignore")
    return f"{stem}.{suffix[:20]}" if dot else stem


@tus.head("/uploads/{upload_id}", response_class=Response)
def get_upload_offset(found: _Found) -> Response:
    """Return how many bytes of an upload have arrived."""
    sizes = {"Upload-Offset": str(found.offset), "Upload-Length": str(found.length)}
    return Response(headers={**_VERSION, **sizes})


@tus.patch("/uploads/{upload_id}", status_code=204, openapi_extra=_BODY)
async def append_to_upload(
    request: Request,
    found: _Found,
    upload_offset: Annotated[int, Header(ge=0, description="Where the body continues.")],
    content_type: Annotated[str, Header(description=_BODY_TYPE)] = "",
) -> Response:
    """Append bytes. What arrived of a request that is cut off is kept."""
    if content_type != _BODY_TYPE:
        raise RequestError(415, f"Send the bytes as {_BODY_TYPE}.")
    try:
        with FileLock(found.folder / _LOCK, blocking=False):
            if upload_offset != found.offset:
                raise RequestError(409, f"The upload has {found.offset} bytes.", "Continue there.", _VERSION)
            with found.file.open("ab") as file, suppress(ClientDisconnect):
                async for block in request.stream():
                    if file.tell() + len(block) > found.length:
                        raise RequestError(413, "The file is longer than its Upload-Length.", "Start again.")
                    await to_thread.run_sync(file.write, block)
        arrived = found.offset
    except Timeout:
        raise RequestError(423, "Another request appends to this upload.", "Try again in a second.") from None
    except FileNotFoundError:
        raise RequestError(404, "The upload was deleted meanwhile.", "Start it again.") from None
    except OSError as error:
        raise RequestError(507, f"The bytes cannot be stored: {error.strerror}.", "Free space, then resume.") from None
    if arrived == found.length and (content := await to_thread.run_sync(sniff, found.file)):
        shutil.rmtree(found.folder, ignore_errors=True)
        raise RequestError(415, f"{found.name} is {content.name}, not a video.", "Choose a video file.")
    return Response(status_code=204, headers={**_VERSION, "Upload-Offset": str(arrived)})


@tus.delete("/uploads/{upload_id}", status_code=204)
def delete_upload(found: _Found) -> Response:
    """Delete an upload."""
    shutil.rmtree(found.folder, ignore_errors=True)
    return Response(status_code=204, headers=_VERSION)


router.include_router(tus)
