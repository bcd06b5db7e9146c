# SPDX-License-Identifier: Apache-2.0
"""A package outside avkit brings a task, head, system, dataset, encoder, metric and kind of answer, as docs say.

The package is written into a temporary folder; no file of avkit is touched. The task is `count`: how many things sound
in each step.
"""

import json
import sys

import pytest
from test_fit import write_clip

from avkit.cli import main
from avkit.training.run_folder import RunFolder

PACKAGE = {
    "__init__.py": "",
    "metric.py": '''
import torch
from torchmetrics import Metric


class CountError(Metric):
    """Mean absolute error of counts, as 1 / (1 + error), so that higher is better."""

    higher_is_better = True

    def __init__(self):
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("steps", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, preds, target, valid):
        self.total += (preds - target).abs()[valid].sum()
        self.steps += valid.sum()

    def compute(self):
        return {"closeness": 1 / (1 + self.total / self.steps)}
''',
    "answer.py": '''
from dataclasses import dataclass
from typing import ClassVar

from avkit.answers import Answer


@dataclass(eq=False)
class Counts(Answer):
    """How many things sound, per step."""

    kind: ClassVar[str] = "counts"
    prediction_values: ClassVar[tuple[str, ...]] = ("count",)
    target_fields: ClassVar[tuple[str, ...]] = ("count",)

    counts: list[float]

    @classmethod
    def from_values(cls, values, row, scope):
        return cls(scope.task, [round(float(x), 2) for x in values["count"][row][: scope.grid.steps]])

    from_targets = from_values

    @classmethod
    def join(cls, parts):
        return cls(parts[0].task, [count for part in parts for count in part.counts])
''',
    "task.py": """
import torch

from avkit.batch import Prediction
from avkit.fields import Field, declare
from avkit.tasks.base import Task
from countkit.answer import Counts
from countkit.metric import CountError

declare(Field("count", "float32 (T,), how many things sound in each step", rank=1, per_step=True))


class Count(Task):
    name = "count"
    targets = ("count",)
    answers = (Counts,)
    stepwise = True
    prompt = "count what makes a sound"
    monitor = "closeness"
    headline = ("closeness",)
    default_head = "countkit.head:CountHead"

    def metrics(self, quick=False):
        return {"": CountError()}

    def score(self, metrics, prediction, batch):
        count = prediction["count"]
        metrics[""].update(count, batch.targets["count"].to(count.device), batch.valid.to(count.device))

    def baselines(self, batches):
        mean = torch.cat([batch.targets["count"][batch.valid] for batch in batches]).mean()
        return {"mean": lambda batch: Prediction(self.name, batch.id, {"count": mean.expand(batch.valid.shape)})}
""",
    "head.py": """
from dataclasses import dataclass

import torch.nn.functional as F
from torch import nn

from avkit.batch import Prediction
from avkit.heads.base import Head


@dataclass(frozen=True)
class CountOptions:
    hidden: int = 8


class CountHead(Head):
    Options = CountOptions
    needs_pixels = False

    def __init__(self, inputs, options=CountOptions()):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs.width, options.hidden), nn.ReLU(), nn.Linear(options.hidden, 1))

    def forward(self, tokens, batch):
        return self.layers(tokens.audio)[..., 0]

    def loss(self, output, batch):
        loss = F.mse_loss(output[batch.valid], batch.targets["count"][batch.valid])
        return {"loss": loss}

    def predict(self, output, batch):
        return Prediction(batch.task, batch.id, {"count": output.clamp(min=0)})
""",
    "encoder.py": '''
import torch

from avkit.encoders.base import AudioEncoder


class Loudness(AudioEncoder):
    """Mean magnitude of each step, times learned weights."""

    from_scratch = True

    def __init__(self):
        super().__init__()
        self.width = 4
        self.scale = torch.nn.Parameter(torch.ones(4))

    def forward(self, waveform, steps, hop):
        samples = round(hop * 16000)
        short = steps * samples - waveform.shape[1]
        padded = torch.nn.functional.pad(waveform, (0, max(0, short)))[:, : steps * samples]
        return padded.unflatten(1, (steps, samples)).abs().mean(-1, keepdim=True) * self.scale
''',
    "dataset.py": '''
import torch

import countkit.task  # declares the field that it provides
from avkit.batch import SAMPLE_RATE, Item, Vocabulary
from avkit.datasets.base import Dataset


class Tones(Dataset):
    """Gray clips with 0 to 3 tones in each step."""

    def __init__(self, split, image_size):
        self.split = split
        self.image_size = image_size

    @classmethod
    def open(cls, split, options):
        return cls(split, options.image_size)

    @property
    def provides(self):
        return frozenset({"count"})

    @property
    def vocabulary(self):
        return Vocabulary(classes=["tone"])

    def __len__(self):
        return 12

    def item(self, index, fields=None):
        draws = torch.Generator().manual_seed(100 * len(self.split) + index)
        count = torch.randint(4, (4,), generator=draws)
        time = torch.arange(SAMPLE_RATE) / SAMPLE_RATE
        steps = [sum(torch.sin(6.28 * 220 * (k + 1) * time) for k in range(n)) * 0.2 + 0 * time for n in count.tolist()]
        frames = torch.full((4, 3, self.image_size, self.image_size), 128, dtype=torch.uint8)
        return Item(f"{self.split}{index}", 4.0, 1.0, frames, torch.cat(steps), targets={"count": count.float()})
''',
    "system.py": '''
from dataclasses import dataclass

import torch.nn.functional as F
from torch import nn

from avkit.batch import Prediction
from avkit.encoders import build_audio_encoder
from avkit.encoders.base import VisualFeatures
from avkit.systems.base import System, SystemConfig, encode_waveform


@dataclass
class ListenerConfig(SystemConfig):
    """A system that only listens.

    Attributes:
        audio: Audio encoder.
        hidden: Width.
    """

    name: str = "countkit.system:ListenerConfig"
    audio: str = "countkit.encoder:Loudness"
    hidden: int = 8

    def build(self, context):
        return Listener(self, context)


class Listener(System):
    def __init__(self, config, context):
        super().__init__(config, context)
        self.audio = build_audio_encoder(config.audio)
        self.layers = nn.Sequential(nn.Linear(self.audio.width, config.hidden), nn.ReLU(), nn.Linear(config.hidden, 1))

    def encode_visual(self, batch):
        mean = batch.frames.float().mean((3, 4))
        return VisualFeatures(mean, mean[:, :, None], (1, 1))

    def encode_audio(self, batch):
        return encode_waveform(self.audio, batch)

    def forward(self, batch, encoded=None):
        encoded = encoded or self.encode(batch)
        return self.layers(encoded.audio)[..., 0]

    def loss(self, output, batch):
        return {"loss": F.mse_loss(output[batch.valid], batch.targets["count"][batch.valid])}

    def predict(self, output, batch):
        return Prediction(batch.task, batch.id, {"count": output.clamp(min=0)})
''',
}
TASK = "countkit.task:Count"
SMALL = [
    *("--data.dataset", "countkit.dataset:Tones", "--data.image_size", "32", "--data.loader.workers", "0"),
    *("--data.batch_size.trimmed", "2", "--data.steps_per_epoch", "3", "--trainer.max_epochs", "1"),
    *("--trainer.enable_progress_bar", "false"),
]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The folder that holds the package, on the path until the module's tests have run."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "countkit").mkdir()
    for name, text in PACKAGE.items():
        (folder / "countkit" / name).write_text(text)
    sys.path.insert(0, str(folder))
    return folder


@pytest.fixture(scope="module")
def backbone_run(package):
    """A run of the outside task on AV-Unified, with the outside head, encoder and dataset."""
    words = ["fit", "--tasks", TASK, "--out", str(package / "runs"), "--name", "backbone", *SMALL]
    assert main([*words, "--model.system.audio", "countkit.encoder:Loudness"]) == 0
    return RunFolder(package / "runs" / "backbone")


@pytest.fixture(scope="module")
def system_run(package):
    """A run of the outside system."""
    words = ["fit", "--tasks", TASK, "--out", str(package / "runs"), "--name", "listener", *SMALL]
    assert main([*words, "--model.system.name", "countkit.system:ListenerConfig", "--model.system.hidden", "6"]) == 0
    return RunFolder(package / "runs" / "listener")


@pytest.mark.parametrize("run", ["backbone_run", "system_run"])
def test_fit_test_predict_and_report_run_with_outside_parts(run, request, tmp_path, capsys):
    run = request.getfixturevalue(run)
    report = json.loads((run.path / "report.json").read_text())
    (row,) = report["rows"]
    assert (row["task"], row["dataset"], row["metric"]) == (TASK, "countkit.dataset:Tones", "closeness")
    assert row["baseline_name"] == "mean"
    assert main(["test", str(run.path), "--trust"]) == 0
    assert "Count" in capsys.readouterr().out
    clip = write_clip(tmp_path / "clip.mp4", seconds=3)
    assert main(["predict", str(run.path), str(clip), "--out", str(tmp_path / "out"), "--no_video", "--trust"]) == 0
    out = tmp_path / "out" / "clip"
    (answer,) = json.loads((out / "result.json").read_text())["other_answers"]
    assert answer["kind"] == "counts"
    assert len(answer["counts"]) == 3
    assert '"counts"' in capsys.readouterr().out
    assert "counts" in (out / "report.html").read_text()
    assert (out / "timeline.png").stat().st_size > 0


def test_the_report_shows_the_answer_beside_the_truth(backbone_run):
    examples = json.loads((backbone_run.path / "report.json").read_text())["examples"]
    assert examples[0]["note"].startswith("Predicted: ")
    assert "True: " in examples[0]["note"]


def test_the_outside_head_takes_options_in_a_config(package, tmp_path):
    config = tmp_path / "own.yaml"
    config.write_text(f"model:\n  heads:\n    {TASK}:\n      name: countkit.head:CountHead\n      hidden: 5\n")
    words = ["fit", "--config", str(config), "--tasks", TASK, "--out", str(tmp_path), "--name", "run", *SMALL]
    assert main([*words, "--report", "false"]) == 0
    assert "hidden: 5" in (tmp_path / "run" / "config.yaml").read_text()


def test_a_misspelt_option_of_the_head_is_refused(package, tmp_path, capsys):
    config = tmp_path / "own.yaml"
    config.write_text(f"model:\n  heads:\n    {TASK}:\n      name: countkit.head:CountHead\n      hiden: 5\n")
    assert main(["fit", "--config", str(config), "--tasks", TASK, "--out", str(tmp_path), *SMALL]) == 2
    assert "Did you mean 'hidden'" in capsys.readouterr().err
