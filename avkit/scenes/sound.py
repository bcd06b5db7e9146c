# SPDX-License-Identifier: Apache-2.0
"""The sound of a scene: a two-second loop per class, pitch and rhythm, synthesised once, then cut, shaped and added.

Each class keeps its own overtones, resonances and modulation at every pitch, so that its timbre alone identifies it.
Every loop has the same power; how loud a thing is depends on its gain and loudness only.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from avkit.batch import SAMPLE_RATE
from avkit.scenes.world import RHYTHMS, Scene, Span, Thing

#: Seconds of a loop. Frequencies below are multiples of half a hertz, so that loops close without a click.
LOOP = 2
#: Root mean square of a sound of gain 1 and loudness 1.
LEVEL = 0.12
_ROW = SAMPLE_RATE // 10
_FADE = SAMPLE_RATE // 100
_NOISE_SECONDS = 20

Wave = NDArray[np.float64]
_T = np.arange(LOOP * SAMPLE_RATE) / SAMPLE_RATE


def render_sound(scene: Scene) -> NDArray[np.float32]:
    """The sound of all things, in view or not, with the scene's noise; mono at 16 kHz, (samples,), peak below 1."""
    rows = round(scene.duration * 10)
    wave = LEVEL * 10 ** (-scene.snr / 20) * _noise(scene.texture, rows)
    for thing in scene.things:
        for span in thing.sounding:
            _add(wave, thing, span)
    out = wave.reshape(-1)
    peak = max(float(out.max()), -float(out.min()))
    if peak > 0.95:
        out *= np.float32(0.95 / peak)
    return out


def _add(wave: NDArray[np.float32], thing: Thing, span: Span) -> None:
    """Add one span of a thing's sound to rows of a tenth of a second, (rows, samples)."""
    first = round(span[0] * 10)
    last = round(span[1] * 10)
    seconds = np.arange(len(thing.loudness)) + 0.5
    edges = np.interp(np.arange(first, last + 1) / 10, seconds, thing.loudness).astype(np.float32)[:, None]
    loop = _loop(thing.kind, thing.pitch, thing.rhythm)
    piece = loop[(thing.phase + np.arange(first, last)) % len(loop)]
    ramp = np.arange(_ROW, dtype=np.float32) / np.float32(_ROW)
    piece *= (edges[:-1] + (edges[1:] - edges[:-1]) * ramp) * np.float32(LEVEL * thing.gain)
    fade = (np.arange(_FADE, dtype=np.float32) + np.float32(0.5)) / np.float32(_FADE)
    piece[0, :_FADE] *= fade
    piece[-1, -_FADE:] *= fade[::-1]
    wave[first:last] += piece


@cache
def _loop(kind: int, pitch: int, rhythm: int) -> NDArray[np.float32]:
    """One loop of unit power, as rows of a tenth of a second, (20, 1600)."""
    wave = _VOICES[kind](pitch)
    if RHYTHMS[rhythm] == "pulsing":
        wave = wave * (0.04 + 0.96 * np.clip(0.5 + 1.5 * np.sin(2 * np.pi * 2 * _T), 0, 1))
    wave = wave / np.sqrt(np.mean(wave**2))
    # soft clipping at four times the root mean square limits the peaks of strokes and chirps
    return np.asarray(4 * np.tanh(wave / 4), np.float32).reshape(-1, _ROW)


def _noise(texture: int, rows: int) -> NDArray[np.float32]:
    """Noise of unit power between white and pink; `texture` chooses the part and the mixture."""
    white, pink = _noises()
    mix = texture % 101 / 100
    index = (texture // 101 + np.arange(rows)) % len(white)
    noise: NDArray[np.float32] = white[index] * np.float32(mix**0.5) + pink[index] * np.float32((1 - mix) ** 0.5)
    return noise


@cache
def _noises() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """White and pink noise of unit power, as rows of a tenth of a second."""
    samples = _NOISE_SECONDS * SAMPLE_RATE
    random = np.random.Generator(np.random.PCG64(0)).random((2, samples)) - 0.5
    spectrum = np.fft.rfft(random[1])
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 20 * _NOISE_SECONDS))
    pair = np.stack([random[0], np.fft.irfft(spectrum, samples)])
    pair = (pair / np.sqrt(np.mean(pair**2, axis=1, keepdims=True))).astype(np.float32)
    return pair[0].reshape(-1, _ROW), pair[1].reshape(-1, _ROW)


def _tone(frequency: float, phase: float = 0.0) -> Wave:
    """A sine of the nearest frequency of which the loop holds whole periods."""
    return np.asarray(np.sin(2 * np.pi * round(frequency * LOOP) / LOOP * _T + phase))


def _harmonics(root: float, count: int, level: Callable[[float, int], float], bend: Wave | float = 0.0) -> Wave:
    """Overtones of `root`, each at `level(frequency, number)`; `bend` shifts the phase of the root, in radians."""
    root = round(root * LOOP) / LOOP
    phase = 2 * np.pi * root * _T + bend
    wave = np.zeros_like(_T)
    for n in range(1, count + 1):
        if n * root < 7400:
            wave += level(n * root, n) * np.sin(n * phase + 2.4 * n * n)
    return wave


def _bump(frequency: float, centre: float, width: float) -> float:
    """A resonance: 1 at its centre, falling over `width` octaves."""
    return float(np.exp(-((np.log2(frequency / centre) / width) ** 2)))


def _band(centre: float, width: float, seed: int) -> Wave:
    """Noise around `centre` Hz, `width` octaves wide, that repeats with the loop."""
    random = np.random.Generator(np.random.PCG64(seed)).random(len(_T)) - 0.5
    frequency = np.maximum(np.fft.rfftfreq(len(_T), 1 / SAMPLE_RATE), 1.0)
    wave = np.fft.irfft(np.fft.rfft(random) * np.exp(-((np.log2(frequency / centre) / width) ** 2)), len(_T))
    return np.asarray(wave / np.sqrt(np.mean(wave**2)))


def _since_stroke(rate: float) -> Wave:
    """Seconds since the last of `rate` strokes per second."""
    return (_T * rate % 1) / rate


def _pitched(pitch: int, deep: float, ratio: float = 1.5) -> float:
    """Frequency in Hz of a pitch, from that of the deep one."""
    return deep * ratio**pitch


def _drum(pitch: int) -> Wave:
    root = _pitched(pitch, 130)
    since = _since_stroke(5)
    skin = np.sin(2 * np.pi * root * (since + 0.02 * (1 - np.exp(-since / 0.02)))) * np.exp(-since / 0.06)
    return skin + 0.5 * _band(3 * root, 0.8, 1) * np.exp(-since / 0.015)


def _bell(pitch: int) -> Wave:
    root = _pitched(pitch, 520)
    since = _since_stroke(2)
    wave = np.zeros_like(_T)
    partials = ((1.0, 1.0, 0.5), (2.0, 0.7, 0.35), (2.74, 0.8, 0.3), (3.76, 0.5, 0.2), (5.4, 0.35, 0.12))
    for ratio, amplitude, decay in partials:
        if root * ratio < 7400:
            wave = wave + amplitude * _tone(root * ratio) * np.exp(-since / decay)
    return wave


def _horn(pitch: int) -> Wave:
    return _harmonics(_pitched(pitch, 147), 16, lambda f, n: _bump(f, 620, 0.75) + 0.25 * _bump(f, 1500, 0.4))


def _flute(pitch: int) -> Wave:
    root = _pitched(pitch, 587)
    bend = 0.02 * root / 5 * _tone(5)
    return _harmonics(root, 3, lambda f, n: (1.0, 0.12, 0.05)[n - 1], bend) + 0.08 * _band(2.0 * root, 0.7, 2)


def _clock(pitch: int) -> Wave:
    tick = np.exp(-_since_stroke(4) / 0.012) + 0.6 * np.exp(-((_since_stroke(4) - 0.125) % 0.25) / 0.008)
    return (_band(_pitched(pitch, 2000, 1.4), 0.25, 3) + 0.3 * _band(5500, 0.4, 4)) * tick


def _engine(pitch: int) -> Wave:
    root = _pitched(pitch, 46)
    stroke = 0.55 + 0.45 * np.sign(_tone(root / 2)) * np.abs(_tone(root / 2)) ** 0.5
    low = _harmonics(root, 16, lambda f, n: _bump(f, 190, 0.9))
    return low * stroke + 0.35 * _band(350, 0.6, 5) * stroke


def _siren(pitch: int) -> Wave:
    root = _pitched(pitch, 640, 1.4)
    bend = 0.32 * root / 1 * _tone(1)
    return _harmonics(root, 3, lambda f, n: (1.0, 0.5, 0.35)[n - 1], bend)


def _bird(pitch: int) -> Wave:
    root = _pitched(pitch, 2300, 1.3)
    since = _since_stroke(7)
    rising = since + 3.5 * since**2
    chirp = np.sin(2 * np.pi * root * rising) + 0.15 * np.sin(4 * np.pi * root * rising)
    return chirp * np.clip(since / 0.01, 0, 1) * np.clip((0.09 - since) / 0.02, 0, 1)


def _frog(pitch: int) -> Wave:
    since = _since_stroke(3)
    croak = (0.5 + 0.5 * np.sign(_tone(36))) * np.clip(since / 0.02, 0, 1) * np.clip((0.22 - since) / 0.04, 0, 1)
    centre = _pitched(pitch, 650, 1.35)
    return (_band(centre, 0.22, 6) + 0.5 * _band(2.3 * centre, 0.2, 7)) * croak


def _bee(pitch: int) -> Wave:
    root = _pitched(pitch, 165, 1.4)
    bend = 0.03 * root / 9 * (_tone(9) + 0.7 * _tone(13.5, 1.0))
    buzz = _harmonics(root, 44, lambda f, n: 0.35 * _bump(f, 350, 0.7) + 0.5 * _bump(f, 2600, 0.6), bend)
    return buzz * (0.7 + 0.3 * _tone(22))


def _guitar(pitch: int) -> Wave:
    wave = np.zeros_like(_T)
    for number, interval in enumerate((1.0, 1.25, 1.5, 2.0)):
        since = (_T - number / 4) % 1
        root = _pitched(pitch, 196) * interval
        for n in range(1, 13):
            if n * root < 7000:
                wave += (
                    np.sin(2 * np.pi * n * root * since)
                    / n**0.8
                    * np.exp(-since * (3 + 1.2 * n))
                    * np.clip(since / 0.002, 0, 1)
                )
    return wave


def _kettle(pitch: int) -> Wave:
    return _band(_pitched(pitch, 3400, 1.3), 0.3, 8) + 0.25 * _band(6000, 0.5, 9)


#: In the order of `world.CLASSES`.
_VOICES: tuple[Callable[[int], Wave], ...] = (
    _drum, _bell, _horn, _flute, _clock, _engine, _siren, _bird, _frog, _bee, _guitar, _kettle,
)  # fmt: skip
