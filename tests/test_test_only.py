# SPDX-License-Identifier: Apache-2.0
"""A run that is tested on a manifest of test clips alone is read by the run's own names."""

import json

import numpy as np
import pytest
from PIL import Image

from avkit.cli import main
from avkit.media.write import write_wave
from avkit.training.run_folder import RunFolder

SMALL = "--data.image_size 32 --data.batch_size.trimmed 2 --data.batch_size.whole 2 --data.loader.workers 0"


def write_manifest(path, labels_by_split):
    lines = []
    for split, labels in labels_by_split.items():
        for number, label in enumerate(labels):
            name = f"{path.stem}-{split}-{number}"
            rng = np.random.default_rng(number)
            Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(path.parent / f"{name}.png")
            write_wave(path.parent / f"{name}.wav", rng.normal(0, 0.1, 48_000).astype(np.float32))
            events = [{"start": 0, "end": 2, "label": label}]
            line = {"id": name, "picture": f"{name}.png", "audio": f"{name}.wav", "split": split, "events": events}
            lines.append(json.dumps(line))
    path.write_text("\n".join(lines))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    write_manifest(folder / "own.jsonl", {"train": ["cat", "dog", "cow"], "val": ["cat"], "test": ["dog"]})
    words = f"fit --tasks ave --data.manifest {folder / 'own.jsonl'} {SMALL} --data.steps_per_epoch 2"
    assert main([*words.split(), "--trainer.max_epochs", "1", "--out", str(folder), "--name", "run"]) == 0
    return folder / "run"


def test_the_runs_names_are_used(run, tmp_path, capsys):
    write_manifest(tmp_path / "test_only.jsonl", {"test": ["cow", "dog"]})
    before = RunFolder(run).read_facts()["vocabulary"]
    assert main(["test", str(run), "--data.manifest", str(tmp_path / "test_only.jsonl")]) == 0
    assert "There are no baselines" in capsys.readouterr().out
    report = json.loads((run / "report.json").read_text())
    assert {(row["clips"], row["of"]) for row in report["rows"]} == {(2, 2)}
    assert RunFolder(run).read_facts()["vocabulary"] == before


def test_names_that_the_run_does_not_know_are_refused(run, tmp_path, capsys):
    write_manifest(tmp_path / "test_only.jsonl", {"test": ["cow", "sheep"]})
    assert main(["test", str(run), "--data.manifest", str(tmp_path / "test_only.jsonl")]) == 2
    message = capsys.readouterr().err
    assert "the run does not know the class names 'sheep'" in message
    assert "'cat', 'cow', 'dog'" in message
