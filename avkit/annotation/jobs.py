# SPDX-License-Identifier: Apache-2.0
"""What the page asks of helpers, made ready for them, and what they propose, stored."""

from collections.abc import Mapping
from typing import Any

from avkit.annotation.folder import Folder
from avkit.annotation.helpers import NONE, TASKS, HelperChoice, HelperError, Proposal, Request
from avkit.annotation.labels import make_labels
from avkit.annotation.rows import Change, Item
from avkit.annotation.values import Key
from avkit.annotation.worker import Job, Jobs
from avkit.datasets.json_records import as_number


class ProposalJobs:
    """Jobs of a folder.

    Args:
        folder: The folder.
        choices: The helper of each task.
    """

    def __init__(self, folder: Folder, choices: Mapping[str, HelperChoice]) -> None:
        self.folder = folder
        self.choices = choices
        self.jobs = Jobs(self._store)
        self._edits: dict[int, int] = {}

    def start(self, clip: int, task: str, author: str, wish: Mapping[str, Any]) -> Job:
        """Ask the helper of a task.

        Args:
            clip: Number of the clip.
            task: A key of `TASKS`.
            author: Who asks.
            wish: `object`, `step`, `last`, `box`, `points`, as far as the task takes them.

        Raises:
            HelperError: If there is no helper for it, or the wish is of another form.
        """
        choice = self.choices.get(task)
        if choice is None or choice.name == NONE:
            option = task if task in TASKS else "masks"
            raise HelperError(
                f"No helper {TASKS.get(task, 'does this')}. Start avkit annotate with --{option} NAME to have one; see "
                "docs/annotating.md."
            )
        return self.jobs.add(clip, choice, self._request(clip, wish), author)

    def _request(self, number: int, wish: Mapping[str, Any]) -> Request:
        clip = self.folder.clip(number)
        shape = self.folder.shape(clip)
        items = self.folder.store.items(number)
        labels = make_labels(clip, shape, self.folder.hop, items)
        target = _whole(wish, "object", 0)
        outliner = self.choices.get("masks")
        step = min(max(0, _whole(wish, "step", 0)), shape.steps - 1)
        masks = _masks(items, target)
        names = [item.value["name"] for item in items if item.key == Key("object", target, 0) and item.value]
        (sounding,) = [labels.sounding(entry) for entry in labels.objects if entry.number == target] or [[]]
        return Request(
            path=clip.path,
            hop=self.folder.hop,
            steps=shape.steps,
            duration=shape.duration,
            size=shape.size,
            object=target,
            name=names[0] if names else "",
            step=step,
            last=min(max(0, _whole(wish, "last", step)), shape.steps - 1),
            box=_box(wish.get("box")),
            points=_points(wish.get("points")),
            mask=masks.get(step),
            masks=masks,
            sounding=tuple(k for k, sounds in enumerate(sounding) if sounds),
            classes=tuple(self.folder.corpus.classes) if self.folder.corpus else (),
            outline_with=outliner if outliner is not None and outliner.name != NONE else None,
        )

    def _store(self, job: Job, proposal: Proposal) -> str:
        """Store what a helper proposes; says why it must stop, where a person's mask is in the way."""
        stop = ""
        changes = []
        current = {item.key: item for item in self.folder.store.items(job.clip, brief=True)}
        for key, value in proposal.values.items():
            there = current.get(key)
            is_made = there is not None and there.value is not None and "proposed" not in there.value
            if is_made and job.choice.task != "masks":
                stop = f"Step {key.step + 1} has a {key.kind} that a person accepted; it stopped there."
                continue
            changes.append(Change(key, {**value, "proposed": value.get("proposed", job.choice.name)}, None))
        if changes:
            shape = self.folder.shape(self.folder.clip(job.clip))
            before = self._edits.get(job.number)
            items = self.folder.store.edit(job.clip, job.author, changes, shape, together_with=before)
            self._edits.setdefault(job.number, items[0].edit)
        return stop


def _masks(items: list[Item], target: int) -> dict[int, dict[str, Any]]:
    masks = {}
    for item in items:
        if item.key.kind == "mask" and item.key.object == target and item.value is not None:
            masks[item.key.step] = item.value
    return masks


def _whole(wish: Mapping[str, Any], key: str, default: int) -> int:
    value = wish.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise HelperError(f"{key} is {value!r}; it is a whole number.")
    return value


def _numbers(values: Any, count: int) -> list[float]:
    numbers = [as_number(value) for value in values] if isinstance(values, list) else []
    checked = [number for number in numbers if number is not None and abs(number) < 1e6]
    if len(checked) != count or len(numbers) != count:
        raise HelperError(f"{values!r} is no list of {count} numbers.")
    return checked


def _box(values: Any) -> tuple[float, float, float, float] | None:
    if values is None:
        return None
    left, top, right, bottom = _numbers(values, 4)
    if not (left < right and top < bottom):
        raise HelperError("The box has no area. Draw it from one corner to the other.")
    return left, top, right, bottom


def _points(values: Any) -> tuple[tuple[float, float, bool], ...]:
    if values is None:
        return ()
    if not isinstance(values, list) or len(values) > 100:
        raise HelperError("points is a list of up to 100 points.")
    points = []
    for point in values:
        if not isinstance(point, list) or len(point) != 3:
            raise HelperError(f"{point!r} is no point: column, row, and whether it lies on the object.")
        x, y = _numbers(point[:2], 2)
        points.append((x, y, bool(point[2])))
    return tuple(points)
