"""Decodes the first picture of videos: `python -P quick_check_worker.py`.

`quick_check.QuickCheck` starts it as a process of its own, because it opens untrusted files. It reads requests from
standard input, a line of JSON each, and answers each with a line: the container of a video, or nothing if it is unsure
what the file is. An error ends it, so that nothing a damaged file has left behind can affect the next one.
"""

import itertools
import json
import sys

import av

#: Packets of the video stream after which to give up.
_MOST_PACKETS = 16


def container(address: str, options: dict[str, str]) -> str:
    """Return the container of a file with one video stream of several pictures, the first of which decodes.

    Args:
        address: Of the file.
        options: Of the input.

    Returns:
        ffmpeg's first name of the container; empty for any other file, or if it takes too much to find out.
    """
    with av.open(address, options=options) as file:
        if len(file.streams.video) != 1:
            return ""  # which one to choose takes more than is known here
        video = file.streams.video[0]
        video.codec_context.thread_count = 1
        video.codec_context.options = options
        shown = decoded = 0
        for packet in itertools.islice(file.demux(video), _MOST_PACKETS):
            shown += packet.size > 0 and not packet.is_discard
            decoded += sum(not frame.is_corrupt for frame in packet.decode())
            if shown > 1 and decoded:  # music has a cover of a single picture
                return file.format.name.partition(",")[0]
    return ""


def main() -> None:
    """Answer the requests until there are no more."""
    av.logging.set_level(None)
    for line in sys.stdin:
        print(container(**json.loads(line)), flush=True)


if __name__ == "__main__":
    main()
