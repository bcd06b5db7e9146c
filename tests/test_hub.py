# SPDX-License-Identifier: Apache-2.0
"""What is loaded from hubs, where a hub cannot be reached or does not provide it."""

import logging
import socket
import time

import pytest
from huggingface_hub import constants

from avkit.cli import main
from avkit.encoders import build_audio_encoder, build_visual_encoder
from avkit.reading import hub
from avkit.text.wordpiece import read_wordpieces

ADDRESS = f"{constants.ENDPOINT}/owner/name"


@pytest.fixture(autouse=True)
def _not_set_offline(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def answering(monkeypatch, reason):
    monkeypatch.setattr(hub, "_ask", lambda address: reason)


def fail_within_limit():
    assert socket.getdefaulttimeout()
    raise ConnectionError("reset")


def keep_in_cache():
    folder = hub.Path(constants.HF_HUB_CACHE, "models--owner--name")
    folder.mkdir(parents=True)


def test_a_hub_that_never_answers_is_given_up_within_seconds(monkeypatch):
    monkeypatch.setattr(hub, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(hub, "_ask", lambda address: time.sleep(5) or "")
    start = time.perf_counter()
    with (
        pytest.raises(hub.HubError, match=r"no answer within 0\.2 s"),
        hub.from_hub("Weights", ADDRESS, "Name a path."),
    ):
        pytest.fail("nothing is cached, so nothing is loaded")
    assert time.perf_counter() - start < 2


def test_without_a_hub_libraries_use_their_cache_alone_and_are_set_back(monkeypatch):
    answering(monkeypatch, "no route")
    keep_in_cache()
    with hub.from_hub("Weights", ADDRESS, "Name a path.") as is_reachable:
        assert not is_reachable
        assert constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE
    assert logging.root.manager.disable == 0


def test_the_error_names_what_is_missing_its_size_its_address_and_what_to_do(monkeypatch):
    answering(monkeypatch, "no route")
    keep_in_cache()
    with (
        pytest.raises(hub.HubError) as caught,
        hub.from_hub("Weights of x", ADDRESS, "Name a path.", lambda: 82_000_000),
    ):
        raise OSError("not in the cache\nand more lines")
    message = str(caught.value)
    assert "Weights of x (82.0 million parameters, about 328 MB)" in message
    assert ADDRESS in message
    assert "no route" in message
    assert message.endswith("Name a path.")
    assert "\n" not in message


def test_a_failed_download_is_told_and_time_limits_are_set_back(monkeypatch):
    answering(monkeypatch, "")
    before = socket.getdefaulttimeout()
    with pytest.raises(hub.HubError, match="the download failed: reset"), hub.from_hub("Weights", ADDRESS, "Do."):
        fail_within_limit()
    assert socket.getdefaulttimeout() == before


def test_errors_of_other_kinds_are_left_as_they_are(monkeypatch):
    answering(monkeypatch, "")
    with pytest.raises(RuntimeError, match="size mismatch"), hub.from_hub("Weights", ADDRESS, "Do."):
        raise RuntimeError("size mismatch for x")


def test_vggish_without_a_network(monkeypatch, tmp_path):
    answering(monkeypatch, "no route")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(hub.HubError, match=r"VGGish \(72.1 million .*--model.system.audio_weights PATH"):
        build_audio_encoder("vggish", "hub")


def test_word_pieces_without_a_network(monkeypatch):
    answering(monkeypatch, "no route")
    with pytest.raises(hub.HubError, match="'bert-base-uncased' are not in the cache"):
        read_wordpieces("bert-base-uncased")


@pytest.mark.parametrize(
    ("library", "name"), [("timm", "pvt_v2_b0"), ("timm", "resnet18_14x14"), ("open_clip", "clip_vit_b32")]
)
def test_visual_encoders_without_a_network(monkeypatch, library, name):
    try:
        __import__(library)
    except (ImportError, RuntimeError) as error:  # torchvision is absent, or built for another torch
        pytest.skip(str(error))
    answering(monkeypatch, "no route")
    with pytest.raises(hub.HubError, match=r"million parameters.*--model.system.visual_weights PATH"):
        build_visual_encoder(name, "hub")


def test_fit_says_so_before_it_makes_a_folder(monkeypatch, tmp_path, capsys):
    answering(monkeypatch, "no route")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    words = "fit --tasks ave --data.loader.workers 0 --model.system.audio vggish --model.system.audio_weights hub"
    assert main([*words.split(), "--out", str(tmp_path / "runs")]) == 2
    message = capsys.readouterr().err
    assert message.startswith("avkit fit: Weights of VGGish")
    assert "Traceback" not in message
    assert not (tmp_path / "runs").exists()
