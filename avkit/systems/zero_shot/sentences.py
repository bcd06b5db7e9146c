# SPDX-License-Identifier: Apache-2.0
"""A sentence for each source that is heard in a step: what it is, where it is, how it moves."""

from avkit.systems.zero_shot.observation import Observation, Track

#: Shares of the picture's width at which the left and the right side end.
LEFT_END = 0.4
RIGHT_START = 0.6
#: Share of the width by which a box has moved when that is worth a word.
_MOVED = 0.15


def place_of(centre: float) -> str:
    """`left`, `middle` or `right` for a share of the width."""
    if centre < LEFT_END:
        return "left"
    return "right" if centre > RIGHT_START else "middle"


def step_sentences(observation: Observation) -> list[str]:
    """The sentences of each step, joined; empty where nothing is heard."""
    texts = []
    for step in range(observation.steps):
        sounding = [number for number in observation.sounding if bool(observation.active[step, number])]
        sentences = [_sentence(observation, number, step) for number in sounding[: observation.max_names]]
        texts.append(" ".join(sentences))
    return texts


def _sentence(observation: Observation, number: int, step: int) -> str:
    target = observation.targets[number]
    name = target.name.replace("_", " ")
    where = _where(observation, number, step)
    if not target.object or target.object in name.lower() or name.lower() in target.object:
        return f"{_with_article(target.object or name)} is heard{where}."
    comma = ":" if where.startswith(" on") or where.startswith(" in") else ","
    if comma == ",":
        return f"{name.capitalize()} is heard{where}."
    return f"{name.capitalize()} is heard: {_with_article(target.object).lower()}{where}."


def _where(observation: Observation, number: int, step: int) -> str:
    """The place of a source in a step, such as ` on the left`; empty where nothing tells."""
    if observation.tracks is None or number not in {track.target for track in observation.tracks}:
        return ""
    track = observation.track(number)
    centre = None if track is None else _centre_at(track, step)
    if track is None or centre is None:
        return " and not seen"
    place = place_of(centre)
    text = " in the middle" if place == "middle" else f" on the {place}"
    before = _centre_at(track, step - 1) if step else None
    if before is not None and abs(centre - before) > _MOVED:
        text += f", moving {'right' if centre > before else 'left'}"
    return text


def _centre_at(track: Track, step: int) -> float | None:
    """Horizontal middle of the box of a step; None where there is none."""
    if not float(track.scores[step]):
        return None
    return float(track.boxes[step, [0, 2]].mean())


def _with_article(noun: str) -> str:
    """A noun with its article, as the start of a sentence; plurals and masses go without."""
    if noun.endswith(("s", "water", "music", "thunder", "rain", "wind", "traffic", "ing", "speech", "fire")):
        return noun.capitalize()
    return f"{'An' if noun[:1].lower() in 'aeiou' else 'A'} {noun}"
