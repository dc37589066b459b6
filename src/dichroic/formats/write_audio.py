"""Results as sound: a file for every source of every record."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dichroic.faults import ProblemError
from dichroic.formats.results import ViewResults
from dichroic.formats.writer import Writer
from dichroic.store import readable, whole

__all__ = ["WriteAudio"]


class WriteAudio(Writer):
    """Posterior means, in floating-point numbers, which nothing clips, at the sampling rate of the data:
    `NAME.SOURCE.wav`, with the view and the identifier in the name where there are several.
    """

    suffixes = ("wav",)
    library = ("soundfile", "soundfile")

    def check(self, views: Mapping[str, tuple[int, ...]]) -> None:
        self.load()
        for name, shape in views.items():
            if len(shape) > 1 and not (len(shape) == 3 and shape[1] == 1):
                raise ProblemError([f".wav holds series; observations of view '{name}' have the shape {shape}"])

    def write(self, path: Path, views: Mapping[str, ViewResults], said: Mapping[str, str]) -> tuple[list[Path], str]:
        soundfile = self.load()
        files = []
        for name, view in views.items():
            step = view.labels.axis(0).step
            if not step:
                raise ProblemError([f"view '{name}' has no sampling rate; say rate = 8000, say, in the view"])
            for source, found in view.sources.items():
                for i, x in enumerate(found.mean):
                    parts = [source, *([name] if len(views) > 1 else []), *([view.ids[i]] if len(view) > 1 else [])]
                    file = path.with_name(".".join([path.stem, *map(readable, parts), "wav"]))
                    x = x[:, 0] if x.ndim == 3 else x
                    with whole(file) as temporary:
                        soundfile.write(temporary, np.asarray(x), round(1 / step), format="WAV", subtype="FLOAT")
                    files.append(file)
        return files, "standard deviations, draws and sources as they are seen"
