# SPDX-License-Identifier: Apache-2.0
"""How metrics of published tables are named in our reports, and boards in our datasets."""

from typing import Literal

#: Published names that differ from ours, by task.
_OURS: dict[str, dict[str, str]] = {
    "avqa": {"Total accuracy": "Overall", "Acc (%)": "Overall", "Accuracy": "Overall", "Avg": "Overall"},
    "avs": {"F-score": "F"},
    "avvp": {
        f"{level}/{name}": f"{level}/{short}"
        for level in ("segment", "event")
        for name, short in (("Audio", "A"), ("Visual", "V"), ("Audio-Visual", "AV"))
    },
    "ssl": {"CIoU": "cIoU@0.5", "cIoU": "cIoU@0.5"},
    "ra_ssu": {"F-score": "F", "BLEU": "BLEU-4"},
    "davel": {"average_mAP": "Avg"},
}
#: What masks of classes are scored by carries this name in front.
_SEMANTIC = ("avsbench-avss", "AVSS")
#: Metrics of cost and of other tasks, which no report of ours has.
NOT_MEASURED = (
    "Params",
    "FPS",
    "FLOPs",
    "FLOPs (G)",
    "Inference time (s)",
    "Training params (M)",
    "J&F",
)
#: Metrics of cost of which less is better.
LOWER_IS_BETTER = ("Params", "FLOPs", "FLOPs (G)", "Inference time (s)", "Training params (M)")
#: Metrics by which each task's methods are ranked, the first one first, as published tables name them.
RANKED_BY = {
    "avqa": ("Overall", "Audio Avg", "Visual Avg", "Audio-Visual Avg"),
    "avs": ("mIoU", "F-score"),
    "avvp": ("segment/Type", "event/Type", "segment/Event", "event/Event"),
    "ssl": ("CIoU", "AUC"),
    "ra_ssu": ("mIoU", "BLEU"),
    "davel": ("Avg",),
    "ave": ("accuracy",),
    "ave_weak": ("accuracy",),
    "ref_avs": ("J&F",),
}
#: Boards that are a release of one of our datasets, which has another name.
_RELEASES = {("music-avqa", "v2"): "music-avqa-v2"}


def our_metric(task: str, dataset: str, published: str) -> str | None:
    """The name in our reports of a published metric; None for one that they do not have.

    Args:
        task: Task, as avkit names it.
        dataset: Dataset or board.
        published: Name in a published table; a name of ours is returned as it is.

    >>> our_metric("avqa", "avqa", "Total accuracy")
    'Overall'
    >>> our_metric("avs", "avsbench-avss", "F-score")
    'AVSS F'
    """
    if published in NOT_MEASURED:
        return None
    name = _OURS.get(task, {}).get(published, published)
    board, prefix = _SEMANTIC
    if dataset == board and name in ("mIoU", "F"):
        return f"{prefix} {name}"
    return name


def unit_of(scale: str) -> Literal["fraction", "number"]:
    """The unit that our reports give to a value of a published scale."""
    return "fraction" if scale in ("percent", "fraction") else "number"


def board_of(dataset: str, release: str = "") -> str:
    """The board on which a result of one of our datasets stands.

    Args:
        dataset: Name of the dataset, as `--data.dataset` takes it.
        release: Release of its annotations.

    >>> board_of("music-avqa", "v2")
    'music-avqa-v2'
    """
    return _RELEASES.get((dataset, release), dataset)


def dataset_of(board: str) -> tuple[str, str]:
    """Our dataset and its release that a board is of; the release is empty where the board has several.

    >>> dataset_of("music-avqa-v2")
    ('music-avqa', 'v2')
    """
    return next((own for own, name in _RELEASES.items() if name == board), (board, ""))
