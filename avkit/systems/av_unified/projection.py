# SPDX-License-Identifier: Apache-2.0
"""Features of encoders and stores, brought to the width of the tokens."""

from collections.abc import Iterable

from torch import Tensor, nn


class StreamProjection(nn.Module):
    """A linear layer for the encoder's features and one per width of stored features, and a norm for all.

    Args:
        name: Name of the stream, for errors.
        encoder_width: Width of the encoder's features; 0 where there is no encoder.
        stored_widths: Widths of stored features.
        width: Width D of the tokens.
    """

    def __init__(self, name: str, encoder_width: int, stored_widths: Iterable[int], width: int) -> None:
        super().__init__()
        self.name = name
        self.encoder = nn.Linear(encoder_width, width) if encoder_width else None
        self.stored = nn.ModuleDict({str(n): nn.Linear(n, width) for n in sorted(set(stored_widths))})
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, stored: bool) -> Tensor:
        """From (..., width of the features) to (..., D); `stored` says where they come from.

        Raises:
            ValueError: If no layer is made for that width.
        """
        layer = self.stored[str(x.shape[-1])] if stored and str(x.shape[-1]) in self.stored else self.encoder
        if layer is None or layer.in_features != x.shape[-1]:
            widths = [*self.stored] if self.encoder is None else [*self.stored, str(self.encoder.in_features)]
            raise ValueError(
                f"Stored {self.name} features are {x.shape[-1]} wide; this model takes {', '.join(widths)}. Use the "
                "features it was trained with."
            )
        tokens: Tensor = self.norm(layer(x))
        return tokens
