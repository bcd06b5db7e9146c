# SPDX-License-Identifier: Apache-2.0
"""The models of a system without training, each loaded when a stage first needs it."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from avkit.errors import AvkitError
from avkit.licences import check_licence
from avkit.systems.zero_shot.catalogue import STAGES, Part
from avkit.systems.zero_shot.loading import MissingPart, find_weights

M = TypeVar("M", bound=nn.Module)


class Parts(nn.Module):
    """Models by stage; loaded lazily, those that are missing are noted once and left out.

    Args:
        chosen: The model of each stage; None where the stage is left out.
        weights: Paths of weights by stage.
        offline: Whether nothing may be downloaded.
        accepted: Licences that the user accepts, separated by commas.
    """

    def __init__(
        self, chosen: dict[str, Part | None], weights: dict[str, str | None], *, offline: bool, accepted: str
    ) -> None:
        super().__init__()
        self.chosen = chosen
        self.weights = weights
        self.offline = offline
        self.accepted = accepted
        self.loaded = nn.ModuleDict()
        #: Why a stage cannot run, a sentence, by stage.
        self.missing: dict[str, str] = {}
        #: Files and folders that models were loaded from, by stage.
        self.sources: dict[str, Path] = {}
        #: Seconds that each stage has taken.
        self.seconds: dict[str, float] = {}

    def get(self, stage: str, kind: type[M], device: torch.device) -> M | None:
        """The model of a stage on a device; None where there is none, which `missing` explains.

        Args:
            stage: A key of `STAGES`.
            kind: Class that the model is of.
            device: Where it shall run.
        """
        if not self.can_run(stage):
            return None
        model = self.loaded[stage].to(device)
        assert isinstance(model, kind)
        return model

    def can_run(self, stage: str) -> bool:
        """Whether the model of a stage is here; it is loaded for that."""
        if stage not in self.loaded and stage not in self.missing:
            self._load(stage)
        return stage in self.loaded

    def why_missing(self, stage: str) -> str:
        """Why a stage cannot run, a sentence; empty where it can."""
        return "" if self.can_run(stage) else self.missing[stage]

    def require(self, stage: str, kind: type[M], device: torch.device) -> M:
        """As `get`.

        Raises:
            MissingPart: If there is none.
        """
        model = self.get(stage, kind, device)
        if model is None:
            raise MissingPart(self.missing[stage])
        return model

    @contextmanager
    def timed(self, stage: str, device: torch.device) -> Iterator[None]:
        """A block that counts as work of a stage."""
        start = time.perf_counter()
        with _announced(stage):
            yield
            if device.type == "cuda":
                torch.cuda.synchronize(device)
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def _load(self, stage: str) -> None:
        part = self.chosen[stage]
        if part is None:
            self.missing[stage] = f"{stage}: not run, it was left out ({STAGES[stage]})."
            return
        check_licence("weights", part.name)
        try:
            path = find_weights(part, self.weights[stage], offline=self.offline, accepted=self.accepted)
            model = _build(part, path)
        except MissingPart as error:
            self.missing[stage] = str(error)
            return
        self.sources[stage] = path
        self.loaded[stage] = model.eval().requires_grad_(False)


def _build(part: Part, path: Path) -> nn.Module:
    """The model of a part, with its weights.

    Raises:
        MissingPart: If its library is missing.
        AvkitError: If the weights cannot be read.
    """
    module, _, name = part.location.partition(":")
    try:
        with _quiet():
            model: nn.Module = vars(import_module(module))[name](path)
    except AvkitError:
        raise
    except ImportError as error:
        raise MissingPart(
            f"{part.stage}: not run, {part.title} needs a library that is not here ({_first_line(error)}). Install it "
            f"with pip install 'avkit[zero_shot]', and a torchvision built for torch {torch.__version__}."
        ) from error
    except Exception as error:  # transformers raise many kinds for folders of something else
        raise MissingPart(
            f"{part.stage}: not run, {path} cannot be read as weights of {part.title}: {_first_line(error)} Give the "
            f"folder that 'hf download {part.repository}' makes."
        ) from error
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from telling what it loads."""
    import logging

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        import transformers

        transformers.utils.logging.disable_progress_bar()
    except ImportError:
        pass
    try:
        yield
    finally:
        logging.disable(before)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0][:160] if lines else type(error).__name__
    return text if text.endswith(".") else f"{text}."


@contextmanager
def _announced(stage: str) -> Iterator[None]:
    """Show on a terminal which stage runs, and for how long."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        progress.add_task(f"{stage}: {STAGES[stage]}", total=None)
        yield
