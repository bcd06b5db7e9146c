# SPDX-License-Identifier: Apache-2.0
import json
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from avkit.encoders.pretrained import ImagePreprocessor

try:
    import open_clip
    import timm

    from avkit.encoders.clip import ClipImage, ClipText
    from avkit.encoders.timm import TimmPyramid, TimmViT
except (ImportError, RuntimeError) as e:  # both import torchvision, which is built for one torch alone
    pytest.skip(f"timm or open_clip cannot be imported beside this torch: {e}", allow_module_level=True)

CLIP_NAME = "ViT-avkit-test"
CLIP_CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 12, "vocab_size": 49_408, "width": 24, "heads": 2, "layers": 2},
}
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module", autouse=True)
def _tiny_clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / f"{CLIP_NAME}.json"
    path.write_text(json.dumps(CLIP_CONFIG))
    open_clip.add_model_config(path)


@pytest.fixture
def frames():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 64, 96)).astype(np.uint8))


VISUAL = {
    "pyramid": partial(TimmPyramid, "pvt_v2_b0"),
    "vit": partial(TimmViT, "vit_tiny_patch16_224"),
    "clip": partial(ClipImage, CLIP_NAME),
}


@pytest.mark.parametrize("make", VISUAL.values(), ids=VISUAL.keys())
class TestEveryVisualEncoder:
    def test_shapes_are_what_the_attributes_say(self, make, frames):
        encoder = make().eval()
        out = encoder(frames)
        rows, columns = out.grid
        assert out.frame.shape == (2, encoder.width)
        assert out.patches.shape == (2, rows * columns, encoder.width)
        assert [m.shape[1] for m in out.pyramid] == encoder.pyramid_widths
        expected = [(64 // s, 96 // s) for s in encoder.pyramid_strides]
        assert [tuple(m.shape[2:]) for m in out.pyramid] == expected

    def test_bytes_and_unit_floats_are_the_same(self, make, frames):
        encoder = make().eval()
        torch.testing.assert_close(encoder(frames).patches, encoder(frames.float() / 255).patches)

    def test_gradient_reaches_the_first_layer(self, make, frames):
        encoder = make()
        out = encoder(frames)
        (
            out.frame.square().mean() + out.patches.square().mean() + sum(m.square().mean() for m in out.pyramid)
        ).backward()
        first = next(p for p in encoder.parameters() if p.ndim == 4)
        assert first.grad is not None
        assert first.grad.abs().sum() > 0

    def test_pictures_do_not_mix(self, make, frames):
        encoder = make().eval()
        torch.testing.assert_close(encoder(frames[:1]).frame, encoder(frames).frame[:1], atol=1e-4, rtol=1e-4)


class TestImagePreprocessor:
    def test_normalises_by_hand(self):
        out = ImagePreprocessor(IMAGENET_MEAN, IMAGENET_STD)(torch.full((1, 3, 2, 2), 51, dtype=torch.uint8))
        expected = [(0.2 - m) / s for m, s in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
        torch.testing.assert_close(out[0, :, 0, 0], torch.tensor(expected))

    def test_resizes_as_pillow_does(self, frames):
        from PIL import Image

        out = ImagePreprocessor((0, 0, 0), (1, 1, 1), (32, 32))(frames)[0].permute(1, 2, 0).numpy()
        picture = Image.fromarray(frames[0].permute(1, 2, 0).numpy())
        expected = np.asarray(picture.resize((32, 32), Image.Resampling.BICUBIC)) / 255
        np.testing.assert_allclose(out, expected, atol=1.5 / 255)  # Pillow rounds twice


class TestTimm:
    def test_pyramid_is_timms_own(self, frames, tmp_path):
        whole = timm.create_model("pvt_v2_b0", num_classes=7).eval()
        torch.save(whole.state_dict(), tmp_path / "pvt.pth")
        encoder = TimmPyramid("pvt_v2_b0", pretrained=tmp_path / "pvt.pth").eval()
        mean, std = torch.tensor(IMAGENET_MEAN)[:, None, None], torch.tensor(IMAGENET_STD)[:, None, None]
        expected = whole.forward_features((frames / 255 - mean) / std)
        torch.testing.assert_close(encoder(frames).pyramid[-1], expected)
        torch.testing.assert_close(encoder(frames).frame, expected.mean((2, 3)))

    def test_patches_row_by_row_at_another_stride(self, frames):
        encoder = TimmPyramid("pvt_v2_b0", patch_stride=16).eval()
        out = encoder(frames)
        assert out.grid == (4, 6)
        torch.testing.assert_close(out.patches[:, 7], out.pyramid[2][:, :, 1, 1])
        with pytest.raises(ValueError, match=r"no map of stride 5; patch_stride may be one of \[4, 8, 16, 32\]"):
            TimmPyramid("pvt_v2_b0", patch_stride=5)

    def test_vit_tokens(self, tmp_path):
        whole = timm.create_model("vit_tiny_patch16_224").eval()
        save_file(whole.state_dict(), tmp_path / "vit.safetensors")
        encoder = TimmViT("vit_tiny_patch16_224", pretrained=str(tmp_path / "vit.safetensors")).eval()
        frames = torch.rand(1, 3, 224, 224)
        tokens = whole.forward_features((frames - 0.5) / 0.5)
        torch.testing.assert_close(encoder(frames).frame, tokens[:, 0])
        torch.testing.assert_close(encoder(frames).patches, tokens[:, 1:])

    def test_misfit_is_not_skipped(self, tmp_path):
        state = timm.create_model("pvt_v2_b0").state_dict()
        state["stages.0.blocks.0.attn.q.bias_"] = state.pop("stages.0.blocks.0.attn.q.bias")
        torch.save(state, tmp_path / "bad.pth")
        with pytest.raises(ValueError, match=r"1 missing \(stages\.0.*bias\); 1 unexpected \(stages\.0.*bias_\)"):
            TimmPyramid("pvt_v2_b0", pretrained=tmp_path / "bad.pth")

    def test_unknown_name(self):
        with pytest.raises(ValueError, match=r"timm knows no model 'pvt_v9'. Similar: .*pvt_v2_b5"):
            TimmPyramid("pvt_v9")

    def test_vit_of_another_kind(self):
        with pytest.raises(ValueError, match=r"pvt_v2_b0 is not a vision transformer.*Use TimmPyramid"):
            TimmViT("pvt_v2_b0")


class TestClip:
    @pytest.fixture
    def weights(self, tmp_path):
        model = open_clip.create_model(CLIP_NAME).eval()
        torch.save({"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, tmp_path / "clip.pt")
        return model, tmp_path / "clip.pt"

    def test_frame_is_encode_image(self, weights, frames):
        model, path = weights
        encoder = ClipImage(CLIP_NAME, pretrained=path).eval()
        out = encoder(frames)
        torch.testing.assert_close(out.frame, model.encode_image(encoder.preprocess(frames)))
        assert out.grid == (4, 4)
        assert not hasattr(encoder, "transformer")

    def test_pooled_is_encode_text(self, weights):
        model, path = weights
        texts = ["a dog", "a man plays the old guitar", "", "many words " * 20]
        out = ClipText(CLIP_NAME, pretrained=path).eval()(texts)
        torch.testing.assert_close(out.pooled, model.encode_text(open_clip.tokenize(texts, context_length=12)))
        assert out.valid.sum(1).tolist() == [4, 8, 2, 12]  # words between a start and an end

    def test_padding_changes_nothing(self):
        encoder = ClipText(CLIP_NAME).eval()
        alone, beside = encoder(["a dog"]), encoder(["a dog", "a man plays the old guitar"])
        assert alone.tokens.shape == (1, 4, 16)
        torch.testing.assert_close(alone.tokens[0], beside.tokens[0, :4])
        torch.testing.assert_close(alone.pooled[0], alone.tokens[0, 3])

    def test_text_gradient(self):
        encoder = ClipText(CLIP_NAME)
        encoder(["a dog"]).pooled.sum().backward()
        assert encoder.embed.weight.grad.abs().sum() > 0

    def test_unknown_names(self):
        with pytest.raises(ValueError, match=r"open_clip knows no model 'ViT-L-41'\. Similar: .*ViT-L-14"):
            ClipImage("ViT-L-41")
        with pytest.raises(
            ValueError, match=r"no pretrained weights 'opnai', and there is no file.*Tags of ViT-B-32: openai"
        ):
            ClipText("ViT-B-32", pretrained="opnai")

    def test_tower_of_another_kind(self):
        with pytest.raises(ValueError, match="RN50 has a picture tower of class ModifiedResNet"):
            ClipImage("RN50")
