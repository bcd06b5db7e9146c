# SPDX-License-Identifier: Apache-2.0
"""UnAV and CCNet against what the authors' code gave."""

import random

import numpy as np
import pytest
import torch
from golden import golden_cases
from recorded import Recorded
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from avkit.nn.event_criterion import EventCriterion, assign_events, ranges_of
from avkit.nn.event_dependency import EventDependency
from avkit.nn.event_nms import decode_level, steps_to_seconds, suppress_events
from avkit.nn.event_options import EventLossOptions
from avkit.nn.losses import distance_iou_loss, sigmoid_focal_loss
from avkit.nn.masked_conv import ScaledDropPath
from avkit.systems.ccnet.network import CCNet
from avkit.systems.unav.network import UnAV
from avkit.training.schedule import groups, late_cosine
from avkit.training.truncate import truncate


class Video(Recorded):
    """A case of untrimmed videos."""

    def network(self):
        config = self.facts["model_config"]
        cls = {"CCNet": CCNet, "UnAV": UnAV}[self.facts["model"]]
        options = {"heads": config["n_head"], "length": config["max_seq_len"]}
        if cls is UnAV:
            options["positions"] = config["use_abs_pe"]
        return cls.from_official(self.weights(), **options).eval()

    def batch(self):
        rng = np.random.default_rng(self.facts["input_seed"])
        config = self.facts["model_config"]
        lengths = self.facts["lengths"]
        visual = torch.zeros(len(lengths), max(lengths), config["input_dim_V"])
        audio = torch.zeros(len(lengths), max(lengths), config["input_dim_A"])
        for i, n in enumerate(lengths):
            visual[i, :n] = torch.tensor(rng.standard_normal((n, visual.shape[2])), dtype=torch.float32)
            audio[i, :n] = torch.tensor(rng.standard_normal((n, audio.shape[2])), dtype=torch.float32)
        return visual, audio, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]

    def levels(self):
        """Number of levels of the pyramid."""
        return len(self.names("out/cls_logits/"))

    def level_lengths(self):
        """Points of each level."""
        return [self.facts["model_config"]["max_seq_len"] >> level for level in range(self.levels())]

    def same_if_recorded(self, name, value, *bounds):
        """Compare what was recorded; returns whether it was."""
        if name not in self.facts["tensors"]:
            return False
        self.same(name, value, *bounds)
        return True


SLOW = pytest.mark.slow
QUICK_CURVES = ("ccnet_small_batch4", "unav_small_batch1")
DENSE = [*golden_cases("models/temporal/ccnet"), *golden_cases("models/temporal/unav")]


#: The same; long trainings are slow, but for one of each system.
CURVES = [
    case if case.id.endswith(QUICK_CURVES) else pytest.param(*case.values, id=case.id, marks=[*case.marks, SLOW])
    for case in DENSE
]


@pytest.mark.parametrize("case", DENSE)
def test_every_stage_is_the_official_one(case):
    case = Video(case)
    network = case.network()
    outputs = {}

    def record(name, module):
        module.register_forward_hook(lambda module, inputs, out: outputs.setdefault(name, []).append(out))

    record("self_att_V", network.trunk.visual_self[-1])
    if isinstance(network, CCNet):
        record("c2f_attention#", network.neck.coarse_to_fine)
        record("mtgc_before_f2c#", network.neck.dependency)
        for block in network.neck.fine_to_coarse.blocks:
            record("f2c_attention/", block)
    with torch.inference_mode():
        visual, audio, valid = network.pad(*case.batch())
        mask = case.expected("out/input_mask")
        case.same("out/input_mask", valid[:, None] if mask.ndim == 3 else valid)
        levels = network.pyramid(visual, audio, valid)
        neck = network.relate(levels)
        events = network.decoder(neck, [level.valid for level in levels])
    blocks = len(network.trunk.visual_self)
    case.same_if_recorded(f"out/self_att_V/{blocks - 1}", outputs.pop("self_att_V")[0].mT, 1e-5)
    for name, values in outputs.items():
        recorded = case.names(f"out/{name}")
        assert len(values) == len(recorded) or not recorded, name
        for i, x in enumerate(values):
            case.same_if_recorded(f"out/{name}{i}", x.mT, 1e-5)
    for i, level in enumerate(levels):
        case.same_if_recorded(f"out/backbone_V/{i}", level.visual.mT, 1e-5)
        case.same_if_recorded(f"out/backbone_A/{i}", level.audio.mT, 1e-5)
        case.same_if_recorded(f"out/neck/{i}", neck[i].mT, 1e-5)
        if level.audio_gate is not None:
            case.same_if_recorded(f"out/gate_audio/{i}", level.audio_gate.mT, 1e-5)
            case.same_if_recorded(f"out/gate_visual/{i}", level.visual_gate.mT, 1e-5)
        case.same(f"out/cls_logits/{i}", events[i].logits)
        case.same(f"out/offsets/{i}", events[i].offsets)


def grid_of(case, video):
    """Events in steps, as the official loader makes them."""
    data = case.facts["dataset_config"]
    events = torch.tensor(video["events"], dtype=torch.float32).reshape(-1, 3)
    seconds = events[:, :2]
    grid = (seconds * data["default_fps"] - 0.5 * data["num_frames"]) / data["feat_stride"]
    return grid, events[:, 2].long()


def without_drops(network):
    for module in network.modules():
        if isinstance(module, ScaledDropPath):
            module.drop = 0.0
    return network


def targets_of(case, lengths):
    config = case.facts["model_config"]
    return [
        assign_events(
            *grid_of(case, video), config["num_classes"], lengths, config["class_aware"], ranges_of(len(lengths))
        )
        for video in case.facts["videos"]
    ]


@pytest.mark.parametrize("case", DENSE)
def test_a_video_alone_is_the_official_one(case):
    case = Video(case)
    network, batch = case.network(), case.batch()
    unmixed = case.network()
    for module in unmixed.modules():
        if isinstance(module, EventDependency):
            module.mixed = False
    with torch.inference_mode():
        together = unmixed(*batch)[0].logits
        for i, length in enumerate(case.facts["lengths"]):
            name = f"out_alone/{i}/cls_logits/0"
            if name in case.facts["tensors"]:
                alone = network(*(x[i : i + 1, :length] for x in batch))[0].logits
                case.same(name, alone)
                torch.testing.assert_close(together[i : i + 1], alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("case", DENSE)
def test_targets_are_the_official_ones(case):
    case = Video(case)
    for i, found in enumerate(targets_of(case, case.level_lengths())):
        torch.testing.assert_close(
            grid_of(case, case.facts["videos"][i])[0], case.expected(f"target/{i}/segments_grid"), atol=1e-5, rtol=1e-6
        )
        rows = case.expected(f"target/{i}/cls_nonzero").long()
        assert torch.equal(found.classes.nonzero(), rows.reshape(-1, 2))
        places = case.expected(f"target/{i}/offset_index").long()
        values = case.expected(f"target/{i}/offset_value").float().reshape(-1, 2)
        there = tuple(places.T) if places.ndim > 1 else (places,)
        torch.testing.assert_close(found.offsets[there], values, atol=2e-5, rtol=0)


@pytest.mark.parametrize("case", DENSE)
def test_losses_and_gradients_are_the_official_ones(case):
    case = Video(case)
    network = without_drops(case.network().train())
    criterion, batch = EventCriterion(EventLossOptions()), case.batch()
    grads = None
    for wanted in case.info["train_mode_losses_no_update"]:
        out = network(*batch)
        losses = criterion.loss_of(out, targets_of(case, [level.valid.shape[1] for level in out]))
        if grads is None:
            losses["loss"].backward()
            grads = {network.official_name(k): p.grad for k, p in network.named_parameters() if p.grad is not None}
        for name, theirs in (("loss", "final_loss"), ("classes", "cls_loss"), ("segments", "reg_loss")):
            assert losses[name].item() == pytest.approx(wanted[theirs], abs=1e-4), name
        assert float(criterion.normaliser.value) == pytest.approx(wanted["loss_normalizer_after"], rel=1e-9)
    if (wanted := case.info.get("loss_weight_-1")) is not None:
        criterion.segment_weight = -1
        losses = criterion.loss_of(out, targets_of(case, [level.valid.shape[1] for level in out]))
        assert losses["loss"].item() == pytest.approx(wanted["final_loss"], abs=1e-4)
    expected = case.expected("grad_l2")
    names = sorted(entry["key"] for entry in case.facts["state_dict"])
    assert len(names) == len(expected)
    # in float64: float32 loses 0.4 % where 39 million squares are summed, as in `feature_squeeze` at published size
    missing = torch.tensor(torch.nan, dtype=torch.float64)
    found = torch.stack([grads[name].double().norm() if name in grads else missing for name in names])
    torch.testing.assert_close(found, expected.double(), atol=2e-4, rtol=1e-3, equal_nan=True)


@pytest.mark.parametrize("case", CURVES)
def test_training_goes_the_official_way(case):
    case = Video(case)
    if "curve" not in case.info:
        pytest.skip("the case has no recorded training")
    curve = case.info["curve"]
    options, steps = curve["opt"], curve["iters_per_epoch"]
    rise, total = options["warmup_epochs"] * steps, (options["warmup_epochs"] + options["epochs"]) * steps
    network = without_drops(case.network().train())
    criterion = EventCriterion(EventLossOptions())
    optimizer = torch.optim.AdamW(
        groups(network.parameters(), options["weight_decay"]), lr=options["learning_rate"], betas=(0.9, 0.999)
    )
    assert [len(g["params"]) for g in optimizer.param_groups] == [g["n"] for g in case.info["optim_groups"]]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: late_cosine(step, rise, total))
    averaged = AveragedModel(network, avg_fn=get_ema_avg_fn(curve["ema_decay"]), use_buffers=True)
    batch = case.batch()
    targets = targets_of(case, case.level_lengths())
    for row in curve["rows"]:
        losses = criterion.loss_of(network(*batch), targets)
        for name, theirs in (("loss", "final_loss"), ("classes", "cls_loss"), ("segments", "reg_loss")):
            assert losses[name].item() == pytest.approx(row[theirs], rel=1e-3, abs=1e-4), (row["step"], name)
        assert schedule.get_last_lr()[0] == pytest.approx(row["lr_used"], abs=1e-7)
        optimizer.zero_grad()
        losses["loss"].backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), curve["clip"])
        assert norm.item() == pytest.approx(row["grad_norm_before_clip"], rel=5e-3)
        optimizer.step()
        schedule.step()
        averaged.update_parameters(network)
    names = sorted(entry["key"] for entry in case.facts["state_dict"])
    for name, module in (("abs_sum", network), ("ema_abs_sum", averaged.module)):
        state = module.to_official()
        found = torch.stack([state[key].double().abs().sum() for key in names])
        torch.testing.assert_close(found, case.expected(f"curve_end/{name}").double(), rtol=1e-3, atol=2e-3)
    with torch.inference_mode():
        level = network.eval()(*batch)[0]
    case.same("curve_end/cls_logits/0", level.logits, 5e-3)
    case.same("curve_end/offsets/0", level.offsets, 5e-3)


@pytest.mark.parametrize("case", DENSE)
def test_decoded_events_are_the_official_ones(case):
    case = Video(case)
    config, data = case.facts["model_config"]["test_cfg"], case.facts["dataset_config"]
    levels = []
    for i in range(case.levels()):
        mask = (
            case.expected(f"out/mask/{i}").bool().flatten(1, -1) if f"out/mask/{i}" in case.facts["tensors"] else None
        )
        levels.append((case.expected(f"out/cls_logits/{i}"), case.expected(f"out/offsets/{i}"), mask))
    for row, video in enumerate(case.facts["videos"]):
        parts = []
        for i, (logits, offsets, mask) in enumerate(levels):
            scores = (logits[row].sigmoid() * mask[row][:, None]).numpy()
            points = np.arange(len(scores), dtype=np.float32) * 2**i
            parts.append(
                decode_level(
                    scores,
                    offsets[row].numpy(),
                    points,
                    2**i,
                    config["pre_nms_thresh"],
                    config["pre_nms_topk"],
                    config["duration_thresh"],
                )
            )
        every = tuple(np.concatenate(x) for x in zip(*parts, strict=True))
        for name, found in zip(("segments", "scores", "labels"), every, strict=True):
            np.testing.assert_allclose(found, case.arrays[f"pre_nms/{row}/{name}"], atol=1e-4, rtol=0, err_msg=name)
        [kept] = suppress_events(
            [every], sigma=config["nms_sigma"], min_score=config["min_score"], max_events=config["max_seg_num"]
        )
        for name, found in zip(("segments", "scores", "labels"), kept, strict=True):
            np.testing.assert_allclose(found, case.arrays[f"post_nms_grid/{row}/{name}"], atol=1e-4, rtol=0)
        seconds = steps_to_seconds(
            kept[0], data["feat_stride"], data["num_frames"], data["default_fps"], video["duration"]
        )
        np.testing.assert_allclose(seconds, case.arrays[f"final_seconds/{row}/segments"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("case", golden_cases("models/temporal/parts"))
def test_parts_are_the_official_ones(case):
    case = Recorded(case)
    for wanted in case.info["truncate"]:
        segments = torch.tensor(wanted["segments"], dtype=torch.float32)
        min_share = wanted["crop_ratio"][0] if wanted["crop_ratio"] else None
        start, stop, stay = truncate(
            wanted["length"], segments, wanted["max_seq_len"], min_share, random.Random(wanted["random_seed"])
        )
        assert (start, stop) == (wanted["start"], wanted["stop"])
        assert stay.nonzero().flatten().tolist() == wanted["out_labels"]
        found = segments[stay].clamp(start, stop) - start
        torch.testing.assert_close(found, torch.tensor(wanted["out_segments"]).reshape(-1, 2), atol=1e-5, rtol=0)
    for wanted in case.info["schedule"]:
        rates = [late_cosine(i, wanted["warmup_steps"], wanted["max_steps"]) for i in range(wanted["max_steps"] + 1)]
        found = torch.tensor(rates) * wanted["base_lr"]
        expected = torch.tensor(wanted["lr_before_each_step_then_final"])
        torch.testing.assert_close(found, expected, atol=2e-8, rtol=0)
    logits, target = case.expected("focal/logits").requires_grad_(), case.expected("focal/targets")
    losses = sigmoid_focal_loss(logits, target)
    torch.testing.assert_close(losses.detach(), case.expected("focal/per_element"), atol=1e-6, rtol=1e-6)
    losses.sum().backward()
    torch.testing.assert_close(logits.grad, case.expected("focal/grad_of_sum"), atol=1e-6, rtol=1e-5)
    found, target = case.expected("diou/pred").requires_grad_(), case.expected("diou/target")
    pairs = (target > 0).any(-1)
    losses = distance_iou_loss(found[pairs], target[pairs])
    torch.testing.assert_close(losses.detach(), case.expected("diou/per_pair"), atol=1e-6, rtol=1e-6)
    losses.sum().backward()
    torch.testing.assert_close(found.grad, case.expected("diou/grad_of_sum"), atol=1e-6, rtol=1e-5)
