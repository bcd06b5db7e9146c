# SPDX-License-Identifier: Apache-2.0
"""Helpers that propose by models: tiny ones with random weights, saved as the published ones are."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from labelled import square, write_square
from zero_shot_models import ast, grounding_dino, sam2, sound_and_words_here, transformers_here

from avkit.annotation.helpers import HELPERS, TASKS, HelperChoice, HelperError, Request, make_helper, parse_choice
from avkit.annotation.values import ClipShape, Key, check_key, check_value, mask_value, read_mask


@pytest.fixture(scope="module")
def request_of(tmp_path_factory):
    path = write_square(tmp_path_factory.mktemp("clip") / "one.mp4")
    mask = mask_value(square(0.5))
    return Request(path, 1.0, 3, 3.0, (48, 64), 1, "dog", step=0, last=2, box=(4, 10, 34, 38), mask=mask)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


def propose(task, name, weights, request):
    """Proposals of a helper, each checked as the store does."""
    proposals = list(make_helper(HelperChoice(task, name, str(weights), offline=True, device="cpu")).propose(request))
    shape = ClipShape(request.steps, request.duration, request.size)
    for proposal in proposals:
        for key, value in proposal.values.items():
            key = key._replace(object=1) if key.object == -1 else key
            check_key(key, shape)
            check_value(key, value, shape)
    return proposals


def attempt(*arguments):
    """Proposals of a helper of random weights, and why it has none: it may see or say nothing."""
    try:
        return propose(*arguments), ""
    except HelperError as error:
        return [], str(error)


def test_every_helper_has_a_name_and_none_is_made_of_nothing():
    assert set(HELPERS) == set(TASKS)
    for task, helpers in HELPERS.items():
        for name in helpers:
            assert parse_choice(task, f"{name}=a=b") == (name, "a=b")
    with pytest.raises(ValueError, match=r"Unknown helper for masks 'sam3x'. Did you mean"):
        parse_choice("masks", "sam3x")


def test_sam2_outlines_boxes_and_points(request_of, folder):
    transformers_here()
    torch.manual_seed(0)
    weights = sam2(folder / "sam2")
    (proposal,) = propose("masks", "sam2", weights, request_of)
    by_box = read_mask(proposal.values[Key("mask", 1, 0)])
    assert by_box.shape == (48, 64)
    points = replace(request_of, box=None, points=((20.0, 20.0, True), (60.0, 40.0, False)))
    (proposal,) = propose("masks", "sam2", weights, points)
    assert read_mask(proposal.values[Key("mask", 1, 0)]).any()
    with pytest.raises(HelperError, match="Draw a box"):
        propose("masks", "sam2", weights, replace(request_of, box=None))


def test_sam2_follows_a_mask_both_ways_and_says_where_it_is_lost(request_of, folder):
    transformers_here()
    torch.manual_seed(0)
    weights = sam2(folder / "sam2_video")
    forwards = propose("tracker", "sam2", weights, request_of)
    steps = [key.step for proposal in forwards for key in proposal.values]
    assert steps == [1, 2][: len(steps)]
    assert len(steps) == 2 or "The tracker lost the object in step" in forwards[-1].note
    backwards = propose("tracker", "sam2", weights, replace(request_of, step=2, last=0))
    steps = [key.step for proposal in backwards for key in proposal.values]
    assert steps == [1, 0][: len(steps)]
    with pytest.raises(HelperError, match="There is no mask in this step"):
        propose("tracker", "sam2", weights, replace(request_of, mask=mask_value(np.zeros((48, 64), bool))))


def test_an_empty_map_of_the_tracker_is_a_lost_object(request_of, monkeypatch):
    from avkit.annotation.helpers import sam2 as helper

    class Model:
        network = torch.nn.Linear(1, 1)
        network.device = torch.device("cpu")

        def follow(self, frames, mask):
            assert frames.shape == (9, 3, 48, 64)  # four pictures a second
            yield from (torch.full((48, 64), 0.9 if number < 8 else 0.1) for number in range(1, 9))

    monkeypatch.setattr(helper, "load_model", lambda *_: Model())
    proposals = list(helper.Tracker(HelperChoice("tracker", "sam2")).propose(request_of))
    assert [len(proposal.values) for proposal in proposals] == [1, 0]
    assert "lost the object in step 3" in proposals[-1].note


def test_sam_outlines_boxes_and_points(request_of, folder):
    t = transformers_here()
    torch.manual_seed(0)
    vision = t.SamVisionConfig(
        hidden_size=16,
        output_channels=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=64,
        patch_size=16,
        window_size=2,
        global_attn_indexes=[0],
        num_pos_feats=8,
        mlp_dim=16,
    )
    prompt = t.SamPromptEncoderConfig(hidden_size=16, image_size=64, patch_size=16, mask_input_channels=4)
    decoder = t.SamMaskDecoderConfig(hidden_size=16, mlp_dim=16, num_attention_heads=2, iou_head_hidden_dim=16)
    config = t.SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    pictures = t.SamImageProcessor(
        size={"longest_edge": 64}, pad_size={"height": 64, "width": 64}, mask_size={"longest_edge": 16}
    )
    for part in (t.SamModel(config), t.SamProcessor(pictures)):
        part.save_pretrained(folder / "sam")
    both = replace(request_of, points=((20.0, 20.0, True),))
    for request in (request_of, both):
        proposals, refusal = attempt("masks", "sam", folder / "sam", request)
        assert proposals or "SAM sees nothing there" in refusal
        assert all(read_mask(proposal.values[Key("mask", 1, 0)]).any() for proposal in proposals)


def test_a_tagger_proposes_objects_with_spans(request_of, folder, monkeypatch):
    sound_and_words_here()
    from avkit.annotation.helpers import tagger

    torch.manual_seed(0)
    weights = ast(folder / "ast")
    monkeypatch.setattr(tagger, "_HEARD", 0.0)
    monkeypatch.setattr(tagger, "_KEPT", 0.0)
    proposals = propose("names", "ast", weights, replace(request_of, classes=("dog", "chainsaw")))
    names = [proposal.values[Key("object", -1, 0)]["name"] for proposal in proposals]
    assert sorted(names) == ["chainsaw", "dog"]
    assert proposals[0].values[Key("spans", -1, 0)]["spans"] == [[0.0, 3.0]]
    monkeypatch.setattr(tagger, "_HEARD", 1.1)
    with pytest.raises(HelperError, match="is sure of nothing"):
        propose("names", "ast", weights, request_of)


def test_spans_of_windows():
    from avkit.annotation.helpers.tagger import spans_of

    assert spans_of([True, True, False, True], 2.0) == [[0.0, pytest.approx(1.2075)], [pytest.approx(1.6875), 2.0]]
    assert spans_of([False] * 3, 2.0) == []


def test_a_named_object_is_found_and_outlined(request_of, folder, monkeypatch):
    transformers_here()
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    from avkit.annotation.helpers import grounding

    torch.manual_seed(0)
    weights = grounding_dino(folder / "grounding")
    monkeypatch.setattr(grounding, "_THRESHOLD", 0.0)
    with pytest.raises(HelperError, match="Nothing outlines"):
        propose("boxes", "grounding_dino", weights, request_of)
    outlined = replace(request_of, box=None, outline_with=HelperChoice("masks", "grabcut"))
    proposals, refusal = attempt("boxes", "grounding_dino", weights, outlined)
    assert proposals or "stands out" in refusal
    assert all("dog found with probability" in proposal.note for proposal in proposals)
    monkeypatch.setattr(grounding, "_THRESHOLD", 1.1)
    with pytest.raises(HelperError, match="finds no dog in this step"):
        propose("boxes", "grounding_dino", weights, outlined)


def test_a_language_model_is_shown_the_region_and_writes_the_sentence(request_of, monkeypatch):
    from avkit.annotation.helpers import describer

    shown = []

    class Model:
        network = torch.nn.Linear(1, 1)
        network.device = torch.device("cpu")

        def ask(self, frames, question):
            shown.append((frames, question))
            return "An orange square slides to the right."

    monkeypatch.setattr(describer, "load_model", lambda *_: Model())
    helper = describer.Describer(HelperChoice("sentences", "smolvlm"))
    (proposal,) = helper.propose(request_of)
    assert proposal.values == {Key("sentence", 1, 0): {"text": "An orange square slides to the right."}}
    frames, question = shown[0]
    assert "the dog in the bright part" in question
    assert frames.shape == (1, 3, 26, 26)  # the square with a margin
    assert frames[0, 0, 13, 13] > 200
    assert frames[0, :, 0, 0].max() < 60  # dimmed
    (proposal,) = helper.propose(replace(request_of, object=0))
    assert shown[1][0].shape == (1, 3, 48, 64)
    with pytest.raises(HelperError, match="no mask in this step to describe"):
        next(helper.propose(replace(request_of, mask=None)))


def test_any_vision_language_model_of_transformers_describes(request_of, tmp_path):
    t = transformers_here()
    from tokenizers import Tokenizer, models, pre_tokenizers

    torch.manual_seed(0)
    words = ["<unk>", "<pad>", "<s>", "</s>", "<image>", "USER:", "dog", "barks", "loud"]
    plain = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    tokens = t.PreTrainedTokenizerFast(tokenizer_object=plain, additional_special_tokens=["<image>"], **special)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = t.LlamaConfig(vocab_size=9, num_key_value_heads=2, **sizes)
    eyes = t.CLIPVisionConfig(image_size=28, patch_size=14, projection_dim=16, **{**sizes, "num_hidden_layers": 2})
    config = t.LlavaConfig(vision_config=eyes, text_config=text, image_token_index=4, image_seq_length=4)
    pictures = t.CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    template = "{% for turn in messages %}USER: <image> {{ turn['content'][-1]['text'] }}{% endfor %}"
    processor = t.LlavaProcessor(
        image_processor=pictures,
        tokenizer=tokens,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )
    for part in (t.LlavaForConditionalGeneration(config), processor):
        part.save_pretrained(tmp_path / "vlm")
    proposals, refusal = attempt("sentences", "vlm", tmp_path / "vlm", request_of)
    assert proposals or "says nothing" in refusal
    for proposal in proposals:
        assert set(proposal.values[Key("sentence", 1, 0)]["text"].split()) <= set(words)


@pytest.mark.parametrize(
    ("task", "name"), [("masks", "sam2"), ("masks", "sam"), ("names", "ast"), ("sentences", "smolvlm")]
)
def test_missing_weights_are_said_with_the_option_to_name_them(request_of, tmp_path, task, name, monkeypatch):
    monkeypatch.delenv("AVKIT_WEIGHTS", raising=False)
    helper = make_helper(HelperChoice(task, name, str(tmp_path / "nowhere"), offline=True))
    with pytest.raises(HelperError, match=r"nowhere, the weights for \w+, does not exist"):
        list(helper.propose(request_of))
    helper = make_helper(HelperChoice(task, name, None, offline=True))
    with pytest.raises(HelperError) as raised:
        list(helper.propose(request_of))
    assert f"--{task} {name}=PATH" in str(raised.value)


def test_a_device_that_is_not_there_is_said():
    from avkit.annotation.helpers.models import device_of

    with pytest.raises(HelperError, match="--device cudaa cannot be used"):
        device_of(HelperChoice("masks", "sam2", device="cudaa"))
