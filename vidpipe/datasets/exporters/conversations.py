"""Conversations to fine-tune Qwen-VL and LLaVA-Video: SPLIT.json with one sample per line, and videos/KEY.mp4.

Trainers replace `<video>` by frames and require one per video. So it stands before the first question and nowhere else:
placeholders and control tokens inside descriptions, questions and answers are taken apart.
"""

import re
from collections import defaultdict

from vidpipe.datasets.exporters.exporter import ExportJob
from vidpipe.datasets.item import DatasetItem
from vidpipe.library.queries.json_encoding import to_json

#: What begins like <video>, </s> or <|im_end|>.
_TOKEN = re.compile(r"<(?=[|/\w])")
_DESCRIBE = "Describe this video."
#: How LLaMA-Factory reads the samples.
_COLUMNS = {"formatting": "sharegpt", "columns": {"messages": "conversations", "videos": "video"}}


def export(job: ExportJob) -> None:
    """Write descriptions, and answers to questions about whole videos.

    Option `seen_only`: without descriptions made of measurements, which are true, but not seen.
    """
    seen_only, measured = bool(job.options.get("seen_only")), 0
    samples: dict[str, list[bytes]] = defaultdict(list)
    for item, name in job.with_videos(lambda item: f"videos/{item.key}.mp4" if _turns(item, seen_only) else ""):
        said = [{"from": speaker, "value": text} for speaker, text in _turns(item, seen_only)]
        said[0]["value"] = f"<video>\n{said[0]['value']}"
        about = {"described_by": item.described_by, "measured": item.measured, "versions": item.versions}
        measured += item.measured and not seen_only
        samples[item.split or "train"].append(to_json({"id": item.key, "video": name, "conversations": said, **about}))
    for split, lines in samples.items():
        job.target.write(f"{split}.json", b"[\n" + b",\n".join(lines) + b"\n]\n")
    info = {f"vidpipe_{split}": {"file_name": f"{split}.json", **_COLUMNS} for split in samples}
    job.target.write("dataset_info.json", to_json(info, indent=2) + b"\n")
    if measured:
        job.note(
            f"{measured} described by measurements, not by a model that sees: --seen-only leaves them out. With a model"
            " in [QwenVL] Backend, `vidpipe run` describes them."
        )
    if job.left_out:
        job.note(f"{job.left_out} left out: without an answer or description{' by a model' if seen_only else ''}.")


def _turns(item: DatasetItem, seen_only: bool) -> list[tuple[str, str]]:
    """Return who says what. What is said of a whole video need not hold for a part of it."""
    own = item.whole or any(scene.description for scene in item.scenes)
    described = item.description if own and not (seen_only and item.measured) else ""
    answers = [(one.question, one.in_words) for one in item.answers if item.whole]
    return [
        (speaker, _TOKEN.sub("< ", text.strip()))
        for question, answer in [(_DESCRIBE, described), *answers]
        if question.strip() and answer.strip()
        for speaker, text in (("human", question), ("gpt", answer))
    ]
