"""Typed facts about a media file. All times are in seconds from the first video frame."""

from pydantic import BaseModel, ConfigDict, Field


class Fact(BaseModel):
    """Immutable base class of all facts."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class AudioStream(Fact):
    """An audio stream, as ffprobe describes it."""

    index: int = Field(description="index of the stream in the file")
    codec: str = Field(description="codec, as ffmpeg names it")
    channels: int | None = Field(None, description="number of channels")
    channel_layout: str | None = Field(None, description="stereo, 5.1, ...")
    sample_rate_hz: int | None = Field(None, description="sample rate")
    bit_rate: int | None = Field(None, description="bits per second")
    language: str | None = Field(None, description="language code in the file")
    title: str | None = Field(None, description="title in the file")
    default: bool = Field(False, description="whether players choose it by default")
    empty: bool = Field(False, description="declared by the file, but without packets")


class SubtitleStream(Fact):
    """A subtitle stream, as ffprobe describes it."""

    index: int = Field(description="index of the stream in the file")
    codec: str = Field(description="codec, as ffmpeg names it")
    language: str | None = Field(None, description="language code in the file")
    title: str | None = Field(None, description="title in the file")
    default: bool = Field(False, description="whether players choose it by default")
    forced: bool = Field(False, description="whether players always show it")
    text: bool = Field(False, description="whether the codec holds text, whose cues are read")


class SubtitleCue(Fact):
    """One cue of a text subtitle stream, without markup."""

    stream: int = Field(description="index of the stream")
    start_s: float = Field(description="when it appears")
    end_s: float = Field(description="when it disappears")
    text: str = Field(description="its text")


class Chapter(Fact):
    """A chapter of the container."""

    start_s: float = Field(description="start")
    end_s: float = Field(description="end")
    title: str | None = Field(None, description="title, if it has one")


class MediaInfo(Fact):
    """Contents of the container and its streams. Times and counts are measured on packets, not read from headers."""

    container: str = Field(description="first of ffprobe's short format names: mov, matroska, avi")
    container_name: str = Field("", description="ffprobe's name of the container in full")
    duration_s: float | None = Field(None, description="of the chosen video stream; None for a still image")
    container_duration_s: float | None = Field(None, description="duration in the header")
    duration_source: str = Field("packets", description="packets, rate (no timestamps), header (not measured) or none")
    announced_duration_s: float | None = Field(None, description="duration in the header of a truncated file, or None")
    clock_jumps: int = Field(0, description="jumps of the stream's clock, which are removed from all times")
    undecodable_packets: int = Field(0, description="pictures before the first key frame that refer to missing ones")
    size_bytes: int = Field(description="size of the file")
    bit_rate: int | None = Field(None, description="bits per second of the whole file")
    video_stream: int = Field(description="index of the stream in use: ffmpeg's own choice")
    video_streams: int = Field(1, description="number of video streams")
    video_codec: str = Field(description="codec, as ffmpeg names it")
    video_profile: str | None = Field(None, description="profile of the codec")
    video_bit_rate: int | None = Field(None, description="bits per second of the video stream")
    pixel_format: str | None = Field(None, description="pixel format, as ffmpeg names it")
    bit_depth: int | None = Field(None, description="bits per channel")
    hdr: str | None = Field(None, description="HDR10, HLG, Dolby Vision, ...; None: standard range")
    color_transfer: str | None = Field(None, description="transfer function as named by ffmpeg: bt709, smpte2084, ...")
    field_order: str | None = Field(None, description="progressive, or interlaced: tt, bb, tb, bt; None: not stated")
    coded_width: int = Field(description="width as stored")
    coded_height: int = Field(description="height as stored")
    rotation: int = Field(0, description="clockwise rotation for display, in degrees: 0, 90, 180, 270")
    mirrored: bool = Field(False, description="mirrored for display, horizontally or vertically")
    pixel_aspect: str = Field("1:1", description="width to height of a pixel")
    width: int = Field(description="as displayed: after rotation and pixel aspect")
    height: int = Field(description="as displayed, too")
    orientation: str = Field("landscape", description="landscape, portrait or square")
    resolution: str = Field(description="SD, HD, Full HD, 2K, 4K, 8K")
    frame_rate: float | None = Field(None, description="frames per second; the average if the rate is variable")
    frame_rate_exact: str | None = Field(None, description="the same as a fraction: 30000/1001")
    nominal_frame_rate: str | None = Field(None, description="exact rate; if it is variable, ffprobe's r_frame_rate")
    variable_frame_rate: bool = Field(False, description="whether the frame rate varies")
    frame_count: int | None = Field(None, description="number of frames")
    frame_count_source: str = Field("packets", description="packets, header (not counted) or none")
    audio: tuple[AudioStream, ...] = Field((), description="audio streams")
    subtitles: tuple[SubtitleStream, ...] = Field((), description="subtitle streams")
    cues: tuple[SubtitleCue, ...] = Field((), description="cues of all text subtitle streams")
    cues_truncated: bool = Field(False, description="whether there are more cues than are kept")
    chapters: tuple[Chapter, ...] = Field((), description="chapters")
    title: str | None = Field(None, description="title in the file")
    created: str | None = Field(None, description="creation time stated by the file, ISO 8601")
    faststart: bool | None = Field(None, description="MP4/MOV: playable while it is being downloaded")
    notes: tuple[str, ...] = Field((), description="implausible values that were ignored, and what was lost")


class ColorShare(Fact):
    """A color name and its share of the pixels, 0 to 1."""

    name: str = Field(description="the color name")
    share: float = Field(ge=0, le=1, description="its share")


class SceneStats(Fact):
    """Measured on the small frames of the decode pass, inside the active area; HDR after tone mapping."""

    brightness: float = Field(description="mean luma, 0 to 1")
    contrast: float = Field(description="mean standard deviation of luma within a frame, 0 to 0.5")
    saturation: float = Field(description="mean, 0 to 1")
    motion: float = Field(description="mean absolute luma change within 1/25 s, estimated from 0.2 s, 0 to 1")
    colors: tuple[ColorShare, ...] = Field((), description="the most frequent color names, largest share first")
    dark_share: float | None = Field(None, description="mean share of the picture that is dark in every channel")
    colored_share: float | None = Field(None, description="share of the time with visible color anywhere")
    colorful_share: float | None = Field(None, description="share of the time with three or more vivid colors")
    moving_share: float | None = Field(None, description="share of the time in which anything visibly moves")
    loudness_db: float | None = Field(None, description="RMS level, dBFS; None without sound")
    silence_share: float | None = Field(None, description="share of the scene below -50 dBFS; None without sound")


class ActiveArea(Fact):
    """The part of the displayed picture inside black bars, in pixels of the displayed picture.

    Exact to about 1 % of the picture's sides; thinner bars are ignored.
    """

    x: int = Field(description="left edge")
    y: int = Field(description="upper edge")
    width: int = Field(description="width")
    height: int = Field(description="height")


class Scene(Fact):
    """One scene: from `start_s` up to, not including, `end_s`."""

    index: int = Field(description="number of the scene, from 0")
    start_s: float = Field(description="time of its first frame")
    end_s: float = Field(description="time of the first frame after it")
    start_frame: int = Field(description="number of its first frame")
    end_frame: int = Field(description="exclusive")
    thumbnail: str | None = Field(None, description="path of a JPEG, relative to the home")
    frames: int = Field(0, description="number of its frames in the frame pack, which the describing model sees")
    frames_version: str = Field("", description="hash of the times and sizes of these frames")
    active_area: ActiveArea | None = Field(None, description="None: the whole picture")
    stats: SceneStats = Field(description="measurements")


#: left, top, width, height as shares of the picture, 0 to 1
Box = tuple[float, float, float, float]


class Face(Fact):
    """One face in one frame."""

    box: Box = Field(description="where it is: left, top, width, height as shares of the picture")
    confidence: float = Field(ge=0, le=1, description="0 to 1")


class PackedFrame(Fact):
    """One JPEG in a frame pack.

    `offset` and `length` are in bytes, `width` and `height` in pixels. `faces` are those that are blurred in it; None:
    nobody looked for faces, and none is blurred.
    """

    time_s: float
    scene: int
    offset: int
    length: int
    width: int
    height: int
    faces: tuple[Face, ...] | None = None


class PackReference(Fact):
    """Refers to a frame pack and its manifest.

    `version` covers the times and sizes of frames and thumbnails, not the bytes of the JPEGs.
    """

    version: str = Field(description="version of the pack")
    path: str = Field(description="folder with frames.pack and manifest.json, relative to the home")
    frames: int = Field(description="number of frames")
    bytes: int = Field(description="its size")


class Damage(Fact):
    """What is missing from a file or failed to decode. The rest of a damaged video is processed."""

    errors: int = Field(0, description="number of decoder messages")
    messages: tuple[str, ...] = Field((), description="the first few distinct ones")
    decoded_s: float | None = Field(None, description="duration that was decoded")
    expected_s: float | None = Field(None, description="duration that was expected")
    truncated: bool = Field(False, description="the file ends before the duration in its header")
    sentence: str = Field("", description="what is wrong, in one sentence")


class Thumbnail(Fact):
    """A thumbnail; `path` is relative to the home."""

    time_s: float = Field(description="time of the frame")
    scene: int = Field(description="number of its scene")
    path: str = Field(description="path of the JPEG")
