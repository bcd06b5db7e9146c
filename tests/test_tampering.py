# SPDX-License-Identifier: Apache-2.0
"""What was changed between a published row and a measurement is a reason of the verdict, through the commands."""

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avkit.cli import main
from avkit.cli.reproduction_scenes import make_data, write_random_weights
from avkit.cli.run_records import _with_true_hops
from avkit.datasets import find_dataset
from avkit.datasets.published_files import PUBLISHED_FILES
from avkit.datasets.scenes import MARKER
from avkit.leaderboard import find_experiment, read_experiments, read_records
from avkit.systems.tspm.statements import statements_hash
from avkit.training.stored_facts import StoredPart

CPU = ("--trainer.accelerator", "cpu", "--data.loader.workers", "0")


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


class World:
    """Small data that pass for the official ones, and experiments whose published figures are what is measured.

    Args:
        patch: Undoes all of it.
    """

    def __init__(self, patch):
        self.patch = patch

    def make_official(self, dataset, root, release="official"):
        """Take scenes in a layout for the official data: their counts and files are the published ones."""
        (root / MARKER).unlink(missing_ok=True)
        reader = find_dataset(dataset)(root, "test", release=release, find_media=False)
        self.patch.setitem(type(reader).counts, release, {"test": reader.total})
        files = {path.name: sha256(path) for path in reader.annotation_files}
        self.patch.setitem(PUBLISHED_FILES, (dataset, release), files)

    def change(self, id_, **changes):
        """Change an experiment for all commands."""
        changed = tuple(
            replace(experiment, **changes) if experiment.id == id_ else experiment for experiment in read_experiments()
        )
        self.patch.setattr("avkit.leaderboard.experiments._read_packaged", lambda: changed)

    def publish(self, id_, record, **changes):
        """Make the figures of a record the published ones."""
        figures = {}
        for name in find_experiment(id_).published:
            figures[name] = f"{100 * record.figures[name].value:.2f}"
        self.change(id_, published=figures, differs=(), **changes)


@pytest.fixture(scope="module")
def world():
    with pytest.MonkeyPatch.context() as patch:
        yield World(patch)


def reproduce(id_, *words):
    return main(["reproduce", id_, *map(str, words)])


def newest(out, name):
    return max(out.rglob(name), key=lambda path: path.stat().st_mtime_ns)


def run_in(out):
    """The one run of a folder of reproductions."""
    (run,) = out.glob("*/*/test")
    return run


def verdict_of(out):
    facts = json.loads(newest(out, "verdict.json").read_text())
    return facts["verdict"], facts["reasons"]


@pytest.fixture(scope="module")
def psp(world, tmp_path_factory):
    """Words that reproduce PSP on AVE from weights, whose published accuracy is theirs."""
    folder = tmp_path_factory.mktemp("psp")
    experiment = find_experiment("psp_ave")
    root = make_data(experiment, folder / "data")
    world.make_official("ave", root)
    weights = folder / "official.pth"
    write_random_weights([*experiment.words(), "--data.root", str(root), *CPU], weights)
    reproduce("psp_ave", "--root", root, "--weights", weights, "--out", folder / "first", *CPU)
    (record,) = read_records(run_in(folder / "first") / "records.json")
    world.publish("psp_ave", record, hashes={"official weights": sha256(weights)})
    return {"root": root, "weights": weights, "out": folder / "out"}


def reproduce_psp(psp, **changes):
    words = {**psp, **changes}
    return reproduce("psp_ave", "--root", words["root"], "--weights", words["weights"], "--out", words["out"], *CPU)


def test_a_report_shows_published_row_source_and_verdict(psp, capsys):
    run = run_in(psp["out"].parent / "first")
    row = "PSP, fully supervised"
    source = "PSP (CVPR 2021), AV-Unified, Table II"
    figure = "accuracy 0.00, published 77.8 (-77.800 points, tolerance 0.070)"
    markdown = (run / "report.md").read_text()
    assert f"| 77.8 {row}, {source}; above the interval |" in markdown
    assert f"- **below**: ave on ave beside {row} ({source}): below ({figure})" in markdown
    page = re.sub(r"<[^>]+>|\s+", " ", (run / "report.html").read_text())
    page = " ".join(page.split())
    assert f"77.8 {row}, {source} above the interval" in page
    assert f"below : ave on ave beside {row} ({source}) {figure}" in page
    report = json.loads((run / "report.json").read_text())
    assert [(line["published"], line["source"]) for line in report["rows"]] == [(0.778, f"{row}, {source}")]
    assert main(["test", str(run)]) == 0
    assert f"published: ave on ave beside {row} ({source}): reproduced" in capsys.readouterr().out


def test_what_was_not_changed_is_reproduced(psp):
    assert reproduce_psp(psp) == 0
    assert verdict_of(psp["out"]) == ("reproduced", [])


def test_one_weight_that_was_changed(psp, tmp_path):
    state = torch.load(psp["weights"], weights_only=True)
    next(iter(state.values())).view(-1)[0] += 1e-3
    weights = tmp_path / "official.pth"
    torch.save(state, weights)
    assert reproduce_psp(psp, weights=weights, out=tmp_path) == 2
    word, reasons = verdict_of(tmp_path)
    assert (word, len(reasons)) == ("not comparable", 1)
    assert reasons[0].startswith("other official weights (")


def test_weights_of_a_run_that_were_changed_after_its_test(psp, tmp_path, capsys):
    run = Path(shutil.copytree(run_in(psp["out"].parent / "first"), tmp_path / "run"))
    words = ["leaderboard", "add", str(run), "--as", "mine", "--results", str(tmp_path / "results")]
    assert main(words) == 0
    for path in (run / "checkpoints").glob("*.ckpt"):
        content = torch.load(path, weights_only=False)
        next(iter(content["state_dict"].values())).view(-1)[0] += 1e-3
        torch.save(content, path)
    for command in (words, ["leaderboard", "verify", str(run), "--root", str(psp["root"])]):
        assert main(command) == 2
        assert "holds other weights than those that the record of ave on ave is of" in capsys.readouterr().err


def test_features_of_another_hop(psp, tmp_path):
    root = Path(shutil.copytree(psp["root"], tmp_path / "ave"))
    (root / "audio_feature.json").write_text('{"hop": 0.96}')
    assert reproduce_psp(psp, root=root, out=tmp_path) == 2
    assert verdict_of(tmp_path) == (
        "not comparable",
        ["audio vggish (hop 1 s, width 128), measured with vggish (hop 0.96 s, width 128)"],
    )


def test_released_features_with_too_many_rows_tell_their_hop():
    part = StoredPart("vggish", 128, "vggish", 1.0)
    dataset = find_dataset("music-avqa").__new__(find_dataset("music-avqa"))
    assert [_with_true_hops([part], dataset, [rows])[0].hop for rows in (60, 62, 10)] == [1.0, 0.968, 1.0]


def test_a_record_that_was_edited_by_hand(psp, tmp_path, capsys):
    assert reproduce_psp(psp, out=tmp_path) == 0
    path = run_in(tmp_path) / "records.json"
    path.write_text(path.read_text().replace('"n": 2', '"n": 3', 1))
    for command in (
        lambda: reproduce_psp(psp, out=tmp_path),
        lambda: main(["leaderboard", "ave", "--mine", str(path.parent)]),
        lambda: main(["leaderboard", "verify", str(path.parent), "--root", str(psp["root"])]),
        lambda: main(["leaderboard", "add", str(path.parent), "--as", "x", "--results", str(tmp_path / "r")]),
    ):
        assert command() == 2
        error = capsys.readouterr().err
        assert "was edited after it was written" in error
        assert error.count("\n") == 1


QUESTIONS = [
    ("How many instruments are sounding in the video?", "two", '["Audio", "Counting"]'),
    ("Is there a voiceover?", "no", '["Audio-Visual", "Existential"]'),
    ("Where is the performance?", "outdoor", '["Visual", "Location"]'),
    ("Is there a voiceover?", "yes", '["Audio-Visual", "Existential"]'),
]


def write_questions(folder, questions):
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for number, (text, answer, kind) in enumerate(questions, start=11):
        facts = {"video_id": "00000001", "question_id": number, "type": kind, "question_content": text}
        records.append({**facts, "templ_values": "[]", "anser": answer})
    (folder / "avqa-test.json").write_text(json.dumps(records))


@pytest.fixture(scope="module")
def tspm(world, tmp_path_factory):
    """Root and words that reproduce TSPM from answers, whose published figures are theirs."""
    root = tmp_path_factory.mktemp("tspm") / "music-avqa"
    write_questions(root / "json_update", QUESTIONS)
    write_questions(root / "json", QUESTIONS[:3])
    world.make_official("music-avqa", root, "update")
    world.make_official("music-avqa", root, "original")
    published = {"Audio Counting": "100.0", "Visual Location": "100.0", "Audio-Visual Existential": "50.0"}
    world.change("tspm_music_avqa", published=published)
    return root


ANSWERS = {"11": "two", "12": "no", "13": "outdoor", "14": "no"}


def reproduce_tspm(root, folder, answers):
    path = folder / "answers.jsonl"
    lines = [json.dumps({"id": name, "answer": answer}) for name, answer in answers]
    path.write_text("\n".join(lines))
    words = ("--root", root, "--predictions", path, "--out", folder)
    return reproduce("tspm_music_avqa_predictions", *words), *verdict_of(folder)


def test_answers_that_were_not_changed_are_reproduced(tspm, tmp_path):
    assert reproduce_tspm(tspm, tmp_path, ANSWERS.items()) == (0, "reproduced", [])


def test_a_dropped_answer(tspm, tmp_path):
    result = reproduce_tspm(tspm, tmp_path, list(ANSWERS.items())[1:])
    assert result == (2, "not comparable", ["3 of 4 official samples"])


def test_a_doubled_answer(tspm, tmp_path, capsys):
    """The first entry counts, and all are answered: nothing but the fault tells."""
    result = reproduce_tspm(tspm, tmp_path, [*ANSWERS.items(), ("14", "yes")])
    assert result == (2, "not comparable", ["1 fault in the file"])
    assert "sample '14' stands twice" in capsys.readouterr().out
    record = tmp_path / "record.json"
    words = ["score", str(tmp_path / "answers.jsonl"), "--dataset", "music-avqa", "--root", str(tspm)]
    assert main([*words, "--against", "tspm_music_avqa", "--record", str(record)]) == 2
    assert "1 fault in the file" in capsys.readouterr().out
    assert [entry.faults for entry in read_records(record)] == [1]


def test_an_answer_that_was_changed(tspm, tmp_path):
    status, word, reasons = reproduce_tspm(tspm, tmp_path, {**ANSWERS, "11": "one"}.items())
    assert (status, word) == (1, "below")
    assert reasons[0].startswith("Audio Counting 0.")


def test_annotations_of_another_release(tspm, tmp_path, capsys):
    path = tmp_path / "answers.jsonl"
    path.write_text("\n".join(json.dumps({"id": name, "answer": answer}) for name, answer in ANSWERS.items()))
    words = ["score", str(path), "--dataset", "music-avqa", "--root", str(tspm), "--against", "tspm_music_avqa"]
    assert main([*words, "--release", "original"]) == 2
    assert "release original, published for update" in " ".join(capsys.readouterr().out.split())
    root = tmp_path / "root"
    shutil.copytree(tspm / "json", root / "json_update")
    words[words.index(str(tspm))] = str(root)
    assert main(words) == 2
    assert "as split 'test' of release 'original' has" in capsys.readouterr().err


def test_an_annotation_that_was_changed(tspm, tmp_path):
    """As many questions as in the official list, and one true answer is the one that was given."""
    root = tmp_path / "root"
    changed = [*QUESTIONS[:3], (QUESTIONS[3][0], "no", QUESTIONS[3][2])]
    write_questions(root / "json_update", changed)
    result = reproduce_tspm(root, tmp_path, ANSWERS.items())
    reason = "avqa-test.json is not the file that the dataset's authors published"
    assert result == (2, "not comparable", [reason])


@pytest.fixture(scope="module")
def trained_tspm(world, tmp_path_factory):
    """A run of TSPM's recipe, small, with a file of statements that passes for the authors'."""
    folder = tmp_path_factory.mktemp("tspm-run")
    experiment = find_experiment("tspm_music_avqa_by_video")
    root = make_data(experiment, folder / "data")
    statements = folder / "TextPrompt.csv"
    write_statements(statements, root, "An author says: {}")
    small = {"model.system.text": "small", "model.system.text_weights": None, "trainer.max_steps": 0}
    world.make_official("music-avqa", root, "by-video")
    world.change(experiment.id, options=small, hashes={"statements": statements_hash(statements)})
    words = [*find_experiment(experiment.id).words(), "--data.root", str(root), *CPU]
    words += ["--trainer.enable_progress_bar", "false", "--out", str(folder), "--name", "run"]
    assert main(["fit", *words, "--trainer.max_steps", "0", "--model.system.prompts", str(statements)]) == 0
    return folder / "run", root


def write_statements(path, root, form):
    questions = set()
    for split in ("train", "val", "test"):
        for annotation in find_dataset("music-avqa")(root, split, release="by-video", find_media=False).all_annotations:
            questions |= {question.question for question in annotation.questions}
    lines = [f'"{question}","{form.format(question.replace("?", "."))}"' for question in sorted(questions)]
    path.write_text("\n".join(["question_template,declarative_prompt", *lines]))


def reasons_of_test(trained_tspm, *words):
    run, _ = trained_tspm
    assert main(["test", str(run), *words]) == 0
    (verdict,) = json.loads((run / "report.json").read_text())["verdicts"]
    return verdict["word"], verdict["reasons"]


def test_the_authors_statements_are_compared(trained_tspm):
    """Also a later test knows how the run was trained."""
    word, reasons = reasons_of_test(trained_tspm)
    assert word != "not comparable", reasons


def test_our_statements_in_the_place_of_the_authors(trained_tspm):
    word, reasons = reasons_of_test(trained_tspm, "--model.system.prompts", "null")
    assert word == "not comparable"
    assert "prompts of a file, measured with avkit's own" in reasons


def test_statements_of_another_file(trained_tspm, tmp_path):
    path = tmp_path / "ours.csv"
    write_statements(path, trained_tspm[1], "We say: {}")
    word, reasons = reasons_of_test(trained_tspm, "--model.system.prompts", str(path))
    assert word == "not comparable"
    assert any(reason.startswith("other statements (") for reason in reasons)


def test_another_evaluation_batch(world, tmp_path, capsys):
    """True masks as predictions: AVSegFormer's figures are means over batches of two videos."""
    from avkit.export import export

    root = tmp_path / "avsbench-s4"
    export("avsbench-s4", root, {"train": 1, "val": 1, "test": 2}, 32, fps=2)
    world.make_official("avsbench-s4", root)
    world.change("avsegformer_s4", published={"mIoU": "100.0", "F": "100.0"}, differs=())
    masks = next(path for path in root.rglob("*") if path.is_dir() and path.name == "gt_masks")
    words = ["score", str(masks / "test"), "--dataset", "avsbench-s4", "--root", str(root)]
    words += ["--image_size", "32", "--against", "avsegformer_s4"]
    assert main([*words, "--option", "videos_per_call=2"]) == 0
    assert main([*words, "--option", "videos_per_call=1"]) == 2
    assert "evaluation batch 2, measured with 1" in " ".join(capsys.readouterr().out.split())
