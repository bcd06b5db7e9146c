# SPDX-License-Identifier: Apache-2.0
"""Every converted system: random weights in the authors' form, converted, tested on scenes, recorded, scored again."""

import json
import shutil

import pytest

from avkit.cli import main
from avkit.leaderboard.records import read_records
from avkit.systems import NETWORKS

#: An experiment of each converted system.
EXPERIMENTS = {
    "avel": "avel_ave",
    "psp": "psp_ave",
    "han": "han_llp",
    "mm_pyramid": "mm_pyramid_llp",
    "unav": "unav_unav100",
    "uniav": "ccnet_unav100_uniav",
    "ccnet": "ccnet_unav100_one_peace",
    "tspm": "tspm_music_avqa",
    "pstp": "pstp_music_avqa",
    "avst": "avst_music_avqa",
    "ez_vsl": "ez_vsl_vggss_10k",
    "lvs": "lvs_vggss_144k",
    "tpavi": "tpavi_s4",
    "avsegformer": "avsegformer_s4_readme",
}


def test_every_converted_system_has_an_experiment_here():
    assert EXPERIMENTS.keys() == NETWORKS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("id_", EXPERIMENTS.values())
def test_weights_in_the_authors_form_come_to_a_record(id_, tmp_path, monkeypatch, capsys):
    if id_ in ("tspm_music_avqa", "pstp_music_avqa"):
        pytest.importorskip("open_clip", reason="its question encoder is OpenCLIP's")
        pytest.importorskip("torchvision", reason="OpenCLIP needs it")
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", id_, "--scenes"]) == 0, capsys.readouterr().err
    (folder,) = (tmp_path / "reproductions" / id_).iterdir()
    assert (folder / "official.pth").exists()
    assert (folder / "weights.safetensors").exists()
    (record,) = read_records(folder / "records.json")
    assert (record.experiment, record.by) == (id_, "scenes")
    assert record.n > 0
    assert json.loads((folder / "verdict.json").read_text())["verdict"] == "smoke"
    assert main(["leaderboard", "verify", str(folder / "test"), "--root", str(folder / "scenes")]) == 0
    shutil.rmtree(tmp_path / "reproductions")
