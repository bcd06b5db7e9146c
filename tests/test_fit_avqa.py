# SPDX-License-Identifier: Apache-2.0
"""Training and tests of question answering on AVQA and MUSIC-AVQA: its own types, its val list, and bad input."""

import json

import pytest

from avkit.cli import main
from avkit.datasets.avqa import TYPES
from avkit.export import export


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    out = tmp_path_factory.mktemp("avqa")
    export("avqa", out / "avqa", {"train": 3, "val": 2, "test": 2}, 32, fps=2)
    export("music-avqa", out / "music-avqa", {"train": 2, "val": 2, "test": 2}, 32, fps=2)
    path = out / "avqa/data/annotation/val_qa.json"
    records = json.loads(path.read_text())
    records[0]["question_type"] = "Before Next"
    path.write_text(json.dumps(records))
    return out


def fit(root, out, dataset, *words):
    small = ["--trainer.max_steps", "1", "--data.steps_per_epoch", "1", "--data.batch_size.whole", "2"]
    small += ["--data.image_size", "32", "--data.loader.workers", "0", "--model.system.width", "16"]
    system = ["--model.system.name", "tspm", "--model.system.inner", "16"]
    place = ["--data.dataset", dataset, "--data.root", str(root), "--out", str(out), "--name", "run"]
    return main(["fit", "--tasks", "avqa", *place, *system, *small, *words])


def test_a_test_on_avqa_has_its_types_and_says_that_it_is_on_val(root, tmp_path, capsys):
    assert fit(root, tmp_path, "avqa", "--model.system.topk", "3") == 0
    output = capsys.readouterr().out
    report = json.loads((tmp_path / "run/report.json").read_text())
    rows = {row["metric"]: row for row in report["rows"]}
    assert set(rows) == {*TYPES, "Overall", "Macro"}
    assert {row["split"] for row in report["rows"]} == {"test, the val list"}
    assert (rows["Before Next"]["n"], rows["Which"]["n"], rows["Overall"]["n"]) == (1, 3, 4)
    assert any("no test list" in note for note in report["notes"])
    assert "the val list" in output
    assert "no test list" in output.replace("\n", " ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.system.topk", "11"], "11 steps are to be chosen, and a clip has 10. Set topk to 10"),
        (["--model.system.prompts", "FILE"], "has no sentence for 2 of 2 questions of the data"),
        (
            ["--model.system.tokens", "27", "--data.features.visual", "tome14+clip", "--model.system.frame", "768"],
            "The stored pictures have 14 tokens each, and --model.system.tokens is 27",
        ),
    ],
)
def test_what_does_not_fit_ends_a_training_before_it_begins(root, tmp_path, capsys, words, message):
    file = tmp_path / "prompts.json"
    file.write_text('{"Where is the <LL> bicycle?": "A bicycle."}')
    words = [str(file) if word == "FILE" else word for word in words]
    assert fit(root, tmp_path / "runs", "music-avqa", "--model.system.topk", "3", *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
