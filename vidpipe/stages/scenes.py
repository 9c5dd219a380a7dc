"""scenes: cuts, thumbnails, the model's frames and measurements, all from one decode.

Times of scenes, thumbnails and frames are seconds from the first video frame.
"""

from vidpipe.media.frame_pack import pack_exists
from vidpipe.settings import Settings
from vidpipe.stages.contract import Item, Stage, StageContext, StageError, StageResult, per_video
from vidpipe.stages.results import Scenes


@per_video
def detect_scenes(item: Item, context: StageContext) -> Scenes:
    """Decode one video (see `analyze_scenes`); errors of the disk can be retried."""
    # imports numpy, OpenCV and PySceneDetect (which runs ffmpeg on import): only for commands that decode
    from vidpipe.stages.scene_analysis import analyze_scenes

    try:
        found = analyze_scenes(item, context)
        if found.pack is not None:
            context.files.keep_pack(item.sha256, found.pack, context.cancelled)
    except OSError as error:
        raise StageError.of_disk(item, "its frames", error, context.settings) from error
    return found


def _artifacts_exist(result: StageResult, settings: Settings) -> bool:
    return isinstance(result, Scenes) and result.pack is not None and pack_exists(settings, result.pack)


STAGE = Stage(
    name="scenes",
    job="prepare",
    description="Scene cuts, thumbnails, the frames the describing model sees and statistics, all from one decode.",
    result=Scenes,
    function=detect_scenes,
    reads=(
        "raw_video.content",
        "raw_video.path",
        "metadata.video_stream",
        "metadata.video_codec",
        "metadata.width",
        "metadata.height",
        "metadata.color_transfer",
        "metadata.field_order",
        "metadata.rotation",
        "metadata.mirrored",
        "metadata.bit_depth",
        "metadata.container",
        "metadata.duration_s",
        "metadata.frame_rate",
        "metadata.frame_rate_exact",
        "metadata.frame_count",
        "metadata.frame_count_source",
        "metadata.announced_duration_s",
        "metadata.clock_jumps",
        "metadata.undecodable_packets",
        "metadata.duration_source",
        "metadata.audio",
    ),
    settings=(
        "scene_detection.detector",
        "scene_detection.threshold",
        "scene_detection.decode",
        "scene_detection.min_scene_length",
        "scene_detection.frames_per_scene",
        "scene_detection.frames_per_video",
        "scene_detection.frame_max_pixels",
        "scene_detection.thumbnails",
        "scene_detection.thumbnail_interval",
        "scene_detection.thumbnail_width",
        "scene_detection.max_thumbnails",
    ),
    environment=(
        "scene_detection.hw_accel",
        "scene_detection.timeout_factor",
        "limits",
        "analyses.enabled",
        "speech.model",
    ),
    code_version="5",
    pool="cpu",
    kinds=("ffmpeg", "opencv"),
    artifacts_exist=_artifacts_exist,
)
