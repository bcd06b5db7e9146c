# SPDX-License-Identifier: Apache-2.0
"""Which of the annotated frames of a clip its steps keep: those nearest to the middle of a step."""

from avkit.datasets.converters.notes import ClipNotes, Track
from avkit.datasets.converters.shapes import Box, Shape


def shapes_by_time(notes: ClipNotes, duration: float, hop: float) -> dict[float, list[Shape]]:
    """Shapes of each frame that is kept, by its time in seconds.

    Training looks at one picture per step, taken in its middle, so of several annotated frames in a step the nearest
    is kept. Tracks are read in the middle of each step.

    Args:
        notes: What is known of the clip.
        duration: Seconds that it lasts.
        hop: Seconds of a step.
    """
    kept: dict[int, float] = {}
    for time in sorted(notes.frames):
        step = int(time / hop + 1e-6)
        distance = abs(time - (step + 0.5) * hop)
        if step not in kept or distance < abs(kept[step] - (step + 0.5) * hop):
            kept[step] = time
    shapes: dict[float, list[Shape]] = {time: list(notes.frames[time]) for time in kept.values()}
    for step in range(max(1, round(duration / hop)) if notes.tracks else 0):
        time = kept.get(step, min((step + 0.5) * hop, duration / 2 if duration < hop else duration))
        visible = [shape for track in notes.tracks if (shape := _shape_at(track, time)) is not None]
        if visible:
            shapes.setdefault(time, []).extend(visible)
    return dict(sorted(shapes.items()))


def _shape_at(track: Track, time: float) -> Shape | None:
    """Where an object is at a time: a box between its neighbours, any other shape as it was last."""
    before = None
    after = None
    for sighting in track.sightings:
        if sighting.time <= time + 1e-6:
            before = sighting
        elif after is None:
            after = sighting
    if before is None or before.shape is None:
        return None
    if after is None or not isinstance(before.shape, Box) or not isinstance(after.shape, Box):
        return before.shape
    return before.shape.towards(after.shape, (time - before.time) / (after.time - before.time))
