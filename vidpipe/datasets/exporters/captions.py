"""Captions beside a video: chapters as WebVTT, and what is said as SubRip."""

from vidpipe.datasets.exporters.exporter import ExportJob
from vidpipe.text.messages import printable, single_line
from vidpipe.text.webvtt import subrip, webvtt

_TITLE_LENGTH, _CUE_LENGTH = 300, 5000


def export_webvtt(job: ExportJob) -> None:
    """Write KEY.vtt per item: the chapters of its container, else its scenes with their descriptions."""
    for item in job.items:
        chapters = [(one.start_s, one.end_s, one.text) for one in item.chapters] or [
            (one.start_s, one.end_s, one.description or f"Scene {one.index + 1}") for one in item.scenes
        ]
        titled = ((start_s, end_s, single_line(title, _TITLE_LENGTH)) for start_s, end_s, title in chapters)
        job.target.write(f"{item.folder}{item.key}.vtt", webvtt(titled).encode())
        job.done(item)


def export_srt(job: ExportJob) -> None:
    """Write KEY.srt per item in which something is said."""
    silent = 0
    for item in job.items:
        if cues := subrip((one.start_s, one.end_s, printable(one.text, _CUE_LENGTH)) for one in item.transcript):
            job.target.write(f"{item.folder}{item.key}.srt", cues.encode())
        silent += not cues
        job.done(item)
    if silent:
        job.note(f"Without a file, because nothing is said in them: {silent}.")
