# SPDX-License-Identifier: Apache-2.0
"""Options of TSPM's network, and of its prompts."""

from dataclasses import dataclass

from avkit.errors import unknown_name

#: Values of options.
PATCH_SELECTIONS = ("first", "index")
SELECTION_GRADIENTS = ("none", "straight_through")
PROMPTS = ("declarative", "question")
FUSIONS = ("product", "concatenation", "selected")
SELECTIONS = ("attention", "key")
PATCH_ATTENTIONS = ("sequential", "sum")


@dataclass
class TSPMOptions:
    """Options of TSPM's network.

    Attributes:
        width: Width D.
        inner: Width of the feed-forward layers.
        topk: Number of steps that are selected.
        patch_select: Steps whose patches are attended to: `first`, the first `topk` steps, whatever was selected, as
            the published code does; `index`, the selected steps, as the paper says.
        select_grad: `none`, as published: the selection is never trained. `straight_through`: the features of selected
            steps are unchanged, and their gradient reaches the logarithm of the selection weights.
        selection: What weighs steps: `attention`, as published, an attention of four heads that projects prompt and
            frames, with noise in training; `key`, Eq. 1, the scaled product of the prompt's features as they are with
            one linear projection of the frames'.
        patch_attention: How the sound of a step reads the parts of its picture: `sequential`, as published, the parts
            attend to each other in a transformer layer, then the sound pools them; `sum`, Eq. 5, each part plus what
            it and what the sound find in all parts, averaged over the parts.
        temporal: Select steps; otherwise all are used (the paper's "w/o TPM" and "w/o TPC").
        spatial: Attend to patches; otherwise the frame feature of a selected step stands for its picture ("w/o SPM").
        cross_modal: Let audio and visual features attend to each other first; otherwise they are used as projected.
        grounding: Let the question attend to the selected steps; otherwise their mean is used. All four off is
            "w/o all".
        fusion: How question and clip meet in the answer: `product`, as published, the product of the question and the
            fused features of the clip; `concatenation`, an MLP over both, which learns from random weights far sooner;
            `selected`, Eq. 6 and 7, the product of the question and a linear layer over sound, frames and pictures of
            the selected steps alone, without tanh, `cross_modal` and `grounding`.
        dropout: Dropout rate in training.
    """

    width: int = 512
    inner: int = 512
    topk: int = 10
    patch_select: str = "first"
    select_grad: str = "none"
    selection: str = "attention"
    patch_attention: str = "sequential"
    temporal: bool = True
    spatial: bool = True
    cross_modal: bool = True
    grounding: bool = True
    fusion: str = "product"
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.patch_select not in PATCH_SELECTIONS:
            raise unknown_name("patch_select", self.patch_select, PATCH_SELECTIONS)
        if self.select_grad not in SELECTION_GRADIENTS:
            raise unknown_name("select_grad", self.select_grad, SELECTION_GRADIENTS)
        if self.selection not in SELECTIONS:
            raise unknown_name("selection", self.selection, SELECTIONS)
        if self.patch_attention not in PATCH_ATTENTIONS:
            raise unknown_name("patch_attention", self.patch_attention, PATCH_ATTENTIONS)
        if self.fusion not in FUSIONS:
            raise unknown_name("fusion", self.fusion, FUSIONS)
        if self.topk < 1:
            raise ValueError(f"topk is {self.topk}; choose 1 second or more, or set temporal to false to keep all.")

    @property
    def reads_clip(self) -> bool:
        """Whether the answer reads features of the whole clip, beside those of the selected steps."""
        return self.fusion != "selected"


def check_prompt(prompt: str) -> None:
    """Check the kind of prompt that selects steps.

    Raises:
        ValueError: If there is none of that name.
    """
    if prompt not in PROMPTS:
        raise unknown_name("system.prompt", prompt, PROMPTS)
