# SPDX-License-Identifier: Apache-2.0
"""The base class of all metrics: states that can be gathered, and scores with their intervals."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from avkit.metrics.intervals import Floats, ScoreRow, bootstrap, bootstrap_interval, wilson

#: Blocks into which clips are summed for the bootstrap: memory stays the same however many clips there are.
BLOCKS = 2048


class ScoreMetric(Metric):  # type: ignore[misc]
    """A score from sums over clips: higher is better, without gradients, and its state is part of `state_dict`.

    A subclass that calls `add_blocks` in its constructor and `add_clips` in each update, and says in `scores_of_sums`
    how scores are made of sums, gives an interval with each score: see `compute_rows`.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    #: What `ScoreRow.n` counts.
    counted: str = "clips"
    #: Whether reports leave its scores out where no clip had what it scores, in place of NaN.
    omitted_without_data: ClassVar[bool] = False
    #: Names of scores that have no upper end; all others lie in [0, 1].
    unbounded: ClassVar[tuple[str, ...]] = ()
    #: Sums of each block of clips, float64 (BLOCKS, 1 + S), the number of clips first.
    blocks: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._unnamed = 0
        self._empty: dict[str, Tensor] = {}

    def add_state(self, *args: Any, persistent: bool = True, **kwargs: Any) -> None:
        """As in torchmetrics, but persistent by default, so that an evaluation can be resumed from its state."""
        super().add_state(*args, persistent=persistent, **kwargs)

    def add_list_state(self, name: str, empty: Tensor) -> None:
        """A state of tensors that are joined along their first axis.

        Args:
            name: Of the state.
            empty: What stands for no data, of the type and shape of the others with 0 rows: torchmetrics would gather
                float32 from a process without data, which does not fit other types.
        """
        self._empty[name] = empty
        self.add_state(name, default=[], dist_reduce_fx="cat")

    def add_blocks(self, width: int) -> None:
        """Keep S = `width` sums of each block of clips, from which intervals are made."""
        self.add_state("blocks", default=torch.zeros(BLOCKS, 1 + width, dtype=torch.double), dist_reduce_fx="sum")

    def add_clips(self, sums: Tensor, clips: Sequence[str] | None, counted: Tensor | None = None) -> None:
        """Add what clips add to the sums.

        Args:
            sums: (B, S).
            counted: bool (B,), False for clips that have nothing to score. None counts all.
            clips: Names of the clips, by which they are put into blocks, so that two runs on the same clips draw the
                same; rows of one name are parts of one clip. None numbers them.
        """
        numbers = torch.tensor(self._numbers(len(sums), clips), dtype=torch.long, device=self.blocks.device)
        first = torch.ones(len(sums), dtype=torch.double, device=self.blocks.device)
        if clips is not None:  # of rows of one clip the first counts it
            seen: set[str] = set()
            for row, clip in enumerate(clips):
                first[row] = clip not in seen
                seen.add(clip)
        if counted is not None:
            first *= counted.to(first.device)
        rows = torch.cat([first[:, None], sums.detach().to(self.blocks.device, torch.double)], 1)
        self.blocks.index_add_(0, numbers, rows)

    def _numbers(self, count: int, clips: Sequence[str] | None) -> list[int]:
        if clips is not None:
            return [clip_number(clip) % BLOCKS for clip in clips]
        return [number % BLOCKS for number in self.running_numbers(count)]

    def running_numbers(self, count: int) -> list[int]:
        """Numbers of the next `count` entries, as if they were dealt to the processes in turn."""
        rank, processes = rank_and_processes()
        start = self._unnamed
        self._unnamed += count
        return [number * processes + rank for number in range(start, start + count)]

    def scores_of_sums(self, sums: Floats) -> Mapping[str, Floats]:
        """Scores (R,) by name from sums of R sets (R, 1 + S), the number of clips first; names as in `compute`."""
        return {}

    def units(self) -> Floats:
        """Sums of the blocks that hold clips, (N, 1 + S); what the bootstrap draws."""
        if "blocks" not in self._defaults:
            return np.zeros((0, 1))
        blocks = self.blocks.cpu().numpy()
        return np.asarray(blocks[blocks[:, 0] > 0])

    def draws(self) -> Mapping[str, Floats]:
        """Scores in each draw of the bootstrap, (R,) by name; of fewer than two units none."""
        units = self.units()
        return bootstrap(units, self.scores_of_sums) if len(units) > 1 else {}

    def sizes(self) -> Mapping[str, int]:
        """How many clips (see `counted`) make up each score, by name; the name `""` stands for all others."""
        return {"": round(float(self.units()[:, 0].sum()))}

    def shares(self) -> Mapping[str, tuple[float, int]]:
        """Scores that are the share of independent answers: right ones and all, by name."""
        return {}

    def compute_rows(self) -> dict[str, ScoreRow]:
        """Every score of `compute` by name, with how many clips make it up and its 95 % interval.

        A share of n independent answers has Wilson's interval. Other scores have one of a bootstrap over clips; where
        all draws are equal, as for clips that are all right, that of a share of as many clips, which is the widest.
        With several processes all must call it.
        """
        with self._gathered():
            value = type(self).compute(self) if self._computed is None else self._computed
            values = dict(value) if isinstance(value, Mapping) else {"": value}
            draws = self.draws()
            shares = self.shares()
            sizes = self.sizes()
        rows = {}
        for name, score in values.items():
            share = shares.get(name)
            count = share[1] if share else sizes.get(name, sizes.get("", 0))
            rows[name] = self._row(name, float(score), count, share, draws.get(name))
        return rows

    def _row(
        self, name: str, value: float, count: int, share: tuple[float, int] | None, draws: Floats | None
    ) -> ScoreRow:
        counted = self.counted
        if math.isnan(value) or not count:
            return ScoreRow(value, count, counted=counted, draws=draws)
        if share is not None:
            low, high = wilson(*share)
            return ScoreRow(value, count, low, high, counted, draws)
        interval = None if draws is None else bootstrap_interval(value, draws)
        bounded = name not in self.unbounded
        if interval is None and bounded:
            interval = wilson(min(max(value, 0.0), 1.0) * count, count)
        if interval is None:
            return ScoreRow(value, count, counted=counted, draws=draws)
        low, high = interval
        if bounded:
            low = max(0.0, low)
            high = min(1.0, high)
        return ScoreRow(value, count, min(low, value), max(high, value), counted, draws)

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """A bar per score with its 95 % interval; scores without an upper end are left out.

        Args:
            val: Scores by name to draw instead of those of `compute_rows`, as `compute` gives them.
            ax: Axes of matplotlib to draw on; new ones where None.

        Returns:
            The figure and its axes, as in torchmetrics.
        """
        from matplotlib import pyplot

        figure, axes = pyplot.subplots() if ax is None else (ax.get_figure(), ax)
        rows = self.compute_rows()
        if val is not None:
            given = val if isinstance(val, Mapping) else {"": val}
            rows = {name: ScoreRow(float(score), 0) for name, score in given.items()}
        rows = {name: row for name, row in rows.items() if name not in self.unbounded and not math.isnan(row.value)}
        names = [name or type(self).__name__ for name in rows]
        values = [row.value for row in rows.values()]
        axes.barh(names, values)
        for place, row in enumerate(rows.values()):
            if row.low is not None and row.high is not None:
                axes.plot([row.low, row.high], [place, place], color="black")
        axes.set_xlim(0, 1)
        axes.invert_yaxis()
        axes.set_title(type(self).__name__)
        return figure, axes

    @contextmanager
    def _gathered(self) -> Iterator[None]:
        """The states of all processes, as inside `compute`."""
        with self.sync_context(should_sync=self._to_sync, should_unsync=self._should_unsync):
            yield

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather the states of all processes."""
        for name, empty in self._empty.items():
            state = getattr(self, name)
            if isinstance(state, list) and not state:
                state.append(empty.to(self.device))
        super().sync(*args, **kwargs)

    def merge_state(self, incoming_state: "dict[str, Any] | Metric") -> None:
        """Add the state of another metric behind this one's: torchmetrics would put its lists in front."""
        own = {name: _as_list(getattr(self, name)) for name in self._empty}
        super().merge_state(incoming_state)
        self._computed = None
        incoming = incoming_state if isinstance(incoming_state, dict) else incoming_state.metric_state
        for name, state in own.items():
            setattr(self, name, [*state, *_as_list(incoming[name])])

    def joined(self, name: str) -> Tensor:
        """A list state as one tensor: a list before it is gathered, a tensor after."""
        state = getattr(self, name)
        if isinstance(state, Tensor):
            return state
        return torch.cat(state) if state else self._empty[name]

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._unnamed = 0

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._update_count = 1  # else `compute` would warn that there was no update
        self._computed = None


def clip_number(name: str) -> int:
    """A number of 64 bits for a clip's name, the same in every process and run."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


def _as_list(state: list[Tensor] | Tensor) -> list[Tensor]:
    return [state] if isinstance(state, Tensor) else state


def rank_and_processes() -> tuple[int, int]:
    """The number of this process, and how many there are."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()
