"""metadata: what ffprobe reads from the container and its streams."""

from vidpipe.stages.contract import Item, Stage, StageContext, StageError, per_video
from vidpipe.stages.results import Metadata


@per_video
def read_metadata(item: Item, context: StageContext) -> Metadata:
    """Probe the file of one video.

    Raises:
        StageError: Reading takes too long.
        MediaError: It is not a video.
        UnavailableError: ffprobe is missing.
    """
    from vidpipe.media.probe import probe
    from vidpipe.media.programs import TimeLimitError

    try:
        with context.files.video(item.sha256, item["raw_video.path"], context.cancelled) as path:
            return Metadata(**dict(probe(path, name="The stored file", limits=context.settings.limits)))
    except TimeLimitError as error:
        raise StageError(error.message, error.hint, transient=True) from error


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
