# SPDX-License-Identifier: Apache-2.0
"""Old names of options, old run folders, and what commands are given before they are parsed."""

import json

import pytest

from avkit.cli import main, renamed
from avkit.cli.given_options import GivenOption, given_options, last_value
from avkit.cli.trainer import make_cli
from avkit.systems import find_config
from avkit.training.run_folder import FORMAT, RunFolder


def refused(capsys, *words):
    assert main(["fit", "--tasks", "avs", *words]) == 2
    return capsys.readouterr().err


@pytest.fixture
def options():
    """Names of all options of `avkit fit`."""
    parser = make_cli(["--tasks", "avs"]).parser
    return {name for action in parser._actions for name in action.option_strings}


def test_every_new_name_is_an_option_and_no_old_name_is(options):
    groups = {new.rpartition(".")[0] for new in renamed.FIT_OPTIONS.values()}
    for old, new in renamed.FIT_OPTIONS.items():
        assert f"--{new}" in options, new
        assert f"--{old}" not in options or old in groups, old


def test_every_new_name_of_a_system_is_a_field_of_its_config():
    for system, names in renamed.SYSTEM_OPTIONS.items():
        fields = find_config(system).__dataclass_fields__
        assert {new.split()[0] for new in names.values()} <= set(fields)
        assert not set(names) & set(fields)


def test_old_names_on_the_command_line(capsys):
    error = refused(capsys, "--data.picture", "64", "--data.whole_batch=3")
    assert "--data.picture is now --data.image_size, --data.whole_batch is now --data.batch_size.whole." in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data.batch_size", "3"], "--data.batch_size is now --data.batch_size.trimmed."),
        (["--data", "{crop: 3}"], "--data.crop is now --data.crop.trimmed."),
        (["--data.mix", "need"], "--data.mix need is now --data.mix sampling_weight."),
        (["--data.train_size", "2"], "--data.train_size is now --data.scenes.train_size."),
    ],
)
def test_each_old_name(capsys, words, message):
    assert message in refused(capsys, *words)


def test_old_names_in_a_config_file(tmp_path, capsys):
    config = tmp_path / "old.yaml"
    config.write_text("data:\n  picture: 64\n  visual: vgg19\n")
    error = refused(capsys, "--config", str(config), "--data.workers", "0")
    assert f"{config}: data.picture is now data.image_size, data.visual is now data.features.visual." in error
    assert "--data.workers is now --data.loader.workers." in error


def test_a_group_may_be_given_whole():
    renamed.refuse_renamed_fit_options(["--data.batch_size", "{trimmed: 3}", "--data.crop", '{"untrimmed": 8}'])


def test_old_names_of_one_system(monkeypatch):
    monkeypatch.setitem(renamed.SYSTEM_OPTIONS, "han", {"breadth": "width"})
    words = ["--model.system.breadth", "16"]
    with pytest.raises(ValueError, match=r"--model\.system\.breadth is now --model\.system\.width\."):
        renamed.refuse_renamed_fit_options(["--model.system.name", "han", *words])
    renamed.refuse_renamed_fit_options(words)  # of another system


def test_old_names_of_another_command(monkeypatch, capsys):
    monkeypatch.setitem(renamed.COMMAND_OPTIONS, "scenes", {"number": "count"})
    assert main(["scenes", "preview", "--number", "3"]) == 2
    assert "--number is now --count." in capsys.readouterr().err


def test_given_options_come_in_the_order_in_which_they_count(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("tasks: avs\nmodel: {system: {name: ccnet}}\n")
    words = ["--model.system.name", "unav", "--config", str(config), "--data.root=x"]
    assert list(given_options(words)) == [
        GivenOption("model.system.name", "unav"),
        GivenOption("tasks", "avs", str(config)),
        GivenOption("model.system.name", "ccnet", str(config)),
        GivenOption("data.root", "x"),
    ]
    assert last_value(words, "model.system.name") == "ccnet"
    assert last_value(words, "model.lr") is None


def test_files_that_are_no_yaml_are_left_to_the_parser(tmp_path):
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1")
    assert list(given_options(["--config", str(broken), "--config", str(tmp_path / "none.yaml")])) == []


class TestRunFolder:
    """Run folders of other versions."""

    def folder(self, path, **facts):
        (path / "run.json").write_text(json.dumps(facts))
        return RunFolder(path)

    def test_one_of_this_version_is_read(self, tmp_path):
        assert self.folder(tmp_path, format=FORMAT, tasks=["avs"]).read_facts()["tasks"] == ["avs"]

    def test_an_old_one_is_refused(self, tmp_path, capsys):
        run = self.folder(tmp_path, tasks=["avs"], commit="abc")
        assert main(["test", str(run.path)]) == 2
        error = capsys.readouterr().err
        assert f"is a run folder of format 1, and this version of avkit reads format {FORMAT}." in error
        assert "Train it again, or use avkit at commit abc." in error

    def test_an_old_one_is_not_resumed(self, tmp_path, capsys):
        run = self.folder(tmp_path, tasks=["avs"])
        run.checkpoints.mkdir()
        run.last.write_bytes(b"")
        assert "format 1" in refused(capsys, "--ckpt_path", str(run.last))
        words = ["--out", str(tmp_path.parent), "--name", tmp_path.name, "--ckpt_path", "last"]
        assert "use the version of avkit that wrote it" in refused(capsys, *words)
