# SPDX-License-Identifier: Apache-2.0
"""The record of a scene, and the state of its things at a given time.

Positions and sizes are fractions of the picture, x to the right and y down; times are seconds from the start.
All randomness of a scene is in its record: pictures, sound, captions and targets are computed from it without another
random number.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

CLASSES = ["drum", "bell", "horn", "flute", "clock", "engine", "siren", "bird", "frog", "bee", "guitar", "kettle"]
COLOURS = ["red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "brown", "white"]
SIZES = ["small", "medium", "large", "huge"]
PITCHES = ["deep", "plain", "shrill"]
RHYTHMS = ["steady", "pulsing"]
BACKGROUNDS = ["plain", "striped", "checked", "dotted", "cloudy", "grainy"]
SPLITS = ["train", "val", "test"]

#: Radius of each size before it is scaled by the loudness: 9, 13, 18 and 44 pixels of a picture of 96.
RADII = (9 / 96, 13 / 96, 18 / 96, 44 / 96)

#: Factors of `RADII` and of the pure colour at loudness e, as (offset, slope): offset + slope * e.
RADIUS_SCALE = (0.85, 0.3)
BRIGHTNESS_SCALE = (0.65, 0.35)


def max_radius(size: int) -> float:
    """Radius of a thing of this size at loudness 1, as a fraction of the picture."""
    return RADII[size] * sum(RADIUS_SCALE)


#: Minimum distance of a centre from the border of the picture, for each size: its radius at loudness 1. Huge things
#: appear in close-ups alone, where they extend beyond the picture.
MARGINS = (max_radius(0), max_radius(1), max_radius(2), 0.1)

#: Start and end in seconds; the end is excluded.
Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Thing:
    """One object of a scene: visible, sounding or both.

    Attributes:
        kind: Index into `CLASSES`.
        colour: Index into `COLOURS`.
        size: Index into `SIZES`.
        pitch: Index into `PITCHES`.
        rhythm: Index into `RHYTHMS`.
        gain: Amplitude of its sound at loudness 1, in [0.5, 1].
        phase: Where in its loop the sound starts, in tenths of a second.
        start: Centre at time 0.
        velocity: Per second; the path is reflected at the borders of the picture.
        visible: Start and end in seconds of each span in which it is in view. Empty for a thing off screen.
        sounding: Start and end in seconds of each span in which it sounds.
        loudness: Control points in [0.35, 1] at the middle of each second, linear between them. Volume, radius and
            brightness follow them; a silent thing changes radius and brightness by a loudness of its own.
    """

    kind: int
    colour: int
    size: int
    pitch: int
    rhythm: int
    gain: float
    phase: int
    start: tuple[float, float]
    velocity: tuple[float, float]
    visible: tuple[Span, ...]
    sounding: tuple[Span, ...]
    loudness: tuple[float, ...]

    @property
    def name(self) -> str:
        """Name of its class."""
        return CLASSES[self.kind]

    @property
    def margin(self) -> float:
        """Minimum distance of its centre from the border of the picture."""
        return MARGINS[self.size]


@dataclass(frozen=True, slots=True)
class Scene:
    """The record of a clip; everything else about the clip is computed from it.

    Attributes:
        split: One of `SPLITS`.
        index: Position in the split.
        duration: Seconds.
        background: Index into `BACKGROUNDS`.
        tints: The two RGB colours of the background, 0 to 255.
        texture: Any whole number; picks the crop of the background, the grain of the pictures and the noise.
        snr: Level of a thing of gain 1 and loudness 1 over the background noise, in dB.
        things: In drawing order, later ones in front.
    """

    split: str
    index: int
    duration: float
    background: int
    tints: tuple[tuple[float, float, float], tuple[float, float, float]]
    texture: int
    snr: float
    things: tuple[Thing, ...]

    def times(self, hop: float = 1.0) -> NDArray[np.float64]:
        """Middle of each step of `hop` seconds, (T,)."""
        steps = round(self.duration / hop) if hop > 0 else 0
        if steps < 1:
            raise ValueError(
                f"hop={hop} s does not fit a scene of {self.duration} s. Give a step from above 0 to {self.duration}."
            )
        return np.asarray((np.arange(steps) + 0.5) * hop, np.float64)


@dataclass(frozen=True, slots=True)
class Track:
    """State of N things at T steps.

    Attributes:
        centre: float64 (N, T, 2), x and y.
        heading: float64 (N, T, 2), velocity after reflection at the borders.
        loudness: float64 (N, T).
        visible: bool (N, T).
        sounding: bool (N, T).
    """

    centre: NDArray[np.float64]
    heading: NDArray[np.float64]
    loudness: NDArray[np.float64]
    visible: NDArray[np.bool_]
    sounding: NDArray[np.bool_]

    @property
    def sources(self) -> NDArray[np.int64]:
        """Numbers of the things that sound in view in some step, (K,), in drawing order."""
        return np.flatnonzero((self.visible & self.sounding).any(1))


def track(scene: Scene, hop: float = 1.0) -> Track:
    """State of every thing in the middle of each step of `hop` seconds."""
    things = scene.things
    times = scene.times(hop)
    margin = np.array([t.margin for t in things])[:, None, None]
    start = np.array([t.start for t in things])[:, None]
    velocity = np.array([t.velocity for t in things])[:, None]
    width = 1 - 2 * margin
    travelled = np.mod(start + velocity * times[:, None] - margin, 2 * width)
    seconds = np.arange(len(things[0].loudness)) + 0.5
    return Track(
        centre=margin + width - np.abs(travelled - width),
        heading=np.where(travelled < width, velocity, -velocity),
        loudness=np.stack([np.interp(times, seconds, t.loudness) for t in things]),
        visible=np.stack([within_spans(times, t.visible) for t in things]),
        sounding=np.stack([within_spans(times, t.sounding) for t in things]),
    )


def position(
    start: tuple[float, float], velocity: tuple[float, float], margin: float, at: float
) -> tuple[float, float]:
    """Position after `at` seconds on a path reflected at `margin` from each border; `track` for a single point."""
    width = 1 - 2 * margin
    x = (start[0] + velocity[0] * at - margin) % (2 * width)
    y = (start[1] + velocity[1] * at - margin) % (2 * width)
    return margin + width - abs(x - width), margin + width - abs(y - width)


def within_spans(times: NDArray[np.float64], spans: Sequence[Span]) -> NDArray[np.bool_]:
    """Which of the times lie within one of the spans."""
    within = np.zeros(len(times), bool)
    for start, end in spans:
        within |= (times >= start) & (times < end)
    return within


def overlap(a: Sequence[Span], b: Sequence[Span]) -> list[Span]:
    """The maximal spans that lie in both `a` and `b`, in order of time."""
    common = []
    for start_a, end_a in a:
        for start_b, end_b in b:
            start = max(start_a, start_b)
            end = min(end_a, end_b)
            if start < end:
                common.append((start, end))
    return sorted(common)


def total_length(spans: Sequence[Span]) -> float:
    """Total seconds of spans that do not overlap."""
    return sum(end - start for start, end in spans)


def swap_scene_sound(scene: Scene, other: Scene) -> Scene:
    """The pictures of `scene` with the sound of `other`, and hence with other targets.

    A thing in view sounds if `other` has a sound of its class, and then follows the loudness of that sound; everything
    else in view is silent. Sounds of `other` without a thing of their class in view of `scene` are off screen.

    Raises:
        ValueError: If the scenes differ in duration.
    """
    if scene.duration != other.duration:
        raise ValueError(
            f"Scenes of {scene.duration} s and {other.duration} s cannot swap sound. Take two of one duration."
        )
    sounds = {t.kind: t for t in other.things if t.sounding}
    things = []
    for thing in scene.things:
        if not thing.visible:
            continue
        sound = sounds.pop(thing.kind, None)
        things.append(replace(thing, sounding=()) if sound is None else _with_looks(sound, thing))
    for sound in sounds.values():
        things.append(replace(sound, visible=()))
    if not things:
        things.append(replace(scene.things[0], visible=(), sounding=()))
    return replace(scene, snr=other.snr, things=tuple(things))


def _with_looks(sound: Thing, thing: Thing) -> Thing:
    """The sound of one thing with what is visible of another of its class."""
    return replace(
        sound,
        colour=thing.colour,
        size=thing.size,
        start=thing.start,
        velocity=thing.velocity,
        visible=thing.visible,
    )
