"""A server on loopback that answers like the part of Dropbox's HTTP API that stores use, from its public description.

There is no emulator of Dropbox; what this server does not imitate (rate limits, quotas, shared folders) is not tested.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs

from vidpipe_tests.loopback_server import LoopbackServer

TOKEN, REFRESH_TOKEN, APP_KEY, APP_SECRET = "sl.access-of-the-test", "refresh-of-the-test", "app-key", "app-secret"
_BLOCK_BYTES = 4 << 20
_PAGE_ENTRIES = 3


class DropboxServer(LoopbackServer):
    """files: path -> bytes; sessions: identifier -> bytes so far; calls: the route of each request
    received_parts: whether a request of an upload had bytes"""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.files: dict[str, bytes] = {}
        self.sessions: dict[str, bytearray] = {}
        self.calls: list[str] = []
        self.received_parts: list[bool] = []


def content_hash(data: bytes) -> str:
    """Dropbox's hash: https://www.dropbox.com/developers/reference/content-hash."""
    blocks = (data[start : start + _BLOCK_BYTES] for start in range(0, len(data), _BLOCK_BYTES))
    return hashlib.sha256(b"".join(hashlib.sha256(block).digest() for block in blocks)).hexdigest()


class _RouteError(Exception):
    def __init__(self, error: dict[str, Any], status: int = 409) -> None:
        super().__init__(error)
        self.error, self.status = error, status


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: DropboxServer

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        route = self.path.removeprefix("/2/")
        with self.server.lock:
            self.server.calls.append(route)
            try:
                if self.path == "/oauth2/token":
                    return self._json(self._token(parse_qs(body.decode())))
                if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    raise _RouteError({".tag": "invalid_access_token"}, 401)
                in_header = self.headers.get("Dropbox-API-Arg")
                argument = json.loads(in_header or body or "null")
                answer = getattr(self, "_" + route.replace("/", "_"))
                if route == "files/download":
                    return answer(argument)
                return self._json(answer(argument, body) if in_header else answer(argument))
            except _RouteError as error:
                return self._json({"error_summary": "on purpose/", "error": error.error}, error.status)

    def _json(self, value: Any, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _token(self, form: dict[str, list[str]]) -> dict[str, Any]:
        given = [form.get(name, [""])[0] for name in ("refresh_token", "client_id", "client_secret")]
        if given != [REFRESH_TOKEN, APP_KEY, APP_SECRET]:
            raise _RouteError({".tag": "invalid_access_token"}, 401)
        return {"access_token": TOKEN, "expires_in": 14400, "token_type": "bearer"}

    def _metadata(self, path: str) -> dict[str, Any]:
        data, now = self.server.files[path], datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            ".tag": "file", "name": path.rpartition("/")[2], "path_display": path, "path_lower": path.lower(),
            "id": "id:aaaaaaaaaaaaaaaaaaaaaa", "client_modified": now, "server_modified": now, "rev": "012345678",
            "size": len(data), "content_hash": content_hash(data), "is_downloadable": True,
        }  # fmt: skip

    def _known(self, path: str, tag: str = "path") -> dict[str, Any]:
        if path not in self.server.files:
            raise _RouteError({".tag": tag, tag: {".tag": "not_found"}})
        return self._metadata(path)

    def _files_get_metadata(self, argument: dict[str, Any]) -> dict[str, Any]:
        return self._known(argument["path"])

    def _files_delete_v2(self, argument: dict[str, Any]) -> dict[str, Any]:
        metadata = self._known(argument["path"], "path_lookup")
        del self.server.files[argument["path"]]
        return {"metadata": metadata}

    def _files_list_folder(self, argument: dict[str, Any], begin: int = 0) -> dict[str, Any]:
        root = argument["path"] + "/"
        paths = sorted(path for path in self.server.files if path.startswith(root))
        if not paths and argument["path"]:
            raise _RouteError({".tag": "path", "path": {".tag": "not_found"}})
        end = begin + _PAGE_ENTRIES
        entries = [self._metadata(path) for path in paths[begin:end]]
        folder = {".tag": "folder", "name": "media", "path_display": root + "media", "id": "id:bbbbbbbbbbbbbbbbbbbbbb"}
        cursor = json.dumps({"path": argument["path"], "begin": end})
        return {"entries": [folder, *entries], "cursor": cursor, "has_more": len(paths) > end}

    def _files_list_folder_continue(self, argument: dict[str, Any]) -> dict[str, Any]:
        cursor = json.loads(argument["cursor"])
        return self._files_list_folder(cursor, cursor["begin"])

    def _files_download(self, argument: dict[str, Any]) -> None:
        metadata = self._known(argument["path"])
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        data = self.server.files[argument["path"]][int(first) : int(last) + 1]
        self.send_response(206)
        self.send_header("Dropbox-API-Result", json.dumps(metadata))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _check_hash(self, argument: dict[str, Any], body: bytes) -> None:
        if argument.get("content_hash") not in (None, content_hash(body)):
            raise _RouteError({".tag": "content_hash_mismatch"})

    def _files_upload_session_start(self, argument: dict[str, Any], body: bytes) -> dict[str, Any]:
        self._check_hash(argument, body)
        session = f"pid_upload_session:{uuid.uuid4().hex}"
        self.server.sessions[session] = bytearray(body)
        return {"session_id": session}

    def _session(self, cursor: dict[str, Any], body: bytes) -> bytearray:
        self.server.received_parts.append(bool(body))
        session = self.server.sessions.get(cursor["session_id"])
        if session is None:
            raise _RouteError({".tag": "not_found"})
        if cursor["offset"] != len(session):
            raise _RouteError({".tag": "incorrect_offset", "correct_offset": len(session)})
        return session

    def _files_upload_session_append_v2(self, argument: dict[str, Any], body: bytes) -> None:
        session = self._session(argument["cursor"], body)
        self._check_hash(argument, body)
        session += body

    def _files_upload_session_finish(self, argument: dict[str, Any], body: bytes) -> dict[str, Any]:
        try:
            session = self._session(argument["cursor"], body)
        except _RouteError as error:
            raise _RouteError({".tag": "lookup_failed", "lookup_failed": error.error}) from None
        self._check_hash(argument, body)
        path = argument["commit"]["path"]
        self.server.files[path] = bytes(session + body)
        del self.server.sessions[argument["cursor"]["session_id"]]
        return self._metadata(path)
