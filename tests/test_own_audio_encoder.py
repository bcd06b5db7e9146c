"""Converted weights without an audio encoder leave a run its own."""

import pytest
import torch

from avkit.batch import Vocabulary
from avkit.errors import DataError
from avkit.systems import create_system, find_network
from avkit.systems.base import RunContext
from avkit.tasks import build_tasks

pytest.importorskip("timm", exc_type=ImportError)
SIZES = {"visual": "pvt_v2_b0", "width": 16}


def context():
    vocabulary = Vocabulary(classes=["a", "b"])
    return RunContext(tasks=build_tasks(["avs"], vocabulary), vocabulary=vocabulary)


def test_a_run_keeps_its_audio_encoder(tmp_path):
    torch.manual_seed(0)
    plain = create_system("tpavi", context(), **SIZES)
    width = plain.network.audio.width
    converted = find_network("tpavi").build(**SIZES, outputs=1, audio_features=width)
    converted.save(tmp_path / "w.safetensors")
    torch.manual_seed(1)
    system = create_system("tpavi", context(), **SIZES, weights=str(tmp_path / "w.safetensors"))
    own = dict(system.network.named_parameters())
    for name, parameter in converted.named_parameters():
        torch.testing.assert_close(own[name], parameter)
    assert system.network.audio.weights_from is None
    assert system.network.visual.weights_from == str(tmp_path / "w.safetensors")


def test_an_encoder_of_another_width_is_refused(tmp_path):
    converted = find_network("tpavi").build(**SIZES, outputs=1, audio_features=7)
    converted.save(tmp_path / "w.safetensors")
    with pytest.raises(DataError, match="it has audio_features 7 and not 0"):
        create_system("tpavi", context(), **SIZES, weights=str(tmp_path / "w.safetensors"))


def test_the_authors_file_has_no_audio_encoder():
    network = create_system("tpavi", context(), **SIZES).network
    assert network.audio is not None
    assert not any(key.startswith("audio.") for key in network.to_official())
