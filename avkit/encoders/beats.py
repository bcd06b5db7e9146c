# SPDX-License-Identifier: Apache-2.0
"""BEATs, a transformer over patches of the log-mel spectrogram, on windows of sound.

Source:
    Chen et al., BEATs: Audio pre-training with acoustic tokenizers, ICML 2023, section 3; keys of weights, filterbank
    and its mean and deviation as in microsoft/unilm, `beats/BEATs.py` and `beats/backbone.py` at commit c68101b.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.encoders.base import WindowAudioEncoder
from avkit.encoders.beats_network import PUBLISHED, BEATsNetwork, BEATsSizes
from avkit.encoders.pretrained import HUB, check_weights, give_file, read_weights
from avkit.encoders.settings import find_settings, settings_folder
from avkit.encoders.weight_files import read_weight_file
from avkit.errors import file_error
from avkit.files import write_file
from avkit.media.fbank import kaldi_fbank
from avkit.media.mel import STRIDE, WINDOW
from avkit.reading.hub import HubError
from avkit.reading.text import read_json

#: File of a run that holds sizes.
_SIZES_FILE = "sizes.json"
#: Where the authors' weights are; links of OneDrive, which no program follows.
_ADDRESS = "https://github.com/microsoft/unilm/tree/master/beats"
#: Mean and deviation of the filterbank, and the factor of 16-bit samples.
_MEAN = 15.41663
_DEVIATION = 6.55582
_FULL_SCALE = 2.0**15
#: The authors' name of a number in their file's `cfg`, by ours.
_SIZES = {
    "width": "encoder_embed_dim",
    "layers": "encoder_layers",
    "heads": "encoder_attention_heads",
    "hidden": "encoder_ffn_embed_dim",
    "embedding": "embed_dim",
    "patch": "input_patch_size",
    "position_kernel": "conv_pos",
    "position_groups": "conv_pos_groups",
    "buckets": "num_buckets",
    "farthest": "max_distance",
}
#: What the authors' `cfg` must say for the network to be the published one.
_FORM = {"deep_norm": True, "layer_norm_first": False, "gru_rel_pos": True, "relative_position_embedding": True}
#: Weights that belong to the classifier of a fine-tuned network.
_CLASSIFIER = "predictor"


class BEATsRows(nn.Module):
    """BEATs on windows of samples: the mean of its tokens.

    Args:
        pretrained: As in `BEATsAudio`.
        sizes: Sizes of the network where there is no file.
    """

    def __init__(self, pretrained: str | Path | None, sizes: BEATsSizes) -> None:
        super().__init__()
        if pretrained == HUB:
            raise HubError(
                "Weights of BEATs (361 MB) are not downloaded by a program: their authors share them by OneDrive, "
                f"{_ADDRESS}. Take BEATs_iter3_plus_AS2M.pt. {give_file('audio')}"
            )
        sizes = sizes_of_file(pretrained) if pretrained else sizes
        self.network = BEATsNetwork(sizes)
        # a window has at least one patch
        self.least = WINDOW + (sizes.patch - 1) * STRIDE
        if pretrained:
            self._load(pretrained)

    def forward(self, samples: Tensor) -> Tensor:
        """Encode windows (N, n) at 16 kHz to (N, D); silence follows those that are shorter than a patch."""
        x = F.pad(samples, (0, max(0, self.least - samples.shape[1])))
        mel = (kaldi_fbank(x * _FULL_SCALE, window="povey") - _MEAN) / (2 * _DEVIATION)
        return self.network(mel).mean(1)

    def _load(self, path: str | Path) -> None:
        own = self.network.state_dict()
        state = _by_own_names(read_weights(path, lambda tensors: "patch_embedding.weight" in tensors))
        check_weights(own, state, path, (_CLASSIFIER,))
        self.network.load_state_dict({key: state[key] for key in own})


class BEATsAudio(WindowAudioEncoder):
    """BEATs over a window from the start of each step.

    Args:
        pretrained: None for random weights, or a path to the authors' file, such as `BEATs_iter3_plus_AS2M.pt`,
            fine-tuned or not, or to weights by their names in `.safetensors`.
        seconds: Length of a window.
        sizes: Sizes where there is no file.

    Raises:
        HubError: If the weights of the hub are asked for: there are none.
        ValueError: If the weights do not fit.
    """

    at_once = 32

    def __init__(
        self, pretrained: str | Path | None = None, seconds: float = 1.0, sizes: BEATsSizes = PUBLISHED
    ) -> None:
        super().__init__(seconds)
        stored = None if pretrained else find_settings("audio", "beats")
        rows = BEATsRows(pretrained, sizes if stored is None else _read_sizes(stored))
        self.network = rows
        self.sizes = rows.network.sizes
        self.width = self.sizes.width

    def save_settings(self, root: Path) -> None:
        """Write the sizes of the network."""
        path = settings_folder(root, "audio", "beats") / _SIZES_FILE
        write_file(path, json.dumps(asdict(self.sizes)))


def _read_sizes(folder: Path) -> BEATsSizes:
    """The sizes that a run has stored."""
    path = folder / _SIZES_FILE
    try:
        return BEATsSizes(**read_json(path))
    except TypeError as error:
        raise file_error(path, f"does not hold sizes of BEATs ({error})", "Copy the run again, as a whole.") from error


def sizes_of_file(path: str | Path) -> BEATsSizes:
    """The sizes that a file of the authors states; the published ones where it states none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is of a network that is built otherwise.
    """
    content = read_weight_file(Path(path))
    config = content.get("cfg") if isinstance(content, Mapping) else None
    if not isinstance(config, Mapping):
        return PUBLISHED
    for key, expected in _FORM.items():
        if config.get(key, expected) != expected:
            raise ValueError(
                f"{path} states {key}={config[key]!r}; BEATs as published has {expected}. Take one of the files of "
                f"{_ADDRESS}."
            )
    stated = {name: int(config[key]) for name, key in _SIZES.items() if key in config}
    return BEATsSizes(**{**vars(PUBLISHED), **stated})


def _by_own_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' weights by our names: one table of distances, and the convolution's norm multiplied in."""
    own: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if key.endswith("relative_attention_bias.weight"):
            own["encoder.distance_bias"] = tensor
        elif not key.startswith("encoder.pos_conv."):
            own[key] = tensor
    norm, direction, bias = (_first(state, names) for names in _POSITION_KEYS)
    if norm is not None and direction is not None and bias is not None:
        length = torch.linalg.vector_norm(direction, dim=(0, 1), keepdim=True)
        own["encoder.pos_conv.weight"] = direction * (norm / length)
        own["encoder.pos_conv.bias"] = bias
    return own


#: Keys of length, direction and bias of the convolution that adds places, with torch's older and newer weight norm.
_POSITION_KEYS = (
    ("encoder.pos_conv.0.weight_g", "encoder.pos_conv.0.parametrizations.weight.original0"),
    ("encoder.pos_conv.0.weight_v", "encoder.pos_conv.0.parametrizations.weight.original1"),
    ("encoder.pos_conv.0.bias",),
)


def _first(state: Mapping[str, Tensor], keys: tuple[str, ...]) -> Tensor | None:
    """The tensor of the first key that there is."""
    return next((state[key] for key in keys if key in state), None)
