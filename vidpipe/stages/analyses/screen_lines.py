"""What the recognizer read in one frame, cleaned, without noise, and with the lines of a block joined."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from vidpipe.stages.analyses.results import Box
from vidpipe.text.messages import single_line

_LONGEST_LINE, _LONGEST_BLOCK, _MOST_LINES = 200, 600, 200
#: Letters and digits in full or half width, and ligatures; punctuation of Chinese texts stays as it is.
_FORMS = re.compile("[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\uff66-\uff9f\ufb00-\ufb06]+")
_UNSPACED = "[\u2e80-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]"
#: The border of two parts of a row in scripts that are written without spaces.
_NO_SPACE = re.compile(f"(?<={_UNSPACED})\n(?={_UNSPACED})")
#: What PP-OCR makes of scripts that it has no characters for: Greek with holes, Indic and Thai letters as zeros.
_UNREAD = re.compile(r"[0Oo\s.,:]*|.*[\u0370-\u03ff\u1f00-\u1fff]{2}.*")
#: Capitals that Cyrillic ones look like, and the least confidence of a text of nothing else: PP-OCR has no Cyrillic
#: characters, and reads such texts as these letters with 0.65 to 0.95, Latin ones with more.
_LOOKALIKES, _SURELY_LATIN = re.compile(r"[ABCEHIKMOPTXY\W]*"), 0.96


class TextBlock(NamedTuple):
    """Lines that belong together, in one frame.

    Attributes:
        text: Their text.
        box: Their place, as shares of the picture.
        confidence: The mean of their confidences, weighted by their lengths.
        size: Height of a line (of a vertical one: its width) as a share of the picture's shorter side.
    """

    text: str
    box: Box
    confidence: float
    size: float


def blocks(readings: Iterable[Mapping[str, Any]], aspect_ratio: float, min_confidence: float) -> list[TextBlock]:
    """Return the blocks of one frame.

    Args:
        readings: The model's answer: `text`, `box` and `confidence` of each line.
        aspect_ratio: Width of the frame through its height.
        min_confidence: Lines of lower confidence are left out.
    """
    read = [_line(reading, aspect_ratio) for reading in readings if reading["confidence"] >= min_confidence]
    lines = sorted((line for line in read if line.text), key=lambda line: (line.box[1], line.box[0]))[:_MOST_LINES]
    joined: list[list[TextBlock]] = []
    for line in lines:
        near = next((block for block in joined if any(_adjoin(other, line, aspect_ratio) for other in block)), [])
        if not near:
            joined.append(near)
        near.append(line)
    return [block for block in map(_block, joined) if _is_text(block)]


def _is_text(block: TextBlock) -> bool:
    """Return whether a block has letters or digits that are not the remains of a script that the model cannot read."""
    if sum(map(str.isalnum, block.text)) < 2 or _UNREAD.fullmatch(block.text):
        return False
    return block.confidence >= _SURELY_LATIN or not _LOOKALIKES.fullmatch(block.text)


def overlap(one: Box, other: Box) -> float:
    """Return the common area of two boxes as a share of the smaller one."""
    width, height = (max(0.0, _common(one, other, axis)) for axis in (0, 1))
    smaller = min(one[2] * one[3], other[2] * other[3])
    return width * height / smaller if smaller else 0.0


def _line(reading: Mapping[str, Any], aspect_ratio: float) -> TextBlock:
    left, top, width, height = (float(share) for share in reading["box"])
    text = _FORMS.sub(lambda found: unicodedata.normalize("NFKC", found[0]), str(reading["text"]))
    size = min(width * max(1.0, aspect_ratio), height * max(1.0, 1 / aspect_ratio))
    return TextBlock(single_line(text, _LONGEST_LINE), (left, top, width, height), float(reading["confidence"]), size)


def _common(one: Box, other: Box, axis: int) -> float:
    """Return how far two boxes overlap along an axis; negative: the gap between them."""
    return min(one[axis] + one[axis + 2], other[axis] + other[axis + 2]) - max(one[axis], other[axis])


def _adjoin(above: TextBlock, below: TextBlock, aspect_ratio: float) -> bool:
    """Return whether two horizontal lines are neighbors in a row or one below the other."""
    if max(above.size, below.size) > 1.6 * min(above.size, below.size):
        return False
    if any(line.box[3] > 1.5 * line.box[2] * aspect_ratio for line in (above, below)):
        return False
    height = min(above.box[3], below.box[3])
    across, down = (_common(above.box, below.box, axis) for axis in (0, 1))
    same_row = down > 0.6 * height and across * aspect_ratio > -height
    return same_row or (down > -0.5 * height and across > 0.5 * min(above.box[2], below.box[2]))


def _block(lines: Sequence[TextBlock]) -> TextBlock:
    rows: list[list[TextBlock]] = []
    for line in lines:
        if not rows or _common(rows[-1][0].box, line.box, 1) <= 0.6 * line.box[3]:
            rows.append([])
        rows[-1].append(line)
    parts = ("\n".join(line.text for line in sorted(row, key=lambda line: line.box[0])) for row in rows)
    text = " ".join(_NO_SPACE.sub("", row).replace("\n", " ") for row in parts)
    left, top = (min(line.box[axis] for line in lines) for axis in (0, 1))
    right, bottom = (max(line.box[axis] + line.box[axis + 2] for line in lines) for axis in (0, 1))
    letters, size = sum(len(line.text) for line in lines), sum(line.size for line in lines) / len(lines)
    confidence = sum(line.confidence * len(line.text) for line in lines) / letters
    return TextBlock(
        text[:_LONGEST_BLOCK], (left, top, round(right - left, 4), round(bottom - top, 4)), confidence, size
    )
