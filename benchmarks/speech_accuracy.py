"""Word error rate of the speech analysis, and its cost next to faster-whisper's own call.

    python -m benchmarks.speech_accuracy [--model whisper-base] [--beam 1 5] [--models data/models]

Protocol: espeak-ng reads ten sentences in each of three languages (voices en-us, de, es; 140 words per minute), with
half a second of silence between them, as one sound of 16-bit mono at 16 kHz. The language is detected. Segments below
the default MinConfidence are dropped, as in the stage. Words are compared in lower case without punctuation; the word
error rate is the least number of inserted, deleted and replaced words as a share of the words read. Numbers are
avoided, because there is more than one way to write them. espeak-ng is a formant synthesizer, which Whisper
understands worse than people. Cost is processor time: of one request to the analysis, and of
`WhisperModel.transcribe` with the same options on the same samples, in one process with the same number of threads.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vidpipe.models.speech import RATE_HZ, load
from vidpipe.settings.analyses import Speech

SENTENCES = {
    "en-us": (
        "The children are playing in the garden behind the house.", "Tomorrow we will travel to the sea by train.",
        "She bought fresh bread and a bottle of milk.", "The museum opens early in the morning.",
        "Please close the window before you leave the room.", "My brother plays the guitar every evening.",
        "The old bridge crosses a wide and quiet river.", "We need more time to finish this work.",
        "The teacher explained the lesson with great patience.", "Many birds fly to the south in autumn.",
    ),
    "de": (
        "Die Kinder spielen im Garten hinter dem Haus.", "Morgen fahren wir mit dem Zug ans Meer.",
        "Sie hat frisches Brot und eine Flasche Milch gekauft.", "Das Museum öffnet früh am Morgen.",
        "Bitte schließen Sie das Fenster, bevor Sie gehen.", "Mein Bruder spielt jeden Abend Gitarre.",
        "Die alte Brücke führt über einen breiten Fluss.", "Wir brauchen mehr Zeit für diese Arbeit.",
        "Der Lehrer erklärte die Aufgabe mit viel Geduld.", "Viele Vögel fliegen im Herbst nach Süden.",
    ),
    "es": (
        "Los niños juegan en el jardín detrás de la casa.", "Mañana viajaremos al mar en tren.",
        "Ella compró pan fresco y una botella de leche.", "El museo abre temprano por la mañana.",
        "Por favor cierre la ventana antes de salir.", "Mi hermano toca la guitarra todas las noches.",
        "El puente viejo cruza un río ancho y tranquilo.", "Necesitamos más tiempo para terminar este trabajo.",
        "El maestro explicó la lección con mucha paciencia.", "Muchos pájaros vuelan hacia el sur en otoño.",
    ),
}  # fmt: skip


def read_aloud(voice: str) -> bytes:
    """The sentences of a voice, as 16-bit mono at 16 kHz."""
    pause = bytes(RATE_HZ)
    said = [pause]
    for sentence in SENTENCES[voice]:
        command = ["espeak-ng", "-v", voice, "-s", "140", "--stdout", sentence]
        wave = subprocess.run(command, capture_output=True, check=True).stdout
        convert = ["ffmpeg", "-v", "error", "-i", "pipe:", "-f", "s16le", "-ac", "1", "-ar", str(RATE_HZ), "pipe:"]
        said += [subprocess.run(convert, input=wave, capture_output=True, check=True).stdout, pause]
    return b"".join(said)


def word_errors(read: str, heard: str) -> tuple[int, int]:
    """Edit distance of the words, and the number of words read."""
    first, second = ("".join(c if c.isalnum() else " " for c in text.lower()).split() for text in (read, heard))
    row = list(range(len(second) + 1))
    for number, word in enumerate(first, start=1):
        previous, row = row, [number]
        for place, other in enumerate(second):
            row.append(min(previous[place + 1] + 1, row[-1] + 1, previous[place] + (word != other)))
    return row[-1], len(first)


def recognizer(models: Path, model: str, *, beam_size: int, threads: int = 2) -> Callable[[bytes], Any]:
    """What the process of the analysis does for a window of sound."""
    names = (model, "vad-fireredvad")
    answer = load(folders={name: str(models / name) for name in names}, cards={}, threads=threads, whisper=names[0],
                  activity=names[1], device="cpu", language="", beam_size=beam_size)  # fmt: skip
    return lambda samples: answer({"samples": samples, "last": True, "declared": ""})


def own_call(models: Path, model: str, *, beam_size: int, threads: int = 2) -> Callable[[bytes], object]:
    """faster-whisper's own call with the same options."""
    from faster_whisper import WhisperModel

    whisper = WhisperModel(str(models / model), device="cpu", compute_type="int8", cpu_threads=threads)

    def transcribe(samples: bytes) -> object:
        sound = np.frombuffer(samples, np.int16).astype(np.float32) / np.float32(32768)
        return list(whisper.transcribe(sound, beam_size=beam_size, temperature=0, word_timestamps=True,
                                       condition_on_previous_text=False)[0])  # fmt: skip

    return transcribe


def seconds_per_minute(call: Callable[[bytes], object], samples: bytes) -> float:
    """Processor time of a call per minute of sound."""
    began = time.process_time()
    call(samples)
    return (time.process_time() - began) * 60 / (len(samples) / 2 / RATE_HZ)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("data/models"))
    parser.add_argument("--model", default="whisper-base")
    parser.add_argument("--beam", type=int, nargs="+", default=[5])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    for beam_size in options.beam:
        chosen: dict[str, Any] = {"beam_size": beam_size, "threads": options.threads}
        request = recognizer(options.models, options.model, **chosen)
        own = own_call(options.models, options.model, **chosen)
        for voice, sentences in SENTENCES.items():
            samples = read_aloud(voice)
            segments = request(samples)["segments"]
            heard = " ".join(found.text for found in segments if found.confidence >= Speech().min_confidence)
            errors, words = word_errors(" ".join(sentences), heard)
            cost = seconds_per_minute(request, samples)
            other = seconds_per_minute(own, samples)
            print(
                f"{options.model} beam {beam_size} {voice}: WER {errors / words:.1%} of {words} words; "
                f"{cost:.1f} s of CPU per minute, own call {other:.1f} s, ratio {cost / other:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
