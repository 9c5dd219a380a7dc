"""What must not span two splits: videos from one source, and near-duplicates."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from vidpipe.library.library import Library
from vidpipe.library.videos import chunked

#: (video, kind of what it shares, which one)
Link = tuple[str, str, str]
#: Kinds of links, in the words of reports. Near-duplicates follow `group`, the others `source`.
URL, CHANNEL, PLAYLIST, PAGE, DUPLICATES = "URL", "channel", "playlist or folder", "page", "near-duplicates"


def source_links(library: Library, videos: Iterable[str]) -> Iterator[Link]:
    """Yield where videos came from: URL (one URL may give several in time), channel, page, playlist or folder."""
    fields = ("video", "earlier_videos", "folder", "data.site", "data.uploader", "data.page_url")
    for chunk in chunked(videos):
        wanted = {"$or": [{"video": {"$in": chunk}}, {"earlier_videos": {"$in": chunk}}]}
        for row in library.collections["sources"].find(wanted, dict.fromkeys(fields, 1)):
            data = row.get("data") or {}
            channel = f"{data.get('site', '')} {data['uploader']}" if data.get("uploader") else None
            shared = {URL: row["_id"], CHANNEL: channel, PLAYLIST: row.get("folder"), PAGE: data.get("page_url")}
            for video in (row.get("video"), *(row.get("earlier_videos") or ())):
                yield from ((video, kind, one) for kind, one in shared.items() if video and one)


def linked_groups(videos: Iterable[str], links: Iterable[Link]) -> dict[str, str]:
    """Return video -> its group, the smallest hash of the videos that are linked directly or through others."""
    parent = {video: video for video in videos}
    first: dict[tuple[str, str], str] = {}

    def root(video: str) -> str:
        while parent[video] != video:
            parent[video] = parent[parent[video]]
            video = parent[video]
        return video

    for video, kind, one in links:
        if video in parent:
            low, high = sorted((root(video), root(first.setdefault((kind, one), video))))
            parent[high] = low
    return {video: root(video) for video in parent}


def leaks(split_of: Mapping[str, str], links: Iterable[Link]) -> dict[str, int]:
    """Return kind -> how many sources or groups have videos in more than one split."""
    splits: dict[tuple[str, str], set[str]] = defaultdict(set)
    for video, kind, one in links:
        if video in split_of:
            splits[kind, one].add(split_of[video])
    found = dict.fromkeys((URL, CHANNEL, PLAYLIST, PAGE), 0)
    for (kind, _), inside in splits.items():
        found[kind] = found.get(kind, 0) + (len(inside) > 1)
    return found
