# SPDX-License-Identifier: Apache-2.0
"""Where the media and masks of an official dataset's clips lie, and the error where some are missing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from avkit.datasets.annotations import Annotation, MaskAnnotation
from avkit.datasets.folder import Folder, MediaPatterns
from avkit.datasets.inputs import ReadOptions

#: Class of each pixel value of a mask, by the path of its file.
MaskClasses = Callable[[str], Mapping[str, str | None] | None]


@dataclass(frozen=True)
class MediaFinder:
    """Finds the media of a dataset's clips.

    Attributes:
        root: Folder of the dataset.
        patterns: Where media are below it.
        options: How clips are read; says what stored features stand for.
    """

    root: Folder
    patterns: MediaPatterns
    options: ReadOptions

    def locate_media(self, annotation: Annotation) -> str:
        """Add the paths of a clip's pictures and sound to its annotation, where no stored features stand for them.

        Returns:
            What is missing, `pictures` or `sound`; empty if nothing is.
        """
        needs_pictures = self.options.visual is None
        needs_sound = self.options.audio is None
        if not needs_pictures and not needs_sound:
            return ""
        values = _placeholders(annotation)
        if needs_pictures:
            annotation.frames = self._find_frames(annotation)
        if needs_sound:
            annotation.audio = self.root.find_file(self.patterns.audio, values)
        if annotation.frames is None or annotation.audio is None:
            annotation.video = self.root.find_file(self.patterns.video, values)
        if needs_pictures and annotation.frames is None and annotation.video is None:
            return "pictures"
        if needs_sound and annotation.audio is None and annotation.video is None:
            return "sound"
        return ""

    def locate_masks(self, annotation: Annotation, classes: MaskClasses) -> str:
        """Add the masks of a clip to its annotation, where it has some and none are named yet.

        Returns:
            `masks` if one is missing; empty if none is.
        """
        steps = annotation.mask_steps
        if annotation.masks is not None or steps is None:
            return ""
        files = self.root.find_masks(self.patterns, _placeholders(annotation), steps)
        if files is None:
            return "masks"
        annotation.masks = []
        for step, file in zip(steps, files, strict=True):
            annotation.masks.append(MaskAnnotation(step=step, file=file, classes=classes(file)))
        return ""

    def with_pictures(self, annotation: Annotation) -> Annotation:
        """The annotation with the paths of its pictures, where they are on disk."""
        video = self.root.find_file(self.patterns.video, _placeholders(annotation))
        return replace(annotation, frames=self._find_frames(annotation), video=video)

    def searched(self, lack: str) -> tuple[str, ...]:
        """Patterns by which something that is missing was looked for, such as `masks`."""
        patterns = self.patterns
        if lack == "masks":
            return patterns.masks
        if lack == "pictures":
            return (*patterns.frames, *patterns.video)
        if lack == "sound":
            return (*patterns.audio, *patterns.video)
        return ()

    def _find_frames(self, annotation: Annotation) -> str | list[str] | None:
        steps = self.options.steps_of(annotation) or 0
        return self.root.find_frames(self.patterns, _placeholders(annotation), steps)


def _placeholders(annotation: Annotation) -> dict[str, object]:
    return {"media": annotation.media, **annotation.placeholders}
