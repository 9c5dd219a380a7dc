"""Paths as they are stored. A file name on Linux is any bytes; what is not UTF-8 fits neither MongoDB nor JSON, so such
a path is stored as a file URL, which keeps every byte (%E9)."""

import os
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from vidpipe.errors import readable

_FILE_URL = "file:///"


def path_text(path: Path, below: Path | None = None) -> str:
    """An absolute path as text that can be stored: with forward slashes, relative to the folder `below` it lies in; or,
    where that is not UTF-8, as a file URL."""
    text = (path.relative_to(below) if below else path).as_posix()
    return text if readable(text) == text else path.as_uri()


def text_path(text: Path | str) -> Path:
    """The path that `path_text` was given. No other text begins like a file URL: paths hold no empty part."""
    return file_url_path(text) if isinstance(text, str) and text.startswith(_FILE_URL) else Path(text)


def file_url_path(url: str) -> Path:
    """The path that a file URL names, byte for byte. Errors: ValueError where it is no URL."""
    return Path(os.fsdecode(unquote_to_bytes(urlsplit(url).path)))
