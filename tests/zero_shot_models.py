# SPDX-License-Identifier: Apache-2.0
"""Tiny models of transformers with random weights, saved as the published ones are."""

import pytest

#: Words of the tiny tokenizer.
WORDS = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "photo", "of", "dog", "cat", "car", ".", "person", "the"),
    *("sound", "chainsaw", "is", "there", "?", "yes", "no", "violin"),
)


def transformers_here():
    """transformers with the pictures' side of torchvision; skips where either is absent."""
    pytest.importorskip("torchvision", exc_type=ImportError)
    return pytest.importorskip("transformers")


def sound_and_words_here():
    """transformers alone, which sound and words need; skips where it is absent."""
    return pytest.importorskip("transformers")


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {name: f"[{name[:-6].upper()}]" for name in ("pad_token", "unk_token", "cls_token", "sep_token")}
    return PreTrainedTokenizerFast(
        tokenizer_object=words, mask_token="[MASK]", model_max_length=64, padding_side="right", **special
    )


def save(folder, *parts):
    for part in parts:
        part.save_pretrained(folder)
    return folder


def text_sizes(**more):
    sizes = {"vocab_size": len(WORDS), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    return {**sizes, "num_attention_heads": 2, "max_position_embeddings": 64, **more}


def vision_sizes():
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return {**sizes, "image_size": 32, "patch_size": 8}


def grounding_dino(folder):
    t = transformers_here()
    backbone = t.SwinConfig(
        image_size=32,
        patch_size=4,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=2,
        out_features=["stage2", "stage3", "stage4"],
    )
    config = t.GroundingDinoConfig(
        backbone_config=backbone,
        text_config=t.BertConfig(**text_sizes()),
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_queries=8,
        max_text_len=32,
    )
    pictures = t.GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    return save(folder, t.GroundingDinoForObjectDetection(config), t.GroundingDinoProcessor(pictures, tokenizer()))


def owlv2(folder):
    t = transformers_here()
    text = text_sizes(eos_token_id=3, bos_token_id=2, pad_token_id=0)
    config = t.Owlv2Config(text_config=text, vision_config=vision_sizes(), projection_dim=16)
    pictures = t.Owlv2ImageProcessor(size={"height": 32, "width": 32})
    return save(folder, t.Owlv2ForObjectDetection(config), t.Owlv2Processor(pictures, tokenizer()))


def clip(folder):
    t = transformers_here()
    text = text_sizes(eos_token_id=3, bos_token_id=2, pad_token_id=0)
    config = t.CLIPConfig(text_config=text, vision_config=vision_sizes(), projection_dim=16)
    pictures = t.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return save(folder, t.CLIPModel(config), t.CLIPProcessor(pictures, tokenizer()))


def siglip(folder):
    t = transformers_here()
    config = t.SiglipConfig(text_config=text_sizes(), vision_config=vision_sizes())
    pictures = t.SiglipImageProcessor(size={"height": 32, "width": 32})
    return save(folder, t.SiglipModel(config), t.SiglipProcessor(pictures, tokenizer()))


def ast(folder, labels=("Dog", "Speech", "Chainsaw")):
    t = sound_and_words_here()
    config = t.ASTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_length=64,
        num_mel_bins=32,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    extractor = t.ASTFeatureExtractor(num_mel_bins=32, max_length=64)
    return save(folder, t.ASTForAudioClassification(config), extractor)


def clap(folder):
    t = sound_and_words_here()
    audio = {
        "spec_size": 256,
        "num_mel_bins": 64,
        "patch_embeds_hidden_size": 8,
        "hidden_size": 64,
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 1, 2, 2],
        "projection_dim": 16,
    }
    config = t.ClapConfig(text_config=text_sizes(pad_token_id=0), audio_config=audio, projection_dim=16)
    extractor = t.ClapFeatureExtractor(truncation="rand_trunc", feature_size=64, max_length_s=2, sampling_rate=48_000)
    return save(folder, t.ClapModel(config), t.ClapProcessor(extractor, tokenizer()))


def sam2(folder):
    t = transformers_here()
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "num_attention_heads": 1,
        "blocks_per_stage": [1, 1, 1, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "image_size": [64, 64],
        "global_attention_blocks": [],
        "window_size_per_stage": [4, 2, 2, 2],
        "window_positional_embedding_background_size": [4, 4],
    }
    vision = {
        "backbone_config": backbone,
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "fpn_hidden_size": 128,
    }
    prompt = {"hidden_size": 128, "image_size": 64, "patch_size": 16, "mask_input_channels": 8}
    decoder = {"hidden_size": 128, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
    config = t.Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config=prompt,
        mask_decoder_config=decoder,
        image_size=64,
        memory_attention_hidden_size=128,
        memory_attention_num_layers=1,
        memory_attention_num_attention_heads=1,
        memory_attention_feed_forward_hidden_size=16,
        memory_attention_rope_feat_sizes=[4, 4],
        memory_encoder_hidden_size=128,
        memory_encoder_output_channels=64,
        memory_fuser_embed_dim=128,
        memory_fuser_num_layers=1,
        memory_fuser_intermediate_dim=16,
        mask_downsampler_embed_dim=128,
    )
    size = {"height": 64, "width": 64}
    pictures = t.Sam2ImageProcessor(size=size, mask_size={"height": 16, "width": 16})
    processor = t.Sam2VideoProcessor(pictures, t.Sam2VideoVideoProcessor(size=size))
    return save(folder, t.Sam2VideoModel(config), processor)


def minilm(folder):
    t = sound_and_words_here()
    return save(folder, t.BertModel(t.BertConfig(**text_sizes())), tokenizer())


def pe_av(folder):
    t = transformers_here()
    pytest.importorskip("timm", exc_type=ImportError)
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "head_dim": 16,
    }
    dac = {"model_type": "dac", "encoder_hidden_size": 2, "downsampling_ratios": [2, 8, 10, 12], "hidden_size": 32}
    pictures = t.TimmWrapperConfig(architecture="test_vit3", num_labels=16, do_pooling=True)
    audio = {"model_type": "pe_audio_encoder", **sizes, "dac_config": {**dac, "codebook_dim": 4}}
    video = {"model_type": "pe_video_encoder", **sizes, "vision_config": pictures.to_dict()}
    text = {"model_type": "modernbert", **text_sizes(pad_token_id=0, cls_token_id=2, sep_token_id=3)}
    text |= {"bos_token_id": 2, "eos_token_id": 3}
    both = {**sizes, "audio_config": audio, "video_config": video}
    return save(
        folder, t.PeAudioVideoModel(t.PeAudioVideoConfig(text_config=text, audio_video_config=both)), tokenizer()
    )
