"""Word error rate of the speech analysis, and its cost next to faster-whisper's own call.

    python -m benchmarks.speech_accuracy [--model whisper-base] [--models data/models]

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
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from faster_whisper import WhisperModel

from benchmarks.edit_distance import edit_distance
from vidpipe.models.speech import RATE_HZ, SpeechRecognizer
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


def words(text: str) -> list[str]:
    """The words of a text in lower case."""
    return re.findall(r"\w+", text.lower())


def cost(call: Callable[[Any], object], given: Any, sound_s: float) -> float:
    """Processor time of a call, in seconds per minute of sound."""
    began = time.process_time()
    call(given)
    return (time.process_time() - began) * 60 / sound_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("data/models"))
    parser.add_argument("--model", default="whisper-base")
    options = parser.parse_args()
    folders = {name: str(options.models / name) for name in (options.model, "vad-fireredvad")}
    answer = SpeechRecognizer(
        folders=folders, cards={}, threads=2, whisper=options.model, activity="vad-fireredvad", device="cpu",
        language="", beam_size=5,
    )  # fmt: skip
    whisper = WhisperModel(folders[options.model], device="cpu", compute_type="int8", cpu_threads=2)

    def own_call(samples: bytes) -> None:
        sound = np.frombuffer(samples, np.int16).astype(np.float32) / np.float32(32768)
        list(whisper.transcribe(sound, beam_size=5, temperature=0, word_timestamps=True,
                                condition_on_previous_text=False)[0])  # fmt: skip

    for voice, sentences in SENTENCES.items():
        samples = read_aloud(voice)
        request = {"samples": samples, "last": True, "declared": ""}
        sure = [found for found in answer(request)["segments"] if found.confidence >= Speech().min_confidence]
        read, heard = words(" ".join(sentences)), words(" ".join(found.text for found in sure))
        sound_s = len(samples) / 2 / RATE_HZ
        ours, own = cost(answer, request, sound_s), cost(own_call, samples, sound_s)
        print(
            f"{voice}: WER {edit_distance(read, heard) / len(read):.1%} of {len(read)} words; {ours:.1f} s of CPU per "
            f"minute, own call {own:.1f} s, ratio {ours / own:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
