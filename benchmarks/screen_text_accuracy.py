"""How well text on screen is read: `python -m benchmarks.screen_text_accuracy MODELS [--fonts FOLDER] [--side N]`.

Protocol: each sentence is drawn in white with a dark outline at the place of captions, in frames of 504x280 pixels
(what the pack holds of 16:9 video), in three sizes (14, 18 and 26 pixels) on three backgrounds (dark, a gradient of
colors, noise), and encoded as JPEG with quality 85: nine frames a sentence, eight sentences a script. DejaVu Sans for
European scripts, Noto Sans CJK for the others (Debian: fonts-dejavu-core, fonts-noto-cjk). Each frame takes the
stage's way from the worker's function to `blocks`. Spaces do not count. The character error rate is the sum of edit
distances to the sentences through the sum of their lengths; lost is the share of frames in which nothing was read,
invented the number of characters read that are not in the sentence through the sum of lengths.

The table ends with scripts that the model has no characters for. They must be lost, not read as something else.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from benchmarks.edit_distance import edit_distance
from vidpipe.models.screen_text import load
from vidpipe.stages.analyses.screen_lines import blocks
from vidpipe.stages.analyses.screen_text import SIDE

MODEL = "ocr-ppocr-v6-small"
SIZE, FONT_SIZES, MIN_CONFIDENCE = (504, 280), (14, 18, 26), 0.6
_EUROPEAN, _EAST_ASIAN = "DejaVuSans.ttf", "NotoSansCJK-Regular.ttc"
#: Script -> whether the model has its characters, font, sentences.
SCRIPTS: dict[str, tuple[bool, str, str]] = {
    "Latin": (True, _EUROPEAN, """The quick brown fox jumps over
        Breaking news from the city
        Subscribe for more videos
        Chapter 4: The long way home
        Mix 250 g of flour and salt
        What are you doing here?
        Copyright 2026 Harbour Films
        I never said that, did I?"""),
    "Latin with diacritics": (True, _EUROPEAN, """Grüße aus München und Köln
        Ça va très bien, à bientôt
        Příliš žluťoučký kůň úpěl
        Zażółć gęślą jaźń, proszę
        El niño volverá mañana
        Räksmörgås på en ö i sjön
        Não há razão para ação
        İstanbul'da güneşli bir gün"""),
    "Chinese": (True, _EAST_ASIAN, """今天的天气非常好
        欢迎来到我们的频道
        请在评论区告诉我你的想法
        这个房间需要安装吊顶吗
        第三章：回家的路
        加入两百克面粉和盐
        他们已经离开这座城市
        謝謝大家收看這個節目"""),
    "Japanese": (True, _EAST_ASIAN, """今日はとても良い天気ですね
        ご視聴ありがとうございました
        チャンネル登録をお願いします
        東京タワーへ行きましょう
        カメラをゆっくり動かして
        これはペンではありません
        次の駅で降りてください
        おいしいラーメンの作り方"""),
    "Korean": (False, _EAST_ASIAN, """안녕하세요 여러분
        오늘 날씨가 정말 좋습니다
        구독과 좋아요 부탁드립니다
        서울에서 부산까지
        이것은 무엇입니까
        다음 시간에 만나요
        맛있는 김치찌개 만들기
        감사합니다"""),
    "Greek": (False, _EUROPEAN, """Καλημέρα σε όλους
        Η Αθήνα είναι πρωτεύουσα
        Τι κάνεις σήμερα το βράδυ
        Ευχαριστώ πολύ για όλα
        Το σπίτι είναι μεγάλο
        Πού πηγαίνουμε τώρα
        ΕΙΔΗΣΕΙΣ ΤΩΡΑ
        Ο καιρός αύριο"""),
    "Cyrillic": (False, _EUROPEAN, """Сегодня будет хорошая погода
        Привет, мир! Как дела?
        КИНОТЕАТР ОТКРЫТ
        НОВОСТИ ЧАСА
        Москва и область
        Спасибо за просмотр
        РЕСТОРАН У МОРЯ
        Следующая станция Парк"""),
}  # fmt: skip


def frame(text: str, font: Path, size: int, background: str) -> bytes:
    """A JPEG of `SIZE` with one caption on a background: dark, colors or noise."""
    random = np.random.default_rng(7)
    if background == "colors":
        left, right = np.array([200, 120, 40]), np.array([40, 130, 210])
        share = np.linspace(0, 1, SIZE[0])[None, :, None]
        picture = Image.fromarray(np.broadcast_to(left + (right - left) * share, (*SIZE[::-1], 3)).astype(np.uint8))
    elif background == "noise":
        picture = Image.fromarray(random.integers(0, 256, (*SIZE[::-1], 3), np.uint8))
        picture = picture.filter(ImageFilter.GaussianBlur(2))
    else:
        picture = Image.new("RGB", SIZE, (25, 28, 35))
    place, drawn_with = (SIZE[0] // 2, SIZE[1] - 30), ImageFont.truetype(str(font), size)
    ImageDraw.Draw(picture).text(
        place, text, font=drawn_with, fill="white", anchor="mm", stroke_width=1, stroke_fill="black"
    )
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=85)
    return encoded.getvalue()


def error_rates(folder: Path, fonts: Path, side: int) -> Iterator[tuple[str, float, float, float]]:
    """Yield each script, its character error rate, share of frames without any text, share of invented characters."""
    answer = load(folders={MODEL: folder}, cards={}, threads=2, side=side)
    for script, (_, font, sentences) in SCRIPTS.items():
        wrong = lost = invented = letters = frames = 0
        path = next(iter(sorted(fonts.rglob(font))), None)
        if path is None:
            sys.exit(f"{font} is not below {fonts}: apt install fonts-dejavu-core fonts-noto-cjk, or give --fonts.")
        for sentence in map(str.strip, sentences.splitlines()):
            jpegs = [frame(sentence, path, size, on) for size in FONT_SIZES for on in ("dark", "colors", "noise")]
            for readings in answer({"jpegs": jpegs}):
                found = blocks(readings, SIZE[0] / SIZE[1], MIN_CONFIDENCE)
                read, meant = ("".join(text.split()) for text in (" ".join(one.text for one in found), sentence))
                wrong += edit_distance(read, meant)
                invented += (Counter(read) - Counter(meant)).total()
                lost, letters, frames = lost + (not read), letters + len(meant), frames + 1
        yield script, wrong / letters, lost / frames, invented / letters


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", type=Path, help="the folder of installed models")
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"))
    parser.add_argument("--side", type=int, default=SIDE)
    options = parser.parse_args()
    print(f"{'script':24} {'error rate':>10} {'lost':>6} {'invented':>9}")
    for script, wrong, lost, invented in error_rates(options.models / MODEL, options.fonts, options.side):
        note = "" if SCRIPTS[script][0] else "  not among the model's characters"
        print(f"{script:24} {wrong:10.1%} {lost:6.0%} {invented:9.1%}{note}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
