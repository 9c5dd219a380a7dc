"""fingerprint: perceptual hashes of pictures and sound, by which copies of a video and parts of it are found.

The scenes pass keeps small pictures and the sound for it. If they are not there, because the analysis was enabled
later, the video is decoded once more.
"""

from vidpipe.errors import VidpipeError
from vidpipe.media.decode_plan import audio_stream
from vidpipe.media.sound import drop_sound, kept_sound
from vidpipe.stages.analyses.declaration import Analysis
from vidpipe.stages.analyses.results import FingerprintResult
from vidpipe.stages.analyses.speech import DECODED_BY, hears
from vidpipe.stages.contract import Item, Stage, StageContext, StageError, per_video


@per_video
def take_fingerprint(item: Item, context: StageContext) -> FingerprintResult:
    """Hash the pictures and the sound of one video."""
    from vidpipe.media.perceptual_hash import has_pictures  # imports numpy and OpenCV
    from vidpipe.stages.video_decode import decode_samples

    heard_later = hears(context.settings) and has_pictures(context.settings, item.sha256)
    try:
        if not has_pictures(context.settings, item.sha256):
            decode_samples(item, context)
        return _fingerprint(item, context)
    except OSError as error:
        raise StageError.of_disk(item, "its pictures", error, context.settings) from error
    except VidpipeError:
        heard_later = False
        raise
    finally:
        if not heard_later:
            drop_sound(context.settings, item.sha256)


def _fingerprint(item: Item, context: StageContext) -> FingerprintResult:
    import numpy as np

    from vidpipe.media import perceptual_hash

    kept = perceptual_hash.take_pictures(context.settings, item.sha256)
    size, duration_s = (item["metadata.width"], item["metadata.height"]), item["scenes.duration_s"]
    interval_s, hashes, flat, whole = perceptual_hash.video_hashes(*kept, item["scenes.scenes"], size, duration_s)
    stream = audio_stream(item["metadata.audio"])
    sound = None if stream is None else kept_sound(context.settings, item.sha256, stream)
    return FingerprintResult(
        duration_s=duration_s,
        interval_s=interval_s,
        hashes=perceptual_hash.packed_bits(hashes),
        flat=perceptual_hash.packed_bits(np.packbits(flat)),
        whole=perceptual_hash.packed_bits(whole),
        sound=perceptual_hash.packed_bits(perceptual_hash.sound_bits(sound)) if sound else "",
    )


STAGE = Stage(
    name="fingerprint",
    job="prepare",
    description="Perceptual hashes of pictures and sound, by which copies and parts of a video are found.",
    result=FingerprintResult,
    function=take_fingerprint,
    reads=(
        "raw_video.content",
        "raw_video.path",
        "scenes.scenes",
        "scenes.duration_s",
        *(f"metadata.{name}" for name in (*DECODED_BY, "frame_count")),
    ),
    environment=("scene_detection", "limits", "analyses.enabled", "speech.model"),
    optional=True,
    kinds=("ffmpeg", "opencv"),
)

ANALYSIS = Analysis(STAGE)
