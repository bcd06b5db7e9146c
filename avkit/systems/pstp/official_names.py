# SPDX-License-Identifier: Apache-2.0
"""Names of PSTP-Net's official weights, and shapes of those that its published network never uses."""

from avkit.nn.hybrid_attention import hybrid_attention_names
from avkit.nn.query_attention import query_attention_names

_QUERY_NAMES = ("qst_query_linear{}", "qst_query_visual_norm")
#: Official prefix by our prefix.
NAMES: dict[str, str] = {
    "audio_in.": "fc_a.",
    "visual_in.": "fc_v.",
    "region_in.": "fc_p.",
    "word_in.": "fc_word.",
    "question_in.": "fc_q.",
    "segment_selection.join.": "TempSegsSelect_Module.clip_fc.",
    **query_attention_names("segment_selection.query", "TempSegsSelect_Module.", *_QUERY_NAMES),
    **query_attention_names("region_selection.query", "SpatRegsSelect_Module.", *_QUERY_NAMES),
    **query_attention_names(
        "audio_attention",
        "AudioGuidedVisualAttn.",
        "audio_query_linear{}",
        "audio_query_visual_norm",
        "attn_audio_query",
    ),
    **hybrid_attention_names("cross_modal", "GlobalLocal_Module.layers.0"),
    "self_attention.": "GlobalSelf_Module.layers.0.",
    "answer.": "fc_answer_pred.",
}
_UNUSED_ATTENTIONS = (
    "TempSegsSelect_Module.clip_attn.self_attn",
    "TempSegsSelect_Module.clip_attn.cm_attn",
    "GlobalSelf_Module.layers.0.cm_attn",
)
_UNUSED_NORMS = (
    "TempSegsSelect_Module.clip_attn.norm1",
    "TempSegsSelect_Module.clip_attn.norm2",
    "GlobalLocal_Module.norm1",
    "GlobalLocal_Module.norm2",
    "GlobalSelf_Module.norm2",
)


def unused_shapes(width: int, inner: int, text: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the official tensors that are never used.

    Args:
        width: Width D.
        inner: Width of the feed-forward layers.
        text: Width of features of questions and their words.
    """
    layers: dict[str, tuple[int, ...]] = {
        "fc_spat_q": (width, text),
        "SpatRegsSelect_Module.patch_fc": (width, width),
        "audio_fusion": (width, width),
        "visual_fusion": (width, width),
        "SM_fusion": (width, 2 * width),
        "fc_av_fusion": (width, 2 * width),
        "TempSegsSelect_Module.clip_attn.linear1": (inner, width),
        "TempSegsSelect_Module.clip_attn.linear2": (width, inner),
    }
    layers |= dict.fromkeys(_UNUSED_NORMS, (width,))
    layers |= {f"{name}.out_proj": (width, width) for name in _UNUSED_ATTENTIONS}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in layers.items():
        shapes[f"{name}.weight"] = shape
        shapes[f"{name}.bias"] = shape[:1]
    for name in _UNUSED_ATTENTIONS:
        shapes[f"{name}.in_proj_weight"] = (3 * width, width)
        shapes[f"{name}.in_proj_bias"] = (3 * width,)
    return shapes
