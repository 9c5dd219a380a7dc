"""metadata: what ffprobe reads from the container and its streams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vidpipe.errors import MediaError, UnavailableError
from vidpipe.media.ffmpeg import TimeLimitError
from vidpipe.media.probe import probe
from vidpipe.stages.contract import Cancelled, Item, Outcome, Stage, StageContext, StageError
from vidpipe.stages.results import Metadata


def read_metadata(items: Sequence[Item], context: StageContext) -> Iterator[Outcome]:
    """Probe each file; one that is not a video is an error of that video alone."""
    for item in items:
        if context.cancelled.is_set():
            raise Cancelled
        try:
            path = context.settings.resolve(item["raw_video.path"])
            info = probe(path, name="The stored file", limits=context.settings.limits)
        except (TimeLimitError, UnavailableError) as error:
            yield Outcome(item.sha256, error=StageError(error.message, error.hint, transient=True))
        except MediaError as error:
            yield Outcome(item.sha256, error=StageError(error.message, error.hint))
        else:
            yield Outcome(item.sha256, result=Metadata(**dict(info)))


STAGE = Stage(
    name="metadata",
    job="prepare",
    description="Container, streams, sizes, rates, subtitles and chapters, as ffprobe reads them.",
    result=Metadata,
    function=read_metadata,
    reads=("raw_video.content", "raw_video.path"),
    environment=("limits",),
    code_version="3",
    pool="cpu",
    kinds=("ffmpeg",),
)
