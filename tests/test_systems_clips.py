# SPDX-License-Identifier: Apache-2.0
"""HAN, MM-Pyramid, AVEL and PSP against what the authors' code gave."""

import pytest
import torch
import torch.nn.functional as F
from golden import golden_cases
from recorded import Recorded

from avkit.batch import Batch, Vocabulary
from avkit.systems import find_config, find_network

NAMES = {"ave_att": "avel", "ave_dmrn": "avel", "ave_att_weak": "avel", "psp_fully": "psp", "psp_weakly": "psp"}
PARSING = [*golden_cases("models/temporal/han"), *golden_cases("models/temporal/mm_pyramid")]
EVENTS = [*golden_cases("models/temporal/ave"), *golden_cases("models/temporal/psp")]


def network_of(case):
    config, kind = case.facts["config"], case.facts["kind"]
    options = {"heads": config["head"]} if "head" in config else {}
    if "threshold" in config:
        options["threshold"] = config["threshold"]
    return find_network(NAMES.get(kind, kind)).from_official(case.weights(), **options).eval()


def listen(network, **parts):
    """What parts of a network give, by name, once it has run."""
    heard = {}
    for name, part in parts.items():
        part.register_forward_hook(lambda module, given, out, name=name: heard.setdefault(name, []).append(out))
    return heard


@pytest.mark.parametrize("case", PARSING)
def test_parsing_is_the_official_one(case):
    case = Recorded(case)
    network = network_of(case)
    audio, frames, motion = case.inputs()
    with torch.inference_mode():
        inputs = audio, frames.unflatten(1, (10, 8)), motion
        found = network(*inputs)
        heard, seen = network.inputs(*inputs)
        if case.facts["kind"] == "han":
            case.same("stage/fc_a", heard, 1e-5)
            case.same("stage/fc_fusion", seen, 1e-5)
            heard, seen = network.layer(heard, seen)
            case.same("stage/hat_encoder.0", heard, 2e-5)
            case.same("stage/hat_encoder.1", seen, 2e-5)
        else:
            both = network.pyramid.capture(seen, heard)
            for i, x in enumerate(both):
                case.same(f"stage/capture.{i}", x.flatten(0, 1), 1e-5)
            case.same("stage/fusion.0", network.pyramid.visual(both[0]), 1e-5)
            case.same("stage/fusion.1", network.pyramid.audio(both[1]), 1e-5)
    case.same("out/frame_prob", found.steps, 1e-5)
    case.same("out/a_prob", found.heard, 1e-5)
    case.same("out/v_prob", found.seen, 1e-5)
    case.same("out/global_prob", found.clip, 1e-5)


@pytest.mark.parametrize("case", EVENTS)
def test_events_are_the_official_ones(case):
    case = Recorded(case)
    network = network_of(case)
    audio, video = case.inputs()
    video = video.flatten(2, 3)
    parts = listen(network, attention=network.attention, recurrent=network.recurrent)
    with torch.inference_mode():
        found = network(audio, video)
    heard, seen = parts["recurrent"][0]
    if case.facts["kind"].startswith("psp"):
        case.same("stage/avga", parts["attention"][0], 1e-5)
        case.same("stage/lstm.0", heard, 1e-5)
        case.same("stage/lstm.1", seen, 1e-5)
        if network.weak:
            case.same("stage/psp", found.fused, 1e-5)
            case.same("out/score", found.logits, 1e-5)
            case.same("out/video_prob", found.logits.mean(1).softmax(-1), 1e-5)
        else:
            case.same("out/fusion", found.fused, 1e-5)
            case.same("out/logits", found.logits, 1e-5)
            case.same("out/cross_att", found.alike, 1e-5)
        return
    case.same("stage/lstm_audio", heard, 1e-5)
    case.same("stage/lstm_video", seen, 1e-5)
    if "out/score" in case.facts["tensors"]:
        case.same("out/score", found, 1e-5)
        case.same("out/video_prob", found.amax(1).softmax(-1), 1e-5)
    else:
        case.same("out/prob", found.softmax(-1), 1e-5)


def still(network):
    """A network in training whose dropouts let everything through."""
    for module in network.train().modules():
        for name in ("p", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return network


def batch_of(case, name):
    """A batch with the recorded targets, as the task reads them."""
    audio, video = case.inputs()[:2]
    targets = {}
    if name == "avvp":
        targets["video_labels"] = case.expected("target/video_labels")
    else:
        wanted = case.expected("target/segment_class").long()
        both = F.one_hot(wanted, case.facts["config"]["classes"])[..., :-1]
        targets = {"audio_segments": both, "visual_segments": both}
    valid = torch.ones(audio.shape[:2], dtype=torch.bool)
    return Batch(name, ["a", "b"], torch.full((2,), 10.0), 1.0, valid, audio=audio, visual=video, targets=targets)


@pytest.mark.parametrize("case", [*PARSING, *EVENTS])
def test_training_goes_the_official_way(case):
    case = Recorded(case)
    network = still(network_of(case))
    config = find_config(network.name)()
    weak = "weak" in case.facts["kind"]
    name = "avvp" if "target/video_labels" in case.facts["tensors"] else "ave_weak" if weak else "ave"
    batch, task = batch_of(case, name), config.answers[name](Vocabulary(["x"] * 28))
    inputs = case.inputs()
    inputs[1] = inputs[1].unflatten(1, (10, 8)) if name == "avvp" else inputs[1].flatten(2, 3)
    optimizer = torch.optim.Adam(network.parameters(), lr=case.info["curve"]["lr"])
    for row in case.info["curve"]["rows"]:
        losses = task.loss(network(*inputs), batch)
        assert losses["loss"].item() == pytest.approx(row["loss"], rel=1e-3, abs=1e-5), row["step"]
        optimizer.zero_grad()
        losses["loss"].backward()
        if row["step"] == 0:
            assert losses["loss"].item() == pytest.approx(case.info["train_loss"], abs=1e-5)
            check_gradients(case, network)
        optimizer.step()
    with torch.inference_mode():
        found = network.eval()(*inputs)
    ends = {"frame_prob": "steps", "a_prob": "heard", "v_prob": "seen", "global_prob": "clip"}
    ends |= {"logits": "logits", "fusion": "fused", "cross_att": "alike"}
    for name in case.names("curve_end/"):
        part = ends.get(name.partition("/")[2])
        if part is not None:
            case.same(name, getattr(found, part), 2e-3, 2e-3)


def check_gradients(case, network):
    grads = {network.official_name(key): p.grad for key, p in network.named_parameters()}
    dead, copies = network.official_dead(), network.official_copies()
    names = [e["key"] for e in case.facts["state_dict"] if e["key"] not in copies]
    back = {there: here for here, there in copies.items()}
    names = sorted(back.get(name, name) for name in names)
    expected = case.expected("grad_l2").double()
    assert len(names) == len(expected)
    found = [torch.tensor(torch.nan) if name in dead else grads[copies.get(name, name)].norm() for name in names]
    torch.testing.assert_close(torch.stack(found).double(), expected, rtol=1e-3, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("case", [*PARSING, *EVENTS, *golden_cases("models/temporal/ccnet")])
def test_every_key_comes_back(case):
    case = Recorded(case)
    if case.facts.get("model") == "CCNet":
        given = case.weights()
        network = find_network("ccnet").from_official(given, heads=case.facts["model_config"]["n_head"])
    else:
        given, network = case.weights(), network_of(case)
    back = network.to_official()
    assert back.keys() == given.keys()
    copies = network.official_copies()
    for key, x in back.items():
        assert torch.equal(x, given[copies.get(key, key)]), key
    if "params_without_grad" in case.info and copies == {}:
        assert set(network.official_dead()) == set(case.info["params_without_grad"])
