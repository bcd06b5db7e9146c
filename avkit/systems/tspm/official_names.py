# SPDX-License-Identifier: Apache-2.0
"""What the authors call the weights of TSPM, and what else their files hold.

Source:
    GeWu-Lab/TSPM at commit 0106ce4127b8, `nets/net.py`.
"""

from avkit.nn.hybrid_attention import hybrid_attention_names
from avkit.nn.query_attention import query_attention_names

_QUERY_NAMES = ("qst_query_linear{}", "qst_query_visual_norm")
#: The authors' prefix by ours.
NAMES = {
    "audio_in.": "input_a.",
    "visual_in.": "input_v.",
    "patch_in.": "input_v_patch.",
    "question_in.": "input_qst.",
    "prompt_in.": "input_qst_prompt.",
    **hybrid_attention_names("cross_modal", "AV_Attn.layers.0"),
    "key_steps.attention.": "TemporalPerception.attn_qst_query.",
    "patch_attention.": "SpatioPerception.TokensAttn.",
    **query_attention_names("spatial_attention", "SpatioPerception.", *_QUERY_NAMES),
    **query_attention_names("question_attention", "QstTempGrd_Module.", *_QUERY_NAMES),
    "fusion.": "av_fusion_fc.",
    "answer.": "answer_pred_fc.",
}


def unused_shapes(width: int) -> dict[str, tuple[int, ...]]:
    """Shapes of norms that are never called, and of the layers behind the attention that selects steps."""
    behind = "TemporalPerception.qst_query_"
    shapes: dict[str, tuple[int, ...]] = {}
    for number in (1, 2):
        shapes[f"AV_Attn.norm{number}.weight"] = (width,)
        shapes[f"AV_Attn.norm{number}.bias"] = (width,)
        shapes[f"{behind}linear{number}.weight"] = (width, width)
        shapes[f"{behind}linear{number}.bias"] = (width,)
    shapes[f"{behind}visual_norm.weight"] = (width,)
    shapes[f"{behind}visual_norm.bias"] = (width,)
    return shapes
