"""Which videos a web page shows, and which of them is the page's own. Reads bytes only: nothing is requested here."""

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from itertools import islice
from typing import Any
from urllib.parse import urljoin, urlsplit

from bs4 import BeautifulSoup, Tag
from bs4.dammit import EncodingDetector

from vidpipe.errors import VidpipeError, readable
from vidpipe.sources.containers import VIDEO_SUFFIXES
from vidpipe.sources.source_data import SourceData
from vidpipe.sources.urls import canonical_url, without_userinfo

_MOST_TAGS, _MOST_STATED, _MOST_NODES, _LONGEST_URL, _LONGEST_TEXT = 20_000, 1000, 20_000, 4096, 5000
_MOST_CHARACTERS = 2_000_000
_UNKNOWN_HEIGHT = 480
#: Where a video is named, by rank: what the page says about itself and its first <video>, further ones, ...
_MAIN, _MORE, _SCRIPT, _PLAYER, _LINK, _FRAME = range(6)
_STREAM = re.compile(r"\.(?:m3u8|mpd)$|mpegurl|dash\+xml", re.I)
_FILES = tuple(VIDEO_SUFFIXES - {".ts", ".gif", ".webp", ".apng", ".obu", ".dv", ".rm"})
_HEIGHT = re.compile(
    r"(?<![a-z0-9])(\d{3,4})p(?:\d\d)?(?![a-z0-9])|(?:height|res|label)\W{1,4}(\d{3,4})(?!\d)|\d{3}x(\d{3,4})(?!\d)",
    re.I,
)
_MINOR = re.compile(
    r"(?<![a-z])(?:ads?|advert\w*|sponsor\w*|(?:pre|mid|post)-?roll|promos?|previews?|trailers?|teasers?|thumb\w*|related"
    r"|recommend\w*|sprites?|background|decoration|doubleclick|googlesyndication|googletagmanager)(?![a-z])",
    re.I,
)
_PLAYERS = re.compile(r"embed|player|video|watch|vimeo|youtu|dailymotion|wistia|brightcove|kaltura", re.I)
_METAS = (
    "og:video:secure_url", "og:video", "og:video:url", "twitter:player:stream", "twitter:player", "contenturl",
    "embedurl",
)  # fmt: skip
#: Field of SourceData -> where it is stated: keys of JSON-LD, names of <meta>.
_FACTS = {
    "title": ("name", "og:title", "twitter:title", "<title>"), "site": ("og:site_name",), "licence": ("license",),
    "description": ("description", "og:description"), "uploader": ("author", "creator", "publisher"),
    "uploaded_on": ("uploadDate", "datePublished", "uploaddate", "og:video:release_date", "article:published_time"),
}  # fmt: skip


@dataclass(frozen=True)
class PageVideo:
    """A video of a page.

    Attributes:
        url: Its URL, absolute and canonical, without user and password.
        kind: "file", "stream" (a manifest of HLS or DASH), or "embed" (the page of a player).
        where: Where the page names it, and the height in pixels that it states.
        rank: The best one has the least.
    """

    url: str
    kind: str
    where: str
    rank: tuple[Any, ...]


@dataclass(frozen=True)
class WebPage:
    """What was found in a page.

    Attributes:
        videos: The best one first.
        data: What the page says about its video; texts are printable and were cut.
        oembed: URL that describes an embedded player in JSON; empty if there is none.
    """

    videos: tuple[PageVideo, ...]
    data: SourceData
    oembed: str

    @property
    def is_clear(self) -> bool:
        """Whether the page itself names the address of its video, rather than a player's or one in a script."""
        return any(one.kind != "embed" and one.rank[:2] <= (False, _MORE) for one in self.videos[:1])


#: What an element states: URL, rank of its place, name of the place, kind if the URL does not tell, words about it.
_Stated = tuple[Any, int, str, str, str]


def page_videos(content: bytes, base_url: str, content_type: str = "", max_height: int = 0) -> WebPage:
    """Return the videos of an HTML page, the best one first. Never raises: of a broken page, fewer are found.

    The order: the page's own videos before adverts, previews, trailers and decoration (by words in the URL and in the
    names of elements around it; videos that play silently in a loop without controls). Then by where the page names
    them: JSON-LD, Open Graph, Twitter card and the first <video>; further ones; URLs in scripts; embedded players;
    links to files; other frames. Among these the greatest height that is not above `max_height`, an unknown one
    counting as 480 pixels; a file before a stream; then the order in the page.

    Args:
        content: The page, or its beginning.
        base_url: Its URL after redirects.
        content_type: As the server stated it; its charset has precedence.
        max_height: In pixels; 0: no limit.
    """
    text = re.sub(r"<!--.*?(?:-->|\Z)", " ", _decoded(content, content_type), flags=re.S)[:_MOST_CHARACTERS]
    # Python's parser needs quadratic time for tags that are not closed
    text = re.sub(r"<(?!/?[a-z][^<>]*>)", " ", "<".join(text.split("<", _MOST_TAGS)[:_MOST_TAGS]), flags=re.I)
    # without it, attributes such as class are lists, which take long to write as text
    tags = BeautifulSoup(f"<html>{text}", "html.parser", multi_valued_attributes=None).find_all(True)
    bases = (_absolute(base_url, _of(tag, "href")) for tag in tags if tag.name == "base")
    base = next(filter(None, bases), base_url)
    facts: dict[str, str] = {}
    found = [_candidate(base, max_height, one) for one in islice(_stated(tags, facts), _MOST_STATED)]
    best: dict[str, PageVideo] = {}
    for one in sorted(filter(None, found), key=lambda candidate: candidate.rank):
        if one.url != base_url:
            best.setdefault(one.url, one)
    return WebPage(tuple(best.values()), _data(facts), _absolute(base, facts.get("oembed", "")))


def _stated(tags: Iterable[Tag], facts: dict[str, str]) -> Iterator[_Stated]:
    """Yield what the elements state, and put what they say about the page's video into `facts`."""
    main: dict[str, object] = {}
    for tag in tags:
        href, mime, around = _of(tag, "href"), _of(tag, "type"), (tag, *islice(tag.parents, 8))
        words = " ".join(f"{name}={_of(one, name)}" for one in around for name in ("id", "class", "title"))
        words += f" {mime} res={_of(tag, 'res', 'size')} label={_of(tag, 'label')}"
        video = next((one for one in around if one.name == "video"), None)
        if tag.name == "title" and "<title>" not in facts:
            facts["<title>"] = "".join(islice(tag.strings, 9))
        elif tag.name == "script":
            for node, under in _video_objects(tag.string or "") if "json" in mime else ():
                is_main = _MINOR.search(under) is None and main.setdefault("node", node) is node
                words = f"{under} height={node.get('height')} {node.get('videoQuality')} {node.get('encodingFormat')}"
                yield node.get("contentUrl"), _MAIN if is_main else _MORE, "its JSON-LD", "file", words
                yield node.get("embedUrl"), _MAIN, "its JSON-LD", "embed", words
                facts.update({name: _name(value) for name, value in node.items()} if is_main else {})
            yield from _quoted(tag.string or "")
        elif tag.name == "meta":
            facts.setdefault(_of(tag, "property", "name", "itemprop").lower(), _of(tag, "content"))
        elif tag.name == "link" and "json+oembed" in mime:
            facts.setdefault("oembed", href)
        elif tag.name in ("a", "link") and "license" in _of(tag, "rel"):
            facts.setdefault("license", href)
        elif tag.name == "a" and href.partition("?")[0].lower().endswith(_FILES):
            yield href, _LINK, "a link", "file", words
        elif tag.name == "iframe":
            url = _of(tag, "src", "data-src")
            yield url, _PLAYER if _PLAYERS.search(url + words) else _FRAME, "an <iframe>", "embed", words
        elif video is not None and tag.name in ("video", "source"):
            words += " decoration" if {"loop", "muted"} <= video.attrs.keys() and "controls" not in video.attrs else ""
            url = _of(tag, "src", "data-src")
            is_main = _MINOR.search(f"{words} {url}") is None and main.setdefault("video", video) is video
            place = "the page's <video>" if is_main else "another <video>"
            yield url, _MAIN if is_main else _MORE, place, "file", words
    for name in _METAS:  # those about the same video are complete at the end of the page only
        words = f"{facts.get('og:video:type')} height={facts.get('og:video:height')}" if name.startswith("og:") else ""
        kind = "file" if name in ("contenturl", "twitter:player:stream") else "embed"
        yield facts.get(name), _MAIN, f"its {name}", kind, words


def _video_objects(text: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the VideoObjects in JSON-LD, each with the key that it is under, outer ones first."""
    with suppress(ValueError, RecursionError):
        waiting = [(json.loads(text, strict=False), "")]
        for _ in range(_MOST_NODES):
            if not waiting:
                break
            value, under = waiting.pop()
            if isinstance(value, dict) and "VideoObject" in str(value.get("@type"))[:200]:
                yield value, under
            children = value.items() if isinstance(value, dict) else [(under, one) for one in value or ()]
            waiting += [(child, key) for key, child in reversed(list(children)) if isinstance(child, dict | list)]


def _quoted(text: str) -> Iterator[_Stated]:
    """Yield quoted URLs of videos in a script, with what stands beside them in the same object."""
    text = re.sub(r"\\u0026|&amp;", "&", re.sub(r"\\+/|\\u002f", "/", text, flags=re.I), flags=re.I)
    parts = re.split(r"\\*[\"'`]", text)
    for position, part in enumerate(parts):
        path = part[:_LONGEST_URL].partition("?")[0].lower()
        if path.endswith((".m3u8", ".mpd", *_FILES)) and not re.search(r"[\s<>{}]", part):
            words = " ".join(parts[max(0, position - 9) : position]).rpartition("{")[2][-200:]
            words += " ".join(parts[position + 1 : position + 9]).partition("}")[0][:200]
            yield part, _SCRIPT, "a script", "file", words


def _candidate(base: str, max_height: int, stated: _Stated) -> PageVideo | None:
    value, place, where, kind, words = stated
    url, words = _absolute(base, value), words[:_LONGEST_TEXT]
    path = urlsplit(url).path.lower()
    if not url or "flash" in words:
        return None
    kind = "file" if path.endswith(_FILES) or "video/" in words else kind
    kind = "stream" if _STREAM.search(path) or _STREAM.search(words) else kind
    minor = _MINOR.search(f"{urlsplit(url).netloc}{path} {words}") is not None
    heights = (int(one[one.lastindex or 1]) for one in _HEIGHT.finditer(f"{words} {path}"))
    height = next((one for one in heights if 100 <= one <= 4320), 0)
    best = -(height or _UNKNOWN_HEIGHT) if not max_height or height <= max_height else height
    rank = (minor, max(place, _PLAYER) if kind == "embed" else place, best, kind == "stream")
    return PageVideo(url, kind, f"{where}, {height}p" if height else where, rank)


def _absolute(base: str, value: Any) -> str:
    """Return a reference as a canonical http(s) URL without user and password; empty if it is none."""
    with suppress(ValueError, VidpipeError):
        if isinstance(value, str) and 0 < len(value) <= _LONGEST_URL:
            return canonical_url(without_userinfo(urljoin(base, value.strip()))[0])
    return ""


def _of(tag: Tag, *names: str) -> str:
    """Return the first of the attributes that is not empty, cut: elements inside ask for those of the ones around."""
    return next((str(tag[name])[:_LONGEST_TEXT] for name in names if tag.get(name)), "")


def _name(value: Any) -> str:
    """Return a value of JSON-LD as a text: of a list the first, of a person or work the name."""
    value = value[0] if isinstance(value, list) and value else value
    value = value.get("name") or value.get("url") if isinstance(value, dict) else value
    return value if isinstance(value, str) else ""


def _data(facts: dict[str, str]) -> SourceData:
    data: dict[str, Any] = {}
    for field, names in _FACTS.items():
        text = readable(next((facts[name] for name in names if facts.get(name)), "")[:_LONGEST_TEXT])
        words = "".join(character if character.isprintable() else " " for character in text).split()
        data[field] = " ".join(words)[: _LONGEST_TEXT if field == "description" else 500]
    day = data.pop("uploaded_on")[:10]
    with suppress(ValueError):
        data["uploaded_on"] = date.fromisoformat(day)
    return SourceData(**data)


def _decoded(content: bytes, content_type: str) -> str:
    stated = re.search(r"charset\s*=\s*[\"']?([\w.:-]{1,40})", content_type, re.I)
    declared = EncodingDetector.find_declared_encoding(content[:4096], is_html=True)
    for name in (stated[1] if stated else None, declared, "utf-8-sig"):
        with suppress(LookupError, UnicodeError):
            if name and codecs.lookup(name).name not in ("punycode", "idna"):  # these take quadratic time
                return content.decode(name)
    return content.decode("cp1252", "replace")
