# SPDX-License-Identifier: Apache-2.0
"""The public models that a system without training is made of: what each is for, its licence, its size."""

from collections.abc import Mapping
from dataclasses import dataclass

from avkit.errors import unknown_name

#: What each stage does, in the order in which they run.
STAGES: Mapping[str, str] = {
    "sound": "names what is heard",
    "words": "matches names by meaning",
    "seen": "tells what is seen",
    "boxes": "finds it in the picture",
    "masks": "outlines it",
    "language": "writes sentences and answers",
}
#: Name that leaves a stage out.
NONE = "none"
#: Licences under which a model may be used for any purpose; others have to be accepted by name.
FREE_LICENCES = ("Apache-2.0", "MIT", "BSD-3-Clause")


@dataclass(frozen=True)
class Part:
    """A public model for one stage.

    Attributes:
        stage: A key of `STAGES`.
        name: Name on the command line.
        title: Name of the model in sentences.
        repository: `owner/name` on the Hugging Face hub, or the address of a file.
        licence: Of the weights.
        megabytes: Size of the download.
        training: What it was trained on.
        location: Module and class that run it, `package.module:Class`.
    """

    stage: str
    name: str
    title: str
    repository: str
    licence: str
    megabytes: int
    training: str
    location: str

    @property
    def size(self) -> str:
        """Size of the download in words."""
        if self.megabytes >= 1000:
            return f"{self.megabytes / 1000:.1f} GB"
        return f"{self.megabytes} MB"

    @property
    def description(self) -> str:
        """Title, size and licence in one phrase."""
        return f"{self.title} ({self.size}, {self.licence})"

    @property
    def is_file(self) -> bool:
        """Whether the repository is a single file."""
        return self.repository.startswith("https://")


_HERE = "avkit.systems.zero_shot"
_PARTS = (
    Part(
        "sound",
        "yamnet",
        "YAMNet",
        "https://storage.googleapis.com/audioset/yamnet.h5",
        "Apache-2.0",
        15,
        "AudioSet",
        f"{_HERE}.taggers:YAMNetTagger",
    ),
    Part(
        "sound",
        "ast",
        "Audio Spectrogram Transformer",
        "MIT/ast-finetuned-audioset-10-10-0.4593",
        "BSD-3-Clause",
        346,
        "ImageNet, AudioSet",
        f"{_HERE}.taggers:ASTTagger",
    ),
    Part(
        "sound",
        "clap",
        "CLAP",
        "laion/clap-htsat-unfused",
        "Apache-2.0",
        614,
        "LAION-Audio-630K, AudioSet",
        f"{_HERE}.clap:CLAPTagger",
    ),
    Part(
        "words",
        "minilm",
        "MiniLM",
        "sentence-transformers/all-MiniLM-L6-v2",
        "Apache-2.0",
        91,
        "a billion pairs of sentences",
        f"{_HERE}.words:SentenceEncoder",
    ),
    Part(
        "seen",
        "clip",
        "CLIP ViT-B/32",
        "openai/clip-vit-base-patch32",
        "MIT",
        605,
        "400 million pairs of picture and text",
        f"{_HERE}.presence:Presence",
    ),
    Part(
        "seen",
        "siglip",
        "SigLIP base",
        "google/siglip-base-patch16-224",
        "Apache-2.0",
        813,
        "WebLI",
        f"{_HERE}.presence:Presence",
    ),
    Part(
        "seen",
        "siglip2",
        "SigLIP 2 base",
        "google/siglip2-base-patch16-224",
        "Apache-2.0",
        1500,
        "WebLI",
        f"{_HERE}.presence:Presence",
    ),
    Part(
        "boxes",
        "grounding_dino",
        "GroundingDINO tiny",
        "IDEA-Research/grounding-dino-tiny",
        "Apache-2.0",
        690,
        "Objects365, GoldG, Cap4M",
        f"{_HERE}.detectors:GroundingDINO",
    ),
    Part(
        "boxes",
        "owlv2",
        "OWLv2 base",
        "google/owlv2-base-patch16-ensemble",
        "Apache-2.0",
        620,
        "WebLI, Objects365, Visual Genome",
        f"{_HERE}.detectors:OWLv2",
    ),
    Part(
        "masks",
        "sam2",
        "SAM 2.1 tiny",
        "facebook/sam2.1-hiera-tiny",
        "Apache-2.0",
        156,
        "SA-1B, SA-V",
        f"{_HERE}.segmenters:SAM2",
    ),
    Part(
        "language",
        "smolvlm",
        "SmolVLM 256M",
        "HuggingFaceTB/SmolVLM-256M-Instruct",
        "Apache-2.0",
        513,
        "The Cauldron, Docmatix",
        f"{_HERE}.language:LanguageModel",
    ),
    Part(
        "language",
        "qwen2_5_vl_3b",
        "Qwen2.5-VL 3B",
        "Qwen/Qwen2.5-VL-3B-Instruct",
        "Qwen-Research",
        7510,
        "not published",
        f"{_HERE}.language:LanguageModel",
    ),
)


def parts_of(stage: str) -> dict[str, Part]:
    """The models for a stage by name, the default first."""
    return {part.name: part for part in _PARTS if part.stage == stage}


def find_part(stage: str, name: str) -> Part | None:
    """A model for a stage; None for `none`.

    Raises:
        ValueError: If there is none of that name.
    """
    parts = parts_of(stage)
    if name == NONE:
        return None
    if name not in parts:
        raise unknown_name(f"model for {stage}", name, [*parts, NONE])
    return parts[name]
