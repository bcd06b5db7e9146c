# SPDX-License-Identifier: Apache-2.0
"""Sound source segmentation: masks by queries made of sound."""

from einops import rearrange
from torch import Tensor, nn

from avkit.batch import Tokens
from avkit.heads.base import HeadInputs
from avkit.nn.query_mask import QueryMaskDecoder, QueryMasks
from avkit.systems.ssuformer.options import AnsweringOptions


class SourceSegmentation(nn.Module):
    """A mask per step from the feature pyramid, the patches as its coarsest level, and the sound.

    Args:
        decoder: The mask decoder.
        width: Width D of the tokens.

    Source:
        RA-SSU (arXiv 2603.09809), section IV-B.3.
    """

    def __init__(self, decoder: QueryMaskDecoder, width: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.audio_in = nn.Linear(width, decoder.query.shape[1])

    def forward(self, tokens: Tokens) -> Tensor:
        """Logits (B, T, 1, H, W)."""
        return self.decode(tokens).logits.unflatten(0, tokens.valid.shape)

    def decode(self, tokens: Tokens) -> QueryMasks:
        """All that the mask decoder makes of the B T steps."""
        coarsest = rearrange(tokens.patches, "b t (h w) d -> (b t) d h w", h=tokens.grid[0])
        maps = [level.flatten(0, 1) for level in tokens.pyramid]
        audio = self.audio_in(rearrange(tokens.audio, "b t d -> (b t) 1 d"))
        masks: QueryMasks = self.decoder([*maps, coarsest], audio)
        return masks


def make_mask_decoder(options: AnsweringOptions, inputs: HeadInputs) -> QueryMaskDecoder:
    """The mask decoder for the feature pyramid and the patches.

    Raises:
        ValueError: If there is no feature pyramid.
    """
    if not inputs.pyramid_widths:
        raise ValueError(
            "SSUFormer makes masks of a feature pyramid, and there is none. Use pictures and not stored features "
            "(leave data.features.visual out), and a visual encoder with a pyramid, such as pvt_v2_b5."
        )
    width = options.mask_width
    return QueryMaskDecoder(
        [*inputs.pyramid_widths, inputs.width],
        width,
        queries=options.queries,
        layers=options.mask_layers,
        sound_layers=options.mask_layers,
        heads=options.heads,
        inner=options.mask_inner,
        sound_inner=max(32, options.mask_inner // 2),
        outer=(max(16, width // 2), max(16, width // 8)),
        scale=options.scale,
        dropout=options.dropout,
        recompute=options.recompute,
    )
