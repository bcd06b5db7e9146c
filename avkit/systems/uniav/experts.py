# SPDX-License-Identifier: Apache-2.0
"""UniAV's experts: one per task, which joint training shares everything else between."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from avkit.errors import unknown_name

#: Commit of the authors' repository.
COMMIT = "dadff1bb3a85080914ff9f52687eed7d1330fd51"


@dataclass(frozen=True)
class Expert:
    """A task that UniAV was trained on, and what is its own.

    Attributes:
        section: Section of the authors' configuration, by which their layers of boundaries are named.
        classes: Number of classes of its dataset.
        aware: Whether every class has boundaries of its own.
        prompt: Sentence of a class.
        features: Text features of its classes, a path in the authors' repository.
        digest: SHA-256 of that file.
    """

    section: str
    classes: int
    aware: bool
    prompt: str
    features: str
    digest: str

    @property
    def outputs(self) -> int:
        """Numbers that its layer of boundaries gives per point."""
        return 2 * self.classes if self.aware else 2


#: Experts by the authors' name of their task: events that are seen and heard (UnAV-100), actions (ActivityNet 1.3),
#: sounds (DESED).
EXPERTS = {
    "AVEL": Expert(
        section="TASK2",
        classes=100,
        aware=True,
        prompt="An audio visual event of {}.",
        features="data/unav100/unav100_prompt.npy",
        digest="2c2f8ef75c2fadfe8ce1a74648600ed175aafc13730fff0fc94e527372706139",
    ),
    "TAL": Expert(
        section="TASK1",
        classes=200,
        aware=False,
        prompt="A visual event of {}.",
        features="data/activitynet13/anet_prompt.npy",
        digest="f926c532505ea9d95b0bced8f48dadbe5bb71f498009bc3f9fb6cb41276e2672",
    ),
    "SED": Expert(
        section="TASK3",
        classes=10,
        aware=True,
        prompt="A sound event of {}.",
        features="data/desed/dcase_prompt.npy",
        digest="75cded913744493e22e928bee4a1382526048d24d090d833438f1b11a150c7d9",
    ),
}
#: The expert of a run that names none.
DEFAULT = "AVEL"

_FEED_FORWARD = re.compile(r"\.(ln2|mlp)_([A-Z]+)\.")
_BOUNDARIES = re.compile(r"^reg_head\.offset_head\.(TASK\d)\.")


def find_expert(name: str) -> Expert:
    """An expert by name.

    Raises:
        ValueError: If there is none.
    """
    if name not in EXPERTS:
        raise unknown_name("expert", name, EXPERTS)
    return EXPERTS[name]


def name_for(expert: str, key: str) -> str:
    """The official key of an expert's layer, from the key as networks of one task have it."""
    key = re.sub(r"\.(ln2|mlp)\.", rf".\1_{expert}.", key)
    return re.sub(r"^reg_head\.offset_head\.", f"reg_head.offset_head.{EXPERTS[expert].section}.", key)


def expert_of(key: str) -> str | None:
    """The expert whose layer an official key is of; None for what all share."""
    if match := _FEED_FORWARD.search(key):
        return match[2]
    if match := _BOUNDARIES.match(key):
        sections = {expert.section: name for name, expert in EXPERTS.items()}
        return sections.get(match[1])
    return None


def experts_in(keys: Iterable[str]) -> list[str]:
    """Experts whose boundaries official keys hold, the default first."""
    present = {expert_of(key) for key in keys if _BOUNDARIES.match(key)}
    return [name for name in EXPERTS if name in present]


def class_sentences(expert: str, classes: Iterable[str]) -> list[str]:
    """The sentence of each class."""
    return [find_expert(expert).prompt.format(name.replace("_", " ")) for name in classes]
