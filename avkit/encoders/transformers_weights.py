# SPDX-License-Identifier: Apache-2.0
"""Networks of transformers with random weights, those of its hub, or a folder that `save_pretrained` wrote."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
import transformers

from avkit.encoders.pretrained import HUB, give_file
from avkit.encoders.settings import find_settings, settings_folder
from avkit.reading.hub import HubError, from_hub, hugging_face

#: How an option of weights is to be given.
_FOLDER = "the folder that save_pretrained (or 'hf download') wrote"


class PublishedNetwork:
    """A network of transformers and what stands around it, read from one folder or built with random weights.

    Args:
        name: Name of the encoder, for errors.
        kind: Kind of the encoder, as its option has it, such as `audio`.
        repository: The published weights, `owner/name` on the Hugging Face hub; what `hub` stands for.
        pretrained: None or False for random weights of the published sizes, `hub` or True, another `owner/name`, or a
            folder that `save_pretrained` wrote.
    """

    def __init__(self, name: str, kind: str, repository: str, pretrained: str | Path | bool | None) -> None:
        self.name = name
        self.kind = kind
        self.source = repository if pretrained is True or pretrained == HUB else str(pretrained or "")
        self.is_folder = Path(self.source).is_dir() if self.source else False
        self.settings = None if self.source else find_settings(kind, name)
        self._saved: list[Any] = []
        if self.source and not self.is_folder and (self.source.count("/") != 1 or Path(self.source).exists()):
            what = "is a file" if Path(self.source).exists() else "does not exist"
            raise ValueError(
                f"{self.source!r}, the weights of {name}, {what}. Name {_FOLDER}, 'hub' for {repository}, or another "
                "owner/name of the Hugging Face hub."
            )

    def network(self, model: type[Any], configuration: Callable[[], Any]) -> Any:
        """The network, whole: every weight of it is in the folder.

        Args:
            model: Class of the network.
            configuration: Gives the sizes of the published weights.

        Raises:
            HubError: If the weights are neither in the cache nor can they be downloaded.
            ValueError: If they are of another network.
        """
        if not self.source:
            with self._as_value_error(), _quiet():
                network = model(configuration() if self.settings is None else self._stored_sizes(model))
            self._saved.append(network.config)
            return network
        with self._reading() as options, _quiet():
            network, info = model.from_pretrained(
                self.source, use_safetensors=True, output_loading_info=True, torch_dtype=torch.float32, **options
            )
        absent = sorted([*info["missing_keys"], *(str(key[0]) for key in info["mismatched_keys"])])
        if absent:
            raise ValueError(
                f"{self.source} does not hold the weights of {self.name}: {len(absent)} are missing or of another "
                f"shape, such as {absent[0]}. Name {_FOLDER} for {model.__name__}."
            )
        self._saved.append(network.config)
        return network

    def part(self, part: type[Any], otherwise: Any = None) -> Any:
        """A feature extractor or tokenizer out of the folder.

        Args:
            part: Its class, with `from_pretrained`.
            otherwise: What stands for it with random weights.
        """
        read = otherwise
        if self.settings is not None:
            with self._as_value_error(), _quiet():
                read = part.from_pretrained(self.settings, local_files_only=True)
        elif self.source:
            with self._reading() as options, _quiet():
                read = part.from_pretrained(self.source, **options)
        self._saved.append(read)
        return read

    def save(self, root: Path) -> None:
        """Write the sizes and the parts of the network, but no weights, see `avkit.encoders.settings`."""
        folder = settings_folder(root, self.kind, self.name)
        for part in self._saved:
            if part is not None:
                part.save_pretrained(folder)

    def _stored_sizes(self, model: type[Any]) -> Any:
        """The sizes that a run has stored."""
        stored = model.config_class or transformers.AutoConfig
        return stored.from_pretrained(self.settings, local_files_only=True)

    @contextmanager
    def _reading(self) -> Iterator[dict[str, Any]]:
        """A block that reads from the folder, the cache or the hub; yields how."""
        if self.is_folder:
            with self._as_value_error():
                yield {"local_files_only": True}
            return
        instead = give_file(self.kind, _FOLDER)
        with (
            self._as_value_error(),
            from_hub(f"Weights of {self.name}", hugging_face(self.source), instead) as is_reachable,
        ):
            yield {"local_files_only": not is_reachable}

    @contextmanager
    def _as_value_error(self) -> Iterator[None]:
        """Say in one line why transformers cannot read a folder."""
        try:
            yield
        except HubError:
            raise
        except Exception as error:  # transformers raise many kinds for folders of something else
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            cause = lines[0][:160].rstrip(".") if lines else type(error).__name__
            raise ValueError(
                f"{self.source} cannot be read as weights of {self.name}: {cause}. Name {_FOLDER}."
            ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from telling what it loads."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    transformers.utils.logging.disable_progress_bar()
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        logging.disable(before)
