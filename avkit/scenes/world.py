# SPDX-License-Identifier: Apache-2.0
"""What a scene is: its record, and where everything is at a given time.

Positions and sizes are fractions of the picture, x to the right and y down; times are seconds from the start.
All randomness of a scene is in its record: pictures, sound, words and truth follow from it without another draw.
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

#: Radius of each size before it moves with the loudness: 9, 13, 18 and 44 pixels of a picture of 96.
RADII = (9 / 96, 13 / 96, 18 / 96, 44 / 96)

#: Radius over `RADII` and brightness over the pure colour, at loudness e: offset + slope * e.
SWELL = (0.85, 0.3)
GLOW = (0.65, 0.35)

#: How near the centre of each size comes to the border of the picture: its radius at loudness 1. What is huge is seen
#: in close-ups alone, and not as a whole.
MARGINS = (*(radius * sum(SWELL) for radius in RADII[:3]), 0.1)

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing of a scene, seen, heard or both.

    Attributes:
        kind: Index into `CLASSES`.
        colour: Index into `COLOURS`.
        size: Index into `SIZES`.
        pitch: Index into `PITCHES`.
        rhythm: Index into `RHYTHMS`.
        gain: Amplitude of its sound at loudness 1, in [0.5, 1].
        phase: Where in its loop the sound starts, in tenths of a second.
        start: Centre at time 0.
        velocity: Per second; the path reflects at the borders of the picture.
        visible: When it is seen: start and end of each span in seconds. Empty for a thing off screen.
        sounding: When it is heard, likewise.
        loudness: Control points in [0.35, 1] at the middle of each second, linear between them. Sound, radius and
            brightness follow them; a silent thing moves with its own.
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
        """How near its centre comes to the border of the picture."""
        return MARGINS[self.size]

    @property
    def reach(self) -> float:
        """Its largest radius."""
        return RADII[self.size] * sum(SWELL)


@dataclass(frozen=True, slots=True)
class Scene:
    """A clip before it is drawn; everything else about it is computed from this record.

    Attributes:
        split: One of `SPLITS`.
        index: Position in the split.
        duration: Seconds.
        background: Index into `BACKGROUNDS`.
        tints: The two RGB colours of the background, 0 to 255.
        texture: Any whole number; picks the crop of the background, the grain of the pictures and of the noise.
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


def track(scene: Scene, hop: float = 1.0) -> Track:
    """State of every thing in the middle of each step."""
    times, things = scene.times(hop), scene.things
    low = np.array([t.margin for t in things])[:, None, None]
    width = 1 - 2 * low
    velocity = np.array([t.velocity for t in things])[:, None]
    way = np.mod(np.array([t.start for t in things])[:, None] + velocity * times[:, None] - low, 2 * width)
    seconds = np.arange(len(things[0].loudness)) + 0.5
    return Track(
        centre=low + width - np.abs(way - width),
        heading=np.where(way < width, velocity, -velocity),
        loudness=np.stack([np.interp(times, seconds, t.loudness) for t in things]),
        visible=np.stack([inside(times, t.visible) for t in things]),
        sounding=np.stack([inside(times, t.sounding) for t in things]),
    )


def inside(times: NDArray[np.float64], spans: Sequence[Span]) -> NDArray[np.bool_]:
    """Which times lie within one of the spans, end excluded."""
    out = np.zeros(len(times), bool)
    for start, end in spans:
        out |= (times >= start) & (times < end)
    return out


def overlap(a: Sequence[Span], b: Sequence[Span]) -> list[Span]:
    """The maximal spans that lie in both `a` and `b`, in order of time."""
    common = [(max(s, u), min(e, v)) for s, e in a for u, v in b]
    return sorted((s, e) for s, e in common if s < e)


def length(spans: Sequence[Span]) -> float:
    """Total seconds of spans that do not overlap."""
    return sum(e - s for s, e in spans)


def place(start: tuple[float, float], velocity: tuple[float, float], margin: float, at: float) -> tuple[float, float]:
    """Where a path is after `at` seconds, reflected at `margin` from each border; `track` for a single point."""
    width = 1 - 2 * margin
    x = (start[0] + velocity[0] * at - margin) % (2 * width)
    y = (start[1] + velocity[1] * at - margin) % (2 * width)
    return margin + width - abs(x - width), margin + width - abs(y - width)


def swap_scene_sound(scene: Scene, other: Scene) -> Scene:
    """The pictures of `scene` with the sound track of `other`, and so with another truth.

    A thing in view sounds if `other` has a sound of its class, and then moves with that sound; everything else in
    view is silent. What `other` sounds and `scene` does not show is off screen.

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
        sound = sounds.pop(thing.kind, None) if thing.visible else None
        if sound is not None:
            thing = replace(
                sound,
                colour=thing.colour,
                size=thing.size,
                start=thing.start,
                velocity=thing.velocity,
                visible=thing.visible,
            )
        elif thing.visible:
            thing = replace(thing, sounding=())
        else:
            continue
        things.append(thing)
    things += [replace(sound, visible=()) for sound in sounds.values()]
    return replace(scene, snr=other.snr, things=tuple(things or [replace(scene.things[0], visible=(), sounding=())]))
