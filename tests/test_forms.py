# SPDX-License-Identifier: Apache-2.0
"""Forms of AV-Unified's backbone: the paper's equations as options, by themselves and as a preset."""

from dataclasses import fields

import pytest
import torch

from avkit.batch import Item, Vocabulary
from avkit.cli import main
from avkit.collate import collate
from avkit.datasets.scenes import Scenes
from avkit.systems.av_unified.form import FORMS, BackboneForm
from avkit.systems.av_unified.system import AVUnifiedConfig
from avkit.tasks import find_task
from avkit.training.module import AVModel

SCENES = Scenes("train", size=8, image_size=32)
OPTIONS = [record.name for record in fields(BackboneForm)]


def batch(task):
    cls = find_task(task)
    wanted = frozenset((*cls.targets, *cls.optional)) & SCENES.provides
    return collate([SCENES.item(i, wanted) for i in range(2)], task)


def model(tasks, **options):
    torch.manual_seed(0)
    return AVModel(tasks, SCENES.vocabulary, AVUnifiedConfig(width=32, **options))


def values(net, given):
    with torch.no_grad():
        return {k: v for k, v in net.eval()(given).values.items() if isinstance(v, torch.Tensor)}


def noise(*modules):
    for module in modules:
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("task", ["avvp", "ssl"])
def test_cross_modal_modules_reach_avvp_and_ssl_in_the_papers_form_alone(task, form):
    net, given = model(task, form=form), batch(task)
    before = values(net, given)
    for scale in net.system.temporal.scales:
        noise(scale.audio_cross, scale.frame_cross)
    noise(net.system.spatial.patch_self, net.system.spatial.patch_to_audio, net.system.gate)
    after = values(net, given)
    changed = any(not torch.equal(before[name], after[name]) for name in before)
    assert changed == (form == "paper")


@pytest.mark.parametrize(("task", "form"), [("avqa", "paper"), ("ave", "paper")])
def test_every_part_of_the_papers_form_is_trained(task, form):
    net = model(task, form=form).train()
    given = batch(task)
    net.system.loss(net.system(given), given)["loss"].backward()
    unused = ("system.frame_in", "text", "projection.frame", "projection.patches")  # which some heads do not read
    for name, parameter in net.named_parameters():
        if name.startswith(("system.temporal", "system.spatial", "system.gate", "system.projection")):
            reached = parameter.grad is not None and float(parameter.grad.abs().max()) > 0
            if not reached:
                assert any(part in name for part in (*unused, "frame", "bias", "query_time")), name


def test_the_gate_is_visible_behind_the_normalising_head_with_a_projection_alone():
    gradients = {}
    for projection in (False, True):
        net, given = model("avqa", gate_projection=projection).train(), batch("avqa")
        net.system.loss(net.system(given), given)["loss"].backward()
        gradients[projection] = max(float(p.grad.abs().max()) for p in net.system.gate.space.parameters())
    assert gradients[False] < 1e-6 < 1e-4 < gradients[True]


def test_default_form_has_the_parameters_of_earlier_checkpoints():
    names = set(dict(model("ave").system.named_parameters()))
    assert not any("projection." in name or "deeper." in name for name in names)
    assert any(name.startswith("spatial.feed_forward.") for name in names)
    earlier = model("ave").state_dict()
    model("ave", form="default").load_state_dict(earlier)


def test_given_options_win_over_the_form_and_are_named():
    config = AVUnifiedConfig(form="paper", gate_residual=True, temporal_depth=2)
    form = config.backbone_form()
    assert form.gate_residual
    assert form.temporal_depth == 2
    assert form.always_cross_modal
    assert config.notes() == ["The backbone has the paper form, except gate_residual true, temporal_depth 2."]
    assert AVUnifiedConfig().notes() == []
    assert AVUnifiedConfig(form="paper").notes() == ["The backbone has the paper form."]


def test_every_option_of_a_form_is_an_option_of_the_system():
    names = {record.name for record in fields(AVUnifiedConfig)}
    assert names >= set(OPTIONS)
    default = vars(FORMS["default"])
    other = {name: not default[name] if isinstance(default[name], bool) else 2 for name in OPTIONS}
    form = AVUnifiedConfig(**other).backbone_form()
    assert {name: vars(form)[name] for name in OPTIONS} == other


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["audio_streams", "3"], "model.system.audio_streams is 3; it is 1 or 2."),
        (["temporal_depth", "0"], "model.system.temporal_depth is 0; it is at least 1. --model.system.temporal false"),
        (["form", "papr"], "model.system.form"),
    ],
)
def test_wrong_values_are_refused_in_one_line(option, message, tmp_path, capsys):
    words = [f"--model.system.{option[0]}", option[1], "--data.scenes.val_size", "4", "--out", str(tmp_path)]
    assert main(["fit", "--tasks", "ave", *words]) != 0
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("tokens", "grid"), [(50, (7, 7)), (5, (2, 2)), (49, (7, 7)), (14, (1, 14))])
def test_the_class_token_of_stored_patches_is_the_frame(tokens, grid):
    torch.manual_seed(1)
    visual = torch.randn(3, tokens, 8)
    config = AVUnifiedConfig(width=16, visual_features=8, audio_features=4)
    net = AVModel("ave", Vocabulary(classes=["dog", "cat"]), config)
    given = collate([Item("clip", 3.0, 1.0, visual=visual, audio=torch.randn(3, 4))], "ave")
    features = net.system.encode_visual(given)
    has_class = tokens != grid[0] * grid[1]
    assert features.grid == grid
    assert features.patches.shape[2] == grid[0] * grid[1]
    torch.testing.assert_close(features.frame[0], visual[:, 0] if has_class else visual.mean(1))
    net.system.config.class_token = False
    torch.testing.assert_close(net.system.encode_visual(given).frame[0], visual.mean(1))
