# SPDX-License-Identifier: Apache-2.0
"""HAN, MM-Pyramid, AVEL and PSP against what the authors' code gave."""

import pytest
import torch
import torch.nn.functional as F
from golden import golden_cases
from recorded import Recorded

from avkit.batch import Batch, FeatureWidths, Vocabulary
from avkit.systems import find_config, find_network
from avkit.systems.base import RunContext

NAMES = {"ave_att": "avel", "ave_dmrn": "avel", "ave_att_weak": "avel", "psp_fully": "psp", "psp_weakly": "psp"}
PARSING = [*golden_cases("models/temporal/han"), *golden_cases("models/temporal/mm_pyramid")]
EVENTS = [*golden_cases("models/temporal/ave"), *golden_cases("models/temporal/psp")]


def network_of(case):
    config, kind = case.facts["config"], case.facts["kind"]
    options = {"heads": config["head"]} if "head" in config else {}
    if "threshold" in config:
        options["threshold"] = config["threshold"]
    return find_network(NAMES.get(kind, kind)).from_official(case.weights(), **options).eval()


def record_outputs(**modules):
    """Outputs of modules, by name, once they have run."""
    outputs = {}
    for name, module in modules.items():
        module.register_forward_hook(lambda module, inputs, out, name=name: outputs.setdefault(name, []).append(out))
    return outputs


def frames_by_step(case, frames):
    """Frames (B, T P, F) of HAN and MM-Pyramid as (B, T, P, F)."""
    steps = case.inputs()[0].shape[1]
    return frames.unflatten(1, (steps, -1))


def system_of(network, task):
    """The system of a network's kind for one task, with the network in it."""
    config = find_config(network.name)(**{"weak": True} if task == "ave_weak" and network.name == "psp" else {})
    classes = network.built_with["classes"] - (task != "avvp")
    vocabulary = Vocabulary([f"class {number}" for number in range(classes)])
    tasks = config.make_tasks([task], vocabulary)
    system = config.build(RunContext(tasks, vocabulary, {task: FeatureWidths(8, 8)}))
    system.network = network
    return system


@pytest.mark.parametrize("case", PARSING)
def test_parsing_is_the_official_one(case):
    case = Recorded(case)
    network = network_of(case)
    audio, frames, motion = case.inputs()
    with torch.inference_mode():
        inputs = (audio, frames_by_step(case, frames), motion)
        output = network(*inputs)
        audio, visual = network.inputs(*inputs)
        if case.facts["kind"] == "han":
            stages = {"fc_a": (audio, 1e-5), "fc_fusion": (visual, 1e-5)}
            audio, visual = network.layer(audio, visual)
            stages |= {"hat_encoder.0": (audio, 2e-5), "hat_encoder.1": (visual, 2e-5)}
        else:
            levels = network.pyramid.capture(visual, audio)
            stages = {f"capture.{i}": (x.flatten(0, 1), 1e-5) for i, x in enumerate(levels)}
            stages["fusion.0"] = (network.pyramid.visual(levels[0]), 1e-5)
            stages["fusion.1"] = (network.pyramid.audio(levels[1]), 1e-5)
    recorded = [name for name in stages if f"stage/{name}" in case.facts["tensors"]]
    for name in recorded:
        value, bound = stages[name]
        case.same(f"stage/{name}", value, bound)
    case.same("out/frame_prob", output.steps, 1e-5)
    case.same("out/a_prob", output.audio, 1e-5)
    case.same("out/v_prob", output.visual, 1e-5)
    case.same("out/global_prob", output.clip, 1e-5)


@pytest.mark.parametrize("case", EVENTS)
def test_events_are_the_official_ones(case):
    case = Recorded(case)
    network = network_of(case)
    audio, video = case.inputs()
    video = video.flatten(2, 3)
    outputs = record_outputs(attention=network.attention, recurrent=network.recurrent)
    with torch.inference_mode():
        output = network(audio, video)
    audio, visual = outputs["recurrent"][0]
    if case.facts["kind"].startswith("psp"):
        values = {"stage/avga": outputs["attention"][0], "stage/lstm.0": audio, "stage/lstm.1": visual}
        if network.weak:
            values |= {"stage/psp": output.fused, "out/score": output.logits}
            values["out/video_prob"] = output.logits.mean(1).softmax(-1)
        else:
            values |= {"out/fusion": output.fused, "out/logits": output.logits, "out/cross_att": output.similarity}
    else:
        values = {"stage/lstm_audio": audio, "stage/lstm_video": visual}
        if "out/score" in case.facts["tensors"]:
            values |= {"out/score": output, "out/video_prob": output.amax(1).softmax(-1)}
        else:
            values["out/prob"] = output.softmax(-1)
    recorded = [name for name in values if name in case.facts["tensors"]]
    assert any(name.startswith("out/") for name in recorded)
    for name in recorded:
        case.same(name, values[name], 1e-5)


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
        classes = case.expected("target/segment_class").long()
        segments = F.one_hot(classes, case.facts["config"]["classes"])[..., :-1]
        targets = {"audio_segments": segments, "visual_segments": segments}
    count, steps = audio.shape[:2]
    valid = torch.ones(count, steps, dtype=torch.bool)
    ids = [str(number) for number in range(count)]
    return Batch(name, ids, torch.full((count,), float(steps)), 1.0, valid, audio=audio, visual=video, targets=targets)


@pytest.mark.parametrize("case", [*PARSING, *EVENTS])
def test_training_goes_the_official_way(case):
    case = Recorded(case)
    network = still(network_of(case))
    name = "ave_weak" if "weak" in case.facts["kind"] else "ave"
    if "target/video_labels" in case.facts["tensors"]:
        name = "avvp"
    batch = batch_of(case, name)
    system = system_of(network, name)
    inputs = case.inputs()
    inputs[1] = frames_by_step(case, inputs[1]) if name == "avvp" else inputs[1].flatten(2, 3)
    optimizer = torch.optim.Adam(network.parameters(), lr=case.info["curve"]["lr"])
    for row in case.info["curve"]["rows"]:
        losses = system.loss(network(*inputs), batch)
        assert losses["loss"].item() == pytest.approx(row["loss"], rel=1e-3, abs=1e-5), row["step"]
        optimizer.zero_grad()
        losses["loss"].backward()
        if row["step"] == 0:
            assert losses["loss"].item() == pytest.approx(case.info["train_loss"], abs=1e-5)
            check_gradients(case, network)
        optimizer.step()
    with torch.inference_mode():
        output = network.eval()(*inputs)
    ends = {"frame_prob": "steps", "a_prob": "audio", "v_prob": "visual", "global_prob": "clip"}
    ends |= {"logits": "logits", "fusion": "fused", "cross_att": "similarity"}
    for name in case.names("curve_end/"):
        part = ends.get(name.partition("/")[2])
        if part is not None:
            case.same(name, getattr(output, part), 2e-3, 2e-3)


def check_gradients(case, network):
    grads = {network.official_name(key): p.grad for key, p in network.named_parameters()}
    unused = network.unused_keys()
    copies = network.official_copies()
    names = [e["key"] for e in case.facts["state_dict"] if e["key"] not in copies]
    back = {there: here for here, there in copies.items()}
    names = sorted(back.get(name, name) for name in names)
    expected = case.expected("grad_l2").double()
    assert len(names) == len(expected)
    norms = [torch.tensor(torch.nan) if name in unused else grads[copies.get(name, name)].norm() for name in names]
    torch.testing.assert_close(torch.stack(norms).double(), expected, rtol=1e-3, atol=1e-5, equal_nan=True)


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
        assert set(network.unused_keys()) == set(case.info["params_without_grad"])
