# SPDX-License-Identifier: Apache-2.0
"""Which streams of which recipes make the stored features that a task of a run reads."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from avkit.batch import FeatureWidths
from avkit.datasets.released import FeatureModality
from avkit.errors import DataError
from avkit.extraction.extractor import stream_facts, stream_width
from avkit.extraction.recipe import ExtractionRecipe, FeatureStream, list_recipes, read_recipe, tokens_of
from avkit.features.combined import rows_per_step
from avkit.systems.published import PublishedInputs
from avkit.training.stored_facts import MODALITIES, StoredPart, StoredParts

#: The input of streams of each modality.
_INPUTS: dict[FeatureModality, str] = {"visual": "pictures", "audio": "sound"}
#: Outputs that are no features of steps: places of merged tokens, and tokens of a whole clip.
_NO_INPUTS = ("sources", "clip")
#: Outputs that are of parts of pictures.
_PARTS = ("patches", "tokens")
#: Seconds by which two hops may differ.
_SAME_HOP = 1e-6


@dataclass(frozen=True)
class ChosenStream:
    """A stream, and what a run knows of the features that it was trained on in its place.

    Attributes:
        stream: The stream.
        weights: Hash of the weights that those were made with; empty if it is not known.
    """

    stream: FeatureStream
    weights: str = ""


@dataclass(frozen=True)
class FeaturePlan:
    """Streams that make the stored features of a task.

    Attributes:
        visual: Streams of pictures whose features are joined in this order; none where pictures are read.
        audio: Streams of sound, likewise.
        place: Place within a step at which its picture is taken, in [0, 1].
        sources: Stream of the places of merged tokens, where a recipe has it.
    """

    visual: tuple[ChosenStream, ...] = ()
    audio: tuple[ChosenStream, ...] = ()
    place: float = 0.5
    sources: FeatureStream | None = None

    @property
    def inputs(self) -> list[FeatureStream]:
        """The streams that the model reads, each once."""
        return list(dict.fromkeys(chosen.stream for chosen in (*self.visual, *self.audio)))

    @property
    def streams(self) -> list[FeatureStream]:
        """All streams, each once."""
        return self.inputs if self.sources is None else [*self.inputs, self.sources]

    @property
    def crop(self) -> float:
        """Side of the square whose parts the model reads, as a share of a picture's shorter side; 0 for all of it."""
        crops = [stream_facts(chosen.stream).crop for chosen in self.visual if chosen.stream.keep in _PARTS]
        return min((crop for crop in crops if crop), default=0.0)

    @property
    def description(self) -> str:
        """Streams with their encoders and weights, for provenance."""
        return ", ".join(f"{s.name} ({s.encoder}, weights {s.weights or 'random'})" for s in self.inputs)

    @property
    def random(self) -> list[str]:
        """Names of streams whose encoders have random weights."""
        return [stream.name for stream in self.inputs if stream.weights is None]


@dataclass(frozen=True)
class StreamChooser:
    """Chooses streams for a run.

    Attributes:
        run: Name of the run, for errors.
        recipes: Names or files of recipes that the user gives; those of the system, then all of avkit, if none.
        weights: Weights of streams, as `avkit extract --weights` takes them.
        published: Stored features that the run's system was published with.
    """

    run: str
    recipes: Sequence[str] = ()
    weights: str | None = None
    published: Sequence[PublishedInputs] = ()

    def plan(self, task: str, widths: FeatureWidths, parts: StoredParts) -> FeaturePlan:
        """The streams of one task.

        Args:
            task: Its name, for errors.
            widths: Widths of the stored features that it reads; 0 for pictures or sound.
            parts: What the run knows of them.

        Raises:
            DataError: If no recipe makes them, or the given ones make features of other widths.
            ValueError: If a recipe or a stream is unknown.
        """
        width_of: dict[FeatureModality, int] = {"visual": widths.visual, "audio": widths.audio}
        chosen: dict[FeatureModality, tuple[ChosenStream, ...]] = {}
        for modality in MODALITIES:
            if width_of[modality]:
                chosen[modality] = self._streams(task, modality, widths, parts.get(modality, []))
        visual = chosen.get("visual", ())
        plan = FeaturePlan(visual, chosen.get("audio", ()), _place(parts), self._sources(visual))
        return self._with_weights(plan)

    def _sources(self, visual: Sequence[ChosenStream]) -> FeatureStream | None:
        """The stream of the places of merged tokens that the same recipe has beside them."""
        tokens = {entry.stream.name: entry.stream for entry in visual if entry.stream.keep in _PARTS}
        for recipe in self._pool():
            for stream in recipe.streams:
                if stream.keep == "sources" and _are_of_one_encoder(stream, tokens.get(tokens_of(stream))):
                    return stream
        return None

    def _streams(
        self, task: str, modality: FeatureModality, widths: FeatureWidths, parts: Sequence[StoredPart]
    ) -> tuple[ChosenStream, ...]:
        width = widths.visual if modality == "visual" else widths.audio
        wanted = list(parts) or self._published_parts(modality, widths)
        streams = [stream for recipe in self._pool() for stream in recipe.streams]
        pool = [stream for stream in streams if stream.of == _INPUTS[modality] and stream.keep not in _NO_INPUTS]
        chosen = [_best_stream(pool, part) for part in wanted]
        present = [stream for stream in chosen if stream is not None]
        if self.recipes and (not wanted or (len(present) < len(wanted) and not any(part.encoder for part in wanted))):
            present = pool
            wanted = []
        if not present or len(present) < len(wanted):
            raise self._no_stream(task, modality, width, wanted, pool)
        made = sum(stream_width(stream) for stream in present)
        if made != width:
            names = " + ".join(f"{stream.name} {stream_width(stream)}" for stream in present)
            raise DataError(
                f"Task {task} of {self.run} reads {modality} features of width {width}; {names} of "
                f"{self._pool_names()} make {made}. Name the recipe that the run was trained with: --features RECIPE."
            )
        hashes = [part.weights for part in wanted] or [""] * len(present)
        return tuple(ChosenStream(stream, digest) for stream, digest in zip(present, hashes, strict=True))

    def _published_parts(self, modality: FeatureModality, widths: FeatureWidths) -> list[StoredPart]:
        """Parts that the system was published with, if they have these widths; of unknown encoder."""
        for inputs in self.published:
            if inputs.widths == widths:
                names = {"visual": inputs.visual, "audio": inputs.audio}[modality]
                return [StoredPart(name, 0) for name in names.split("+")]
        return []

    def _pool(self) -> list[ExtractionRecipe]:
        """Recipes to choose from, the likeliest first."""
        if self.recipes:
            return [read_recipe(name) for name in self.recipes]
        names = [name for inputs in self.published for name in inputs.recipes]
        return [read_recipe(name) for name in dict.fromkeys((*names, *list_recipes()))]

    def _pool_names(self) -> str:
        if not self.recipes:
            return "avkit's recipes"
        return f"recipe {' and '.join(self.recipes)}"

    def _no_stream(
        self,
        task: str,
        modality: FeatureModality,
        width: int,
        wanted: Sequence[StoredPart],
        pool: Sequence[FeatureStream],
    ) -> DataError:
        features = " + ".join(map(str, wanted)) or f"width {width}, and it does not say which"
        listed = ", ".join(stream.name for stream in pool) or "none"
        where = f" {self._pool_names()} has these of {_INPUTS[modality]}: {listed}." if self.recipes else ""
        return DataError(
            f"Task {task} of {self.run} was trained on stored {modality} features ({features}), and no stream of "
            f"{self._pool_names()} makes them.{where} Name a recipe that does, or a YAML file of yours, with "
            "--features RECIPE (several joined by commas); 'avkit extract --list' prints the recipes."
        )

    def _with_weights(self, plan: FeaturePlan) -> FeaturePlan:
        """The plan with the weights that the user names."""
        recipe = ExtractionRecipe(self._pool_names(), "", tuple(plan.streams)).with_weights(self.weights)
        renewed = dict(zip(plan.streams, recipe.streams, strict=True))
        sources = None if plan.sources is None else renewed[plan.sources]
        return replace(plan, visual=_renew(plan.visual, renewed), audio=_renew(plan.audio, renewed), sources=sources)


def _are_of_one_encoder(sources: FeatureStream, tokens: FeatureStream | None) -> bool:
    """Whether places and tokens come out of the same encoder for the same pictures."""
    return tokens is not None and replace(sources, name=tokens.name, keep=tokens.keep, dtype=tokens.dtype) == tokens


def _renew(chosen: Iterable[ChosenStream], renewed: Mapping[FeatureStream, FeatureStream]) -> tuple[ChosenStream, ...]:
    return tuple(replace(entry, stream=renewed[entry.stream]) for entry in chosen)


def _place(parts: StoredParts) -> float:
    for listed in parts.values():
        for part in listed:
            return part.place
    return 0.5


def _best_stream(pool: Sequence[FeatureStream], part: StoredPart) -> FeatureStream | None:
    """The stream that makes features: of the same encoder and hop where they are known, else of the same name."""
    fitting = [stream for stream in pool if _makes(stream, part)]
    return max(fitting, key=lambda stream: _likeness(stream, part), default=None)


def _makes(stream: FeatureStream, part: StoredPart) -> bool:
    if part.hop and abs(part.hop - stream.hop) > _SAME_HOP and not _averages_to(stream, part):
        return False
    has_tokens = stream.keep in ("patches", "tokens")
    if part.width and has_tokens != bool(part.tokens):
        return False
    if part.encoder:
        return part.encoder in (stream.encoder, stream_facts(stream).encoder)
    return stream.name == part.name


def _averages_to(stream: FeatureStream, part: StoredPart) -> bool:
    """Whether a stream of the same name has several rows where the features have one, their mean."""
    return stream.name == part.name and rows_per_step(stream_facts(stream), part.hop) > 1


def _likeness(stream: FeatureStream, part: StoredPart) -> tuple[bool, bool]:
    return stream.name == part.name, stream_facts(stream).encoder == part.encoder
