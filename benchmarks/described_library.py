"""A large library with realistic texts: titles, labels, tags, descriptions, scenes and subtitles that differ.

A few real clips go through the real stages; each is then stored many times over as another video, with texts drawn from
a vocabulary in which, as in a language, the n-th word is n times as rare as the first. Most videos are English, some
German or Chinese. Only what search reads differs; no file belongs to a copy.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from benchmarks.synthetic_library import fill, make_prototypes
from vidpipe.library.changes import Changes
from vidpipe.library.library import Library
from vidpipe.library.videos import chunked
from vidpipe.settings import Settings
from vidpipe.text.names import RESOLUTIONS

SCENES_PER_VIDEO = 5
_PROTOTYPES = 8
_BATCH = 1000
_VOCABULARY = 30_000

_ENGLISH = """
the a of and to in is with on that it as for by at from an are his her their two into this one or over while who then
which has up out through there people near back they man woman street car water white black red blue green house tree
hand small large old young behind front side light dark night day sky road city river mountain beach sea boat harbour
bridge child dog cat horse bird food kitchen table chair window door room wall floor music guitar dance singer stage
crowd game team ball player goal field bike train plane sun rain snow fire smoke flower garden forest grass animal face
hair eyes hat shirt dress shoes phone screen computer book paper camera picture shot scene view close walking running
sitting standing talking looking holding playing driving cooking dancing singing swimming jumping smiling working slowly
quickly happy sad quiet loud bright warm cold interview report weather news lesson recipe history science school market
shop hotel church castle museum factory office hospital farm station airport winter summer spring autumn morning evening
"""
_GERMAN = """
der die und in das mit ein eine ist auf von zu den dem sich im am steht geht vor hinter neben zwei ein über durch nach
Mann Frau Kind Kinder Straße Auto Wasser Haus Häuser Baum Bäume Hand Fenster Tür Zimmer Himmel Stadt Fluss Berg Strand
Meer Hafen Brücke Hund Katze Vogel Küche Tisch Musik Bühne Spiel Mannschaft Fahrrad Zug Sonne Regen Schnee Feuer Garten
Wald Wiese Gesicht Haare Augen Hut Kleid Kamera Bild Szene läuft sitzt spricht schaut hält spielt fährt kocht tanzt
singt schwimmt springt lächelt arbeitet langsam schnell fröhlich traurig leise laut hell warm kalt Wetter Nachrichten
Unterricht Rezept Geschichte Schule Markt Kirche Schloss Bahnhof Flughafen Winter Sommer Frühling Herbst Morgen Abend
"""
_CHINESE = """
的 一个 在 和 是 男人 女人 孩子 街道 汽车 水 房子 树 手 窗户 门 房间 天空 城市 河流 山 海滩 大海 港口 桥 狗 猫
鸟 厨房 桌子 音乐 舞台 比赛 球队 自行车 火车 太阳 雨 雪 火 花园 森林 草地 脸 头发 眼睛 帽子 衣服 相机 画面
场景 走 坐 说话 看 拿着 玩 开车 做饭 跳舞 唱歌 游泳 微笑 工作 慢慢 快乐 安静 明亮 天气 新闻 学校 市场 教堂
长城 车站 机场 冬天 夏天 早上 晚上
"""
_CATEGORIES = """
Nature Sports Music News Education Cooking Travel Technology Gaming Fashion Animals History Science Comedy Documentary
Family Business Health Weather Unclassified
"""
_SIZES = {"SD": (640, 360), "HD": (1280, 720), "Full HD": (1920, 1080), "2K": (2560, 1440), "4K": (3840, 2160)}
_AUDIO = {"english": "eng", "german": "deu", "chinese": "zho"}


class Words:
    """Draws the words of one language; the n-th is n times as rare as the first.

    Attributes:
        vocabulary: The words, the most frequent first.
    """

    def __init__(self, vocabulary: Sequence[str], seed: int, joint: str = " ") -> None:
        self.vocabulary = vocabulary
        self._joint = joint
        self._random = random.Random(seed)
        self._weights = list(accumulate(1 / rank for rank in range(1, len(vocabulary) + 1)))

    def draw(self, count: int) -> list[str]:
        return self._random.choices(self.vocabulary, cum_weights=self._weights, k=count)

    def text(self, count: int) -> str:
        """About `count` words."""
        text = self._joint.join(self.draw(self._random.randint(count * 3 // 4, count * 5 // 4)))
        return f"{text[0].upper()}{text[1:]}."


def english() -> list[str]:
    """The English vocabulary: the usual words of descriptions, words of the sentiment lexicon, invented rare ones."""
    pick = random.Random(1)
    lexicon = [word for word in SentimentIntensityAnalyzer().lexicon if word.isalpha() and word.isascii()]
    pick.shuffle(lexicon)
    known = dict.fromkeys([*_ENGLISH.split(), *lexicon])
    while len(known) < _VOCABULARY:
        syllables = (pick.choice("bcdfghklmnprstvw") + pick.choice(("a", "e", "i", "o", "u", "ea")) for _ in range(3))
        known["".join(syllables) + pick.choice(("n", "r", "l", "ng", "ton", "field", "ing", "s"))] = None
    return list(known)


def fill_described(library: Library, settings: Settings, folder: Path, videos: int) -> None:
    """Bring the library to `videos` videos with `SCENES_PER_VIDEO` scenes each on average."""
    fill(library, settings, make_prototypes(folder, _PROTOTYPES), _PROTOTYPES)
    prototypes = list(library.collections["videos"].find())
    scenes = library.collections["scenes"].find_one() or {}
    changes = Changes(library.collections)
    made = _videos(prototypes, scenes, videos - len(prototypes))
    for batch in chunked(made, _BATCH):
        for (video, _), seq in zip(batch, changes.take(len(batch)), strict=True):
            video["change_seq"] = seq
        library.collections["scenes"].insert_many([row for _, rows in batch for row in rows], ordered=False)
        library.collections["videos"].insert_many([video for video, _ in batch], ordered=False)


def _videos(
    prototypes: Sequence[dict[str, Any]], scene: dict[str, Any], count: int
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    pick = random.Random(2)
    languages = {
        "english": Words(english(), 3), "german": Words(_GERMAN.split(), 4),
        "chinese": Words(_CHINESE.split(), 5, joint=""),
    }  # fmt: skip
    labels = Words([f"{word} {number}" for number in range(4) for word in _ENGLISH.split()[60:110]], 6)
    tags = Words([word.capitalize() for word in _ENGLISH.split()[40:]], 7)
    categories = Words(_CATEGORIES.split(), 8)
    sizes = Words([name for name in ("Full HD", "HD", "SD", "4K", "2K") if name in RESOLUTIONS], 9)
    codecs = Words(("h264", "hevc", "vp9", "av1", "mpeg4"), 10)
    first = datetime.now(UTC) - timedelta(days=700)
    for number in range(count):
        sha256 = hashlib.sha256(f"described {number}".encode()).hexdigest()
        video = dict(prototypes[number % len(prototypes)])
        language = pick.choices(("english", "german", "chinese"), (90, 7, 3))[0]
        words = languages[language]
        duration_s = round(min(7200.0, pick.lognormvariate(4.5, 1.2)), 3)
        (size,), (codec,), (category,) = sizes.draw(1), codecs.draw(1), categories.draw(1)
        name = f"{'_'.join(words.draw(2))}{pick.choice(('', '2019', '_v2', ' final'))}-{number:06d}.mp4"
        generation = sha256[:16]
        video |= {
            "_id": sha256,
            "added_at": first + timedelta(minutes=10 * number),
            "scene_generation": generation,
            "ingest": video["ingest"] | {
                "names": [name], "urls": [f"https://videos.example/{words.draw(1)[0]}/{number % 977}/{name}"],
                "labels": sorted(set(labels.draw(pick.randrange(3)))),
                "titles": [words.text(5)] if pick.random() < 0.6 else [],
            },
            "metadata": video["metadata"] | {
                "duration_s": duration_s, "frame_rate": pick.choice((24.0, 25.0, 29.97, 30.0, 60.0)),
                "width": _SIZES[size][0], "height": _SIZES[size][1], "resolution": size, "video_codec": codec,
                "audio": [{"index": 1, "codec": "aac", "language": _AUDIO[language]}],
                "subtitles": [{"index": 2, "codec": "subrip", "language": _AUDIO[language]}],
                "cues": [
                    {"stream": 2, "start_s": 3.0 * cue, "end_s": 3.0 * cue + 2.5, "text": words.text(8)}
                    for cue in range(10 if pick.random() < 0.2 else 0)
                ],
            },
            "scenes": video["scenes"] | {"duration_s": duration_s},
            "description": video["description"] | {
                "text": words.text(40), "summary": words.text(12), "keywords": words.draw(4),
            },
            "sentiment": {**video["sentiment"], "label": pick.choice(("positive", "neutral", "negative", "no basis"))},
            "tags": [
                {"tag": tag, "rule": tag.lower(), "given_by": "rule", "evidence": "it says so", "facet": False}
                for tag in dict.fromkeys(tags.draw(pick.randint(2, 8)))
            ],
            "category": video["category"] | {"category": category},
        }  # fmt: skip
        if pick.random() < 0.02:
            video["stages"] = video["stages"] | {
                "tags": video["stages"]["tags"] | {"status": "failed", "error": {"message": "It failed.", "hint": ""}}
            }
        spans = pick.randint(1, 2 * SCENES_PER_VIDEO - 1)
        length_s = duration_s / spans
        yield video, [
            scene | {
                "_id": f"{sha256}:{generation}:{index:05d}", "video": sha256, "generation": generation, "index": index,
                "start_s": round(index * length_s, 3), "end_s": round((index + 1) * length_s, 3),
                "description": words.text(20),
            }
            for index in range(spans)
        ]  # fmt: skip
