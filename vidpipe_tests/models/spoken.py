"""Speech made by espeak-ng, music and noise, as 16-bit mono at 16 kHz."""

from __future__ import annotations

import functools
import shutil
import subprocess

import numpy as np
import pytest

RATE_HZ = 16_000


@functools.cache
def spoken(text: str, voice: str = "en-us", words_per_minute: int = 150) -> bytes:
    """What `voice` says, between half seconds of silence. Skips the test without espeak-ng."""
    program = shutil.which("espeak-ng")
    if program is None:
        pytest.skip("espeak-ng is not installed")
    command = [program, "-v", voice, "-s", str(words_per_minute), "--stdout", text]
    wave = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    convert = ["ffmpeg", "-v", "error", "-i", "pipe:", "-f", "s16le", "-ac", "1", "-ar", str(RATE_HZ), "pipe:"]
    said = subprocess.run(convert, input=wave, capture_output=True, check=True, timeout=60).stdout
    return silence(0.5) + said + silence(0.5)


def silence(seconds: float) -> bytes:
    return bytes(2 * round(seconds * RATE_HZ))


def chords(seconds: float) -> bytes:
    """Chords of a few harmonics that begin anew every half second and fade."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    root = 220 * 2 ** (np.array([0, 5, 7, 3])[(time_s * 2).astype(int) % 4] / 12)
    phase = 2 * np.pi * np.cumsum(root) / RATE_HZ
    tones = sum(np.sin(phase * ratio * part) / part for ratio in (1, 5 / 4, 3 / 2) for part in (1, 2, 3))
    return _as_samples(0.1 * tones * np.exp(-3 * (time_s % 0.5)))


def noise(seconds: float) -> bytes:
    return _as_samples(np.random.default_rng(7).normal(0, 0.1, round(seconds * RATE_HZ)))


def _as_samples(wave: np.ndarray) -> bytes:
    return (np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes()
