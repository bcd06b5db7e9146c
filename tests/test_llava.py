# SPDX-License-Identifier: Apache-2.0
"""Hidden features of LLaVA and Video-LLaVA, from tiny random models of the same classes."""

import shutil

import pytest
import torch

from avkit.datasets.scenes import Scenes
from avkit.encoders import build_video_encoder, build_visual_encoder
from avkit.extraction.extract import extract
from avkit.extraction.recipe import read_recipe
from avkit.extraction.sources import sources_in
from avkit.features.store import Store
from avkit.media.write import write_video

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("torchvision", reason="the processor of Video-LLaVA needs it")
SIDE, WIDTH = 28, 32


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders with a tiny LLaVA and a tiny Video-LLaVA, as save_pretrained writes them."""
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers import models as kinds

    words = ["<unk>", "<pad>", "<s>", "</s>", "<image>", "<video>", "USER:", "ASSISTANT:", "What", "makes", "sound"]
    plain = Tokenizer(kinds.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    tokens = transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain, additional_special_tokens=["<image>", "<video>"], **special
    )
    text = transformers.LlamaConfig(
        vocab_size=16,
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    eyes = transformers.CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=14,
        projection_dim=16,
    )
    sizes = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    both = {"tokenizer": tokens, "patch_size": 14, "vision_feature_select_strategy": "default"}
    both |= {"num_additional_image_tokens": 1}
    torch.manual_seed(0)
    out = tmp_path_factory.mktemp("models")
    config = transformers.LlavaConfig(vision_config=eyes, text_config=text, image_token_index=4, image_seq_length=4)
    transformers.LlavaForConditionalGeneration(config).save_pretrained(out / "llava")
    transformers.LlavaProcessor(image_processor=transformers.CLIPImageProcessor(**sizes), **both).save_pretrained(
        out / "llava"
    )
    config = transformers.VideoLlavaConfig(
        vision_config=eyes,
        text_config=text,
        image_token_index=4,
        video_token_index=5,
        image_seq_length=4,
        video_seq_length=40,
    )
    transformers.VideoLlavaForConditionalGeneration(config).save_pretrained(out / "video")
    parts = {"image_processor": transformers.VideoLlavaImageProcessor(**sizes)}
    if hasattr(transformers, "VideoLlavaVideoProcessor"):
        parts["video_processor"] = transformers.VideoLlavaVideoProcessor(**sizes)
    transformers.VideoLlavaProcessor(**parts, **both).save_pretrained(out / "video")
    return out


def pictures(count):
    return torch.randint(0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.manual_seed(1))


@torch.no_grad()
def test_an_image_is_encoded_independently_of_others(models):
    encoder = build_visual_encoder("llava", str(models / "llava")).eval()
    features = encoder(pictures(3))
    assert features.frame.shape == (3, WIDTH)
    alone = encoder(pictures(3)[1:2])
    torch.testing.assert_close(features.frame[1:2], alone.frame, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(features.patches[:, -1], features.frame)
    assert not torch.allclose(features.frame[0], features.frame[1], atol=1e-4)
    # the model predicts its next word from the last hidden state
    inputs = encoder.processor(text=[encoder.prompt], images=[pictures(1)[0]], return_tensors="pt")
    logits = encoder.network.lm_head(alone.frame * 0 + encoder(pictures(1)).frame)
    torch.testing.assert_close(logits, encoder.network(**inputs).logits[:, -1], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_video_is_encoded_as_a_whole(models):
    encoder = build_video_encoder("video_llava", str(models / "video")).eval()
    tokens = encoder(pictures(10))
    question = encoder.prompt.split("<video>")[1].split()
    assert tokens.shape == (len(question), WIDTH)
    torch.testing.assert_close(encoder(pictures(10).flip(0)).shape, tokens.shape)
    assert not torch.allclose(encoder(pictures(10).flip(0)), tokens, atol=1e-4)  # the order of frames matters


def test_extraction_writes_stores_that_captions_can_read(models, tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    for index in range(2):
        item = Scenes("val", 4, image_size=32).item(index, {"mask"})
        frames = ((k / 2, frame.permute(1, 2, 0).numpy()) for k, frame in enumerate(item.frames))
        write_video(clips / f"clip{index}.mp4", frames, 2.0, None)
    for name, stream, shape in (("llava", "llava", (5, WIDTH)), ("video_llava", "video_llava", None)):
        folder = models / ("video" if "video" in name else "llava")
        recipe = read_recipe(name).with_weights(str(folder))
        done = extract(sources_in(clips), recipe, tmp_path / "out", batch_size=3, workers=0)
        assert done.done == 2
        assert not done.failed
        store = Store(tmp_path / "out" / f"{stream}.h5")
        values = store.read("clip1")
        assert values.shape == shape if shape else values.shape[1] == WIDTH
        assert store.facts.hop == (1.0 if shape else 0.0)
        assert store.shape == (WIDTH,)


def test_weights_are_needed_and_read_safely(models, tmp_path):
    with pytest.raises(ValueError, match="no random form"):
        build_visual_encoder("llava")
    with pytest.raises(ValueError, match="cannot be loaded as LlavaForConditionalGeneration"):
        build_visual_encoder("llava", str(tmp_path))
    pickled = tmp_path / "pickled"
    shutil.copytree(models / "llava", pickled)
    (pickled / "model.safetensors").unlink()
    torch.save({}, pickled / "pytorch_model.bin")
    with pytest.raises(ValueError, match="safetensors"):
        build_visual_encoder("llava", str(pickled))
