# SPDX-License-Identifier: Apache-2.0
"""Networks of papers on data that the tests make: weights in and out, padding, switches, and what is refused."""

import os
import pickle

import pytest
import torch
import torch.nn.functional as F

from avkit.batch import Batch, Vocabulary
from avkit.cli import main
from avkit.errors import DataError
from avkit.nn.clip_projection import ClipProjection
from avkit.nn.cross_modal_pyramid import TemporalGate
from avkit.nn.event_criterion import RANGES, EventCriterion, Normaliser, assign_events
from avkit.nn.event_dependency import EventDependency
from avkit.nn.event_levels import EventLevel
from avkit.nn.event_options import EventLossOptions, EventPyramidOptions
from avkit.nn.masked_conv import PyramidBlock
from avkit.nn.matmul_conv import Conv3, run_in_chunks
from avkit.systems import NETWORKS, find_config, find_network
from avkit.systems.official_files import read_official, recognise

DENSE = {"visual": 6, "audio": 5, "classes": 3, "width": 8, "heads": 2, "length": 64, "channels": 8, "inner": 4}
SMALL = {
    "ccnet": DENSE,
    "unav": DENSE,
    "uniav": {name: size for name, size in DENSE.items() if name != "inner"} | {"text": 7},
    "han": {"audio": 4, "frames": 6, "motion": 3, "classes": 3, "width": 8, "inner": 8},
    "mm_pyramid": {"audio": 4, "frames": 6, "motion": 3, "classes": 3, "width": 8, "heads": 2, "inner": 4, "levels": 2},
    "avel": {"audio": 4, "visual": 6, "classes": 4, "hidden": 5, "attention_width": 7, "positions": 9},
    "psp": {"audio": 4, "visual": 6, "classes": 4, "attention_width": 7, "positions": 9},
}
#: Those that `features` feeds; `test_systems_parts.py` has the way out and back of others.
FED = tuple(SMALL)
SMALL |= {
    "tpavi": {"visual": "pvt_v2_b0", "width": 16, "audio_features": 128},
    "ez_vsl": {"width": 8},
    "lvs": {},
}
#: Arguments that no weight tells.
UNTOLD = {
    "ccnet": {"heads": 2},
    "unav": {"heads": 2, "length": 64},
    "uniav": {"heads": 2, "length": 64},
    "mm_pyramid": {"heads": 2},
}


def make(name, **more):
    torch.manual_seed(3)
    return find_network(name).build(**{**SMALL[name], **more}).eval()


def features(name, steps=10, batch=2):
    torch.manual_seed(4)
    audio = torch.randn(batch, steps, SMALL[name]["audio"])
    if name in ("ccnet", "unav", "uniav"):
        prompts = [torch.randn(3, 7)] if name == "uniav" else []
        return torch.randn(batch, steps, 6), audio, torch.ones(batch, steps, dtype=torch.bool), *prompts
    if name in ("han", "mm_pyramid"):
        return audio, torch.randn(batch, steps, 2, 6), torch.randn(batch, steps, 3)
    return audio, torch.randn(batch, steps, 9, 6)


def answer(network, given, **more):
    with torch.inference_mode():
        found = network(*given, **more)
    if isinstance(found, list):
        return torch.cat([torch.cat([x.logits, x.offsets.flatten(2)], 2) for x in found], 1)
    if hasattr(found, "steps"):
        return torch.cat([found.steps.flatten(1), found.audio, found.visual, found.clip], 1)
    return getattr(found, "logits", found)


@pytest.mark.parametrize("name", FED)
def test_weights_go_out_and_come_back(name, tmp_path):
    network, given = make(name), features(name)
    state = network.to_official()
    unused = network.unused_keys()
    for key in unused:
        state[key] = torch.full_like(state[key], 2.0)
    assert recognise(state) == name
    wrapped = {f"module.{key}": x for key, x in state.items()}
    again = find_network(name).from_official(wrapped, **UNTOLD.get(name, {})).eval()
    assert {k: v for k, v in again.built_with.items() if v != network.built_with[k]} == {}
    torch.testing.assert_close(answer(again, given), answer(network, given), atol=0, rtol=0)
    again.save(tmp_path / "ours.safetensors")
    third = find_network(name).load(tmp_path / "ours.safetensors")
    back = third.to_official()
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


def test_psp_for_labels_of_clips_is_told_by_its_weights():
    network = make("psp", weak=True)
    again = find_network("psp").from_official(network.to_official())
    assert again.weak
    assert again.propagation.threshold == 0.095
    residual = make("avel", fusion="residual").to_official()
    assert find_network("avel").from_official(residual).fusion == "residual"


@pytest.mark.parametrize("name", SMALL)
def test_weights_that_do_not_fit_are_refused_with_what_is_wrong(name):
    if name in ("tpavi", "ez_vsl", "lvs"):
        pytest.importorskip("timm")
    state = make(name).to_official()
    other = next(n for n in NETWORKS if n != name)
    with pytest.raises(
        DataError, match=rf"no official weights of {other}.*They are those of {name}: avkit convert {name}"
    ):
        find_network(other).from_official(state)
    key = next(k for k in sorted(state) if k not in make(name).unused_keys() and k.endswith("weight"))
    for told in ("cls_head.cls_head.conv.bias", "fc_prob.weight", "L2.weight"):
        if told in state:
            with pytest.raises(DataError, match=f"have no key '{told}'; the file is not whole"):
                find_network(name).from_official({k: v for k, v in state.items() if k != told})
    wrong = state | {key: torch.zeros(2, 2), "surplus": torch.zeros(1)}
    network = make(name)
    with pytest.raises(DataError, match=r"1 unknown \(surplus\).*1 of another shape"):
        network.load_official(wrong)
    with pytest.raises(DataError, match="takes no head"):
        find_network(name).from_official(state, head=3)


def test_another_length_is_refused_with_both():
    state = make("ccnet").to_official()
    with pytest.raises(DataError, match=r"These weights of ccnet have length 64, and 32 was given\. Leave it out"):
        find_network("ccnet").from_official(state, heads=2, length=32)
    with pytest.raises(DataError, match="65 steps; this CCNet is made for at most 64"):
        make("ccnet")(*features("ccnet", steps=65))
    assert make("unav").padded_length(65) == 96
    free = make("ccnet", c2f=False, in_time=False)
    assert [x.valid.shape[1] for x in free(*features("ccnet", steps=65))] == [96, 48, 24, 12, 6, 3]
    with pytest.raises(ValueError, match="6 levels need a multiple of 32"):
        make("ccnet", length=48)


@pytest.mark.parametrize("name", ["han", "mm_pyramid", "psp"])
def test_padding_of_clips_changes_nothing(name):
    network = make(name)
    short = features(name, steps=6)
    long = [F.pad(x, (0, 0) * (x.ndim - 2) + (0, 4), value=7.0) for x in short]
    valid = torch.arange(10) < torch.tensor([6, 6])[:, None]
    with torch.inference_mode():
        one, two = network(*short), network(*long, valid=valid)
    if name == "psp":  # its LSTM reads on into the padding, backwards too: what is propagated stays valid
        assert two.logits.isfinite().all()
        return
    torch.testing.assert_close(two.clip, one.clip, atol=1e-5, rtol=0)
    torch.testing.assert_close(two.audio, one.audio, atol=1e-5, rtol=0)
    torch.testing.assert_close(two.steps[:, :6], one.steps, atol=1e-5, rtol=0)


def test_switch_of_streams():
    given = features("mm_pyramid")
    swapped, plain = make("mm_pyramid"), make("mm_pyramid", swapped=False)
    plain.load_state_dict(swapped.state_dict())
    with torch.inference_mode():
        a, b = swapped(*given), plain(*given)
    torch.testing.assert_close(a.steps, b.steps.flip(2))
    torch.testing.assert_close(a.audio, b.visual)


def test_dependency_takes_padding_from_the_right_video_where_asked():
    torch.manual_seed(0)
    x, valid = torch.randn(3, 16, 6), torch.arange(16) < torch.tensor([16, 9, 4])[:, None]
    x = x * valid[..., None]
    unmixed = EventDependency(6, 4, EventPyramidOptions(inner=8, mixed=False)).eval()
    for block in (unmixed.over_time, unmixed.over_classes):
        for path in (block.attention_path, block.feed_forward_path):
            torch.nn.init.ones_(path.scale)
    official = EventDependency(6, 4, EventPyramidOptions(inner=8, mixed=True)).eval()
    official.load_state_dict(unmixed.state_dict())
    with torch.inference_mode():
        alone = torch.cat([unmixed(x[i : i + 1], valid[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(unmixed(x, valid), alone, atol=1e-5, rtol=0)
        assert (official(x, valid) - alone).abs().max() > 1e-3
        torch.testing.assert_close(official(x[:1], valid[:1]), alone[:1], atol=1e-5, rtol=0)


def test_gate_sees_padding_only_where_asked():
    torch.manual_seed(0)
    gate = TemporalGate(8, 2, stride=2).eval()
    x = torch.randn(1, 8, 8)
    long, valid = F.pad(x, (0, 0, 0, 8)), torch.arange(16)[None] < 8
    with torch.inference_mode():
        one = gate(F.pad(x, (0, 0, 0, 2)), torch.arange(10)[None] < 8, True)
        torch.testing.assert_close(gate(long, valid, True)[:, :4], one[:, :4], atol=1e-6, rtol=0)
        unmasked = gate(long, valid, False)
    assert (unmasked[:, :4] - one[:, :4]).abs().max() > 1e-5
    assert bool((unmasked[:, 4:] == 0.5).all())


@pytest.mark.parametrize(("inputs", "outputs", "dilation"), [(5, 9, 1), (9, 5, 1), (4, 4, 3), (7, 3, 2)])
def test_convolution_is_torch_s(inputs, outputs, dilation):
    torch.manual_seed(0)
    conv, x = Conv3(inputs, outputs, dilation=dilation), torch.randn(2, 11, inputs)
    wanted = F.conv1d(x.mT, conv.weight.mT, conv.bias, padding=dilation, dilation=dilation).mT
    torch.testing.assert_close(conv(x), wanted, atol=1e-5, rtol=1e-5)


def test_parts_change_no_number(monkeypatch):
    torch.manual_seed(0)
    block = PyramidBlock(8, 1, inner=8, drop_path=0.0)
    rows, valid = torch.randn(9, 6, 8), torch.arange(6) < torch.randint(1, 7, (9, 1))
    found = {}
    for part in (10**9, 96):
        monkeypatch.setattr("avkit.nn.matmul_conv.CHUNK", part)
        for keep in (None, valid):
            x = rows.clone().requires_grad_()
            block.zero_grad()
            y = run_in_chunks(block, x, keep)
            y.square().sum().backward()
            with torch.no_grad():
                torch.testing.assert_close(run_in_chunks(block, rows, keep), y, atol=1e-6, rtol=0)
            found.setdefault(keep is None, []).append((y, x.grad, block.feed_forward[0].weight.grad.clone()))
    for one, two in found.values():
        for a, b in zip(one, two, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_frames_may_be_averaged_first():
    torch.manual_seed(0)
    layer, frames = ClipProjection(3, 6, 0, 8), torch.randn(2, 5, 8, 6)
    torch.testing.assert_close(layer(torch.randn(2, 5, 3), frames)[1], layer.frames(frames).mean(2), atol=1e-6, rtol=0)


@pytest.mark.parametrize("aware", [True, False])
def test_targets_are_those_of_a_loop(aware):
    torch.manual_seed(0)
    starts = torch.rand(12) * 50
    segments = torch.stack([starts, starts + torch.rand(12) ** 2 * 60 + 0.5], 1)
    labels, lengths = torch.randint(3, (12,)), [64 >> i for i in range(6)]
    found = assign_events(segments, labels, 3, lengths, aware)
    row = 0
    for level, (length, (low, high)) in enumerate(zip(lengths, RANGES, strict=True)):
        for point in range(length):
            t, wanted = point * 2**level, {}
            for event, (start, end) in enumerate(segments.tolist()):
                left, right = t - start, end - t
                if min(left, right) > 0 and low <= max(left, right) <= high:
                    wanted[event] = (left / 2**level, right / 2**level)
            if not aware and wanted:
                shortest = min(wanted, key=lambda e: (segments[e, 1] - segments[e, 0]).item())
                wanted = {shortest: wanted[shortest]}
                torch.testing.assert_close(found.offsets[row], torch.tensor(wanted[shortest]), atol=1e-4, rtol=0)
            classes = {labels[event].item() for event in wanted}
            assert set(found.classes[row].nonzero().flatten().tolist()) == classes
            if aware:
                for label in classes:
                    last = max(e for e in wanted if labels[e] == label)
                    torch.testing.assert_close(found.offsets[row, label], torch.tensor(wanted[last]), atol=1e-4, rtol=0)
            row += 1
    none = assign_events(torch.zeros(0, 2), torch.zeros(0, dtype=torch.long), 3, lengths, aware)
    assert not none.classes.any()


def test_loss_of_no_event_is_finite_and_the_normaliser_is_kept():
    criterion = EventCriterion(EventLossOptions())
    logits, offsets = torch.zeros(1, 8, 2, requires_grad=True), torch.rand(1, 8, 2, 2)
    valid, durations = torch.ones(1, 8, dtype=torch.bool), torch.tensor([8.0])
    levels = [EventLevel(logits[:, :: 2**i], offsets[:, :: 2**i], valid[:, :: 2**i], 2**i, 0.5) for i in range(6)]
    batch = Batch("davel", ["x"], durations, 1.0, valid, targets={"events": [torch.zeros(0, 3)]})
    losses = criterion(levels, batch)
    assert losses["segments"].item() == 0
    assert losses["loss"].isfinite()
    losses["loss"].backward()
    assert float(criterion.normaliser.value) == pytest.approx(0.9 * 250 + 0.1)
    again = Normaliser()
    again.load_state_dict(criterion.normaliser.state_dict())
    assert float(again.value) == float(criterion.normaliser.value)


class Trap:
    def __reduce__(self):
        return os.system, ("touch trapped",)


def test_convert(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    network = make("ccnet")
    last, averaged = network.to_official(), {f"module.{k}": v.half() for k, v in make("ccnet").to_official().items()}
    torch.save({"epoch": 3, "state_dict": {k: v + 1 for k, v in last.items()}, "state_dict_ema": averaged}, "full.pth")
    assert main(["convert", "ccnet", "full.pth", "-o", "ours.safetensors", "--set", "heads=2"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for text in ("weights under 'state_dict_ema'", "half precision, made float32", "'module.' taken off", "length 64"):
        assert text in told
    assert main(["convert", "ccnet", "ours.safetensors", "--reverse", "-o", "back.pth"]) == 0
    back = torch.load("back.pth", weights_only=True)
    assert all(torch.equal(back[k.removeprefix("module.")], v.float()) for k, v in averaged.items())
    assert main(["convert", "ccnet", "full.pth", "-o", "raw.safetensors", "--set", "heads=2", "--raw"]) == 0
    raw = find_network("ccnet").load("raw.safetensors").to_official()
    assert torch.equal(raw["cls_head.cls_head.conv.bias"], last["cls_head.cls_head.conv.bias"] + 1)

    torch.save(make("han").to_official(), "han.pth")
    with monkeypatch.context() as wide:  # HAN's unused layers have their published size
        wide.setenv("COLUMNS", "200")
        assert main(["convert", "han", "han.pth"]) == 0
    assert "44 are unused" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["hann", "x.pth"], "Unknown system 'hann'. Did you mean 'han'?"),
        (["han", "none.pth"], "none.pth does not exist"),
        (["han", "short.pth"], "cut short has to be fetched again"),
        (["avel", "trap.pt"], "avkit convert avel --script"),
        (["han", "whole.pth", "--set", "heads"], "--set takes KEY=VALUE"),
        (["psp", "whole.pth"], "They are those of han: avkit convert han"),
        (["han", "whole.pth", "-o", "x.pth"], "avkit writes .safetensors"),
        (["han", "whole.pth", "--reverse"], "cannot be read as .safetensors"),
    ],
)
def test_convert_says_what_is_wrong(words, error, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.save(make("han").to_official(), "whole.pth")
    (tmp_path / "short.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:5000])
    (tmp_path / "trap.pt").write_bytes(pickle.dumps(Trap()))
    assert main(["convert", *words]) == 2
    assert error in capsys.readouterr().err
    assert not (tmp_path / "trapped").exists(), "nothing in a file is run"


def test_script_for_pickled_modules(capsys):
    assert main(["convert", "avel", "--script"]) == 0
    assert "state_dict" in capsys.readouterr().out


def test_weights_alone_or_wrapped(tmp_path):
    state = {"a": torch.ones(2)}
    for name, value, key in (("plain", state, []), ("model", {"model": state}, ["weights under 'model'"])):
        torch.save(value, tmp_path / name)
        assert read_official(tmp_path / name)[1] == key


@pytest.mark.parametrize(
    ("system", "tasks", "options", "error"),
    [
        ("psp", ["ave_weak"], {}, "use --tasks ave_weak --model.system.weak true"),
        ("psp", ["ave"], {"weak": True}, "use --tasks ave_weak --model.system.weak true"),
        ("han", ["ave"], {}, "han answers avvp, not ave"),
        ("avel", ["ave", "ave_weak"], {}, "one task at a time"),
    ],
)
def test_systems_say_what_they_answer(system, tasks, options, error):
    with pytest.raises(ValueError, match=error):
        find_config(system)(**options).make_tasks(tasks, Vocabulary(["a"]))


@pytest.mark.parametrize("switch", ["cmcc", "cmi", "tcg", "c2f", "f2c", "in_time"])
def test_every_part_of_ccnet_can_be_left_out(switch):
    given = features("ccnet")
    whole, without = make("ccnet"), make("ccnet", **{switch: False})
    assert answer(without, given).shape == answer(whole, given).shape
    assert len(without.state_dict()) < len(whole.state_dict()) or switch == "cmi"
    assert (answer(without, given) - answer(whole, given)).abs().max() > 0


def test_order_of_collaborations():
    with pytest.raises(ValueError, match="Unknown order 'f2c'"):
        make("ccnet", order="f2c")
    given = features("ccnet")
    one, two = make("ccnet"), make("ccnet", order="f2c_c2f")
    two.load_state_dict(one.state_dict())
    assert (answer(one, given) - answer(two, given)).abs().max() > 1e-6
