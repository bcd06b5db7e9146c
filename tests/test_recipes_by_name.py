# SPDX-License-Identifier: Apache-2.0
import pytest

from avkit.cli import main
from avkit.errors import FileError
from avkit.leaderboard import CONFIGS, find_recipe, list_recipes


def test_every_recipe_is_found_by_its_name():
    assert len(list_recipes()) > 30
    for name in list_recipes():
        assert find_recipe(name) == CONFIGS / f"{name}.yaml"


@pytest.mark.parametrize(
    "written", ["ccnet/i3d", "i3d", "ccnet/i3d.yaml", "configs/ccnet/i3d.yaml", "avkit/configs/ccnet/i3d.yaml"]
)
def test_what_people_write_for_a_recipe(written):
    assert find_recipe(written).samefile(CONFIGS / "ccnet" / "i3d.yaml")


def test_an_earlier_name_is_still_known():
    assert find_recipe("ccnet_unav100") == CONFIGS / "ccnet" / "i3d.yaml"


def test_a_file_on_disk_comes_first(tmp_path, monkeypatch):
    (tmp_path / "psp_ave").write_text("tasks: ave\n")
    monkeypatch.chdir(tmp_path)
    assert find_recipe("psp_ave").read_text() == "tasks: ave\n"


def test_a_misspelt_list_recipes_the_nearest():
    with pytest.raises(FileError, match="Did you mean 'tspm_music_avqa'"):
        find_recipe("tspm_musik_avqa")


def test_fit_takes_a_recipe_by_name(capsys):
    with pytest.raises(SystemExit) as end:
        main(["fit", "--config", "psp_ave", "--data.root", "somewhere", "--print_config"])
    assert not end.value.code
    assert "name: psp" in capsys.readouterr().out


def test_fit_names_the_nearest_recipe(capsys):
    assert main(["fit", "--config", "psp_avee"]) == 2
    assert "Did you mean 'psp_ave'" in capsys.readouterr().err
