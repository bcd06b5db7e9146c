# SPDX-License-Identifier: Apache-2.0
"""Experiments: their pages are current, and each is built at official size without memory."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from avkit.batch import Vocabulary
from avkit.cli import main
from avkit.cli.reproduction_features import WIDTHS, stored_width
from avkit.errors import AvkitError, FileError
from avkit.leaderboard import CONFIGS, read_experiments
from avkit.systems import make_config
from avkit.tasks import split_names
from avkit.training.module import AVModel

ROOT = Path(__file__).parents[1]
EXPERIMENTS = read_experiments()
RUNNABLE = [experiment for experiment in EXPERIMENTS if experiment.recipe]
#: Official numbers of classes and of answers by dataset.
SIZES = {
    "ave": (28, 0),
    "llp": (25, 0),
    "unav100": (100, 0),
    "avsbench-avss": (70, 0),
    "vggss": (220, 0),
    "music-avqa": (0, 42),
    "avqa": (0, 4),
    "f-music": (20, 0),
    "f-lifescene": (20, 0),
}


def distinct():
    """One experiment for each model or command: rows of several tables may share it."""
    chosen = {}
    for experiment in sorted(RUNNABLE, key=lambda experiment: experiment.parameters_m is None):
        chosen.setdefault((experiment.dataset, *experiment.words()), experiment)
    return [pytest.param(experiment, id=experiment.id) for experiment in chosen.values()]


def datasets_of(experiment):
    """The experiment's datasets that have official sizes, with names of classes and answers."""
    return experiment.dataset.split("+")


def vocabulary_of(experiment):
    words = ["<pad>", "<unk>", *(f"word{number}" for number in range(100))]
    parts = []
    for name in datasets_of(experiment):
        classes, answers = SIZES.get(name, (0, 0))
        parts.append(
            Vocabulary([f"{name} {k}" for k in range(classes)], [f"answer {k}" for k in range(answers)], words)
        )
    classes = [name for part in parts for name in part.classes]
    answers = [name for part in parts for name in part.answers]
    return Vocabulary(classes, answers, words)


def widths(options, experiment):
    """Widths of visual and audio features by task; None where all tasks read pictures and sound."""
    features = options["data"].get("features") or {}
    if not features.get("visual") and not features.get("audio"):
        return None
    by_task = {}
    tasks = split_names(options["tasks"])
    names = datasets_of(experiment)
    for number, task in enumerate(tasks):
        dataset = names[min(number, len(names) - 1)]
        by_task[task] = [named_width(features.get(modality), dataset) for modality in ("visual", "audio")]
    return by_task


def named_width(names, dataset):
    if not names:
        return 0
    by_dataset = dict(part.split("=") for part in names.split(",")) if "=" in names else {dataset: names}
    return sum(stored_width(dataset, name) for name in by_dataset.get(dataset, "").split("+") if name)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """A file of as many word pieces as BERT's."""
    path = tmp_path_factory.mktemp("pieces") / "vocab.txt"
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    path.write_text("\n".join([*special, *(f"piece{number}" for number in range(30_522 - len(special)))]))
    return path


def without_weights(system, pieces):
    """Options of a system that loads nothing but word pieces of a file."""
    kept = {name: x for name, x in (system or {}).items() if not name.endswith("weights") and name != "prior"}
    if kept.get("pieces"):
        kept["pieces"] = str(pieces)
    return kept


def build(experiment, pieces):
    """The experiment's model on the meta device."""
    options = experiment.all_options()
    model = options.get("model", {})
    expert = (options["data"].get("features") or {}).get("expert")
    kept = {name: model[name] for name in ("heads", "interface", "prompts", "loss_weights", "balance") if name in model}
    with torch.device("meta"):
        return AVModel(
            tasks=options["tasks"],
            vocabulary=vocabulary_of(experiment),
            system=make_config(without_weights(model.get("system"), pieces)),
            features=widths(options, experiment),
            expert=WIDTHS[Path(expert).stem] if expert else None,
            **kept,
        )


def attention_parameters(model):
    """Trained parameters of attention, which the program `thop`, that some papers count with, passes over."""
    attentions = [module for module in model.modules() if isinstance(module, torch.nn.MultiheadAttention)]
    parameters = [parameter for module in attentions for parameter in module.parameters()]
    return sum(parameter.numel() for parameter in parameters if parameter.requires_grad)


def test_pages_and_headers_are_current():
    script = [sys.executable, str(ROOT / "scripts" / "write_reproducing.py"), "--check"]
    result = subprocess.run(script, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, f"run scripts/write_reproducing.py: {result.stdout}{result.stderr}"


def test_experiments_name_recipes_that_there_are():
    named = {name for experiment in EXPERIMENTS for name in experiment.recipe}
    assert [name for name in named if not (CONFIGS / name).is_file()] == []


@pytest.mark.parametrize("experiment", distinct())
def test_an_experiment_is_built_at_official_size(experiment, pieces):
    try:
        model = build(experiment, pieces)
    except (ImportError, RuntimeError, ValueError, AvkitError) as error:
        if "pip install" in str(error):
            pytest.skip(f"an encoder is not installed: {error}")
        raise
    answering = {id(part): part for name in model.tasks for part in model.system.modules_of(name)}
    parameters = sum(parameter.numel() for part in answering.values() for parameter in part.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert trained > 0
    if experiment.parameters_m is not None:
        published = experiment.parameters_m * 1e6
        counts = (parameters, trained, trained - attention_parameters(model))
        assert min(counts, key=lambda count: abs(count - published)) == pytest.approx(published, rel=0.02)


@pytest.mark.parametrize("experiment", distinct())
def test_the_command_line_takes_an_experiment(experiment, capsys):
    with pytest.raises(SystemExit) as end:
        main(["fit", *experiment.words(), "--data.root", "somewhere", "--print_config"])
    assert end.value.code == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1", "is no list of experiments"),
        ("- 1", "1 is no experiment"),
        ("- {id: a, tabel: x}", "Did you mean 'table'"),
        ("- {id: a, paper: P, table: T, row: R, dataset: ave, published: {}}", "lacks 'recipe'"),
        ("- {id: a, paper: P, table: T, row: R, dataset: ave, published: {}, recipe: []}", "has no recipe"),
        ("- {id: a, paper: P, needs: {hour: 1}}", "Did you mean 'hours'"),
    ],
)
def test_wrong_entries(text, message, tmp_path):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(FileError, match=message):
        read_experiments(tmp_path)


def test_an_id_stands_once(tmp_path):
    entry = "- {id: a, paper: P, table: T, row: R, dataset: ave, published: {}, recipe: [], reason: none}\n"
    (tmp_path / "a.yaml").write_text(entry)
    (tmp_path / "b.yaml").write_text(entry)
    with pytest.raises(FileError, match="'a' stands twice"):
        read_experiments(tmp_path)


def test_a_command_holds_files_and_options():
    (experiment,) = [experiment for experiment in EXPERIMENTS if experiment.id == "psp_ave"]
    assert experiment.command() == "avkit fit --config psp_ave --data.root ROOT"
