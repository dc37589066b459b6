"""Results as TIFF files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dichroic.faults import ProblemError
from dichroic.formats.results import ViewResults
from dichroic.formats.writer import Writer
from dichroic.store import readable, whole

__all__ = ["WriteTIFF"]


class WriteTIFF(Writer):
    """Posterior means as stacks in single precision, `NAME.SOURCE.tif`, the standard deviations as
    `NAME.SOURCE.std.tif`; with the view in the name where there are several. What ends in `.ome.tif` is OME-TIFF.
    """

    suffixes = ("tif", "tiff", "ome.tif", "ome.tiff")
    library = ("tifffile", "tifffile")

    def check(self, views: Mapping[str, tuple[int, ...]]) -> None:
        self.load()
        for name, shape in views.items():
            if len(shape) not in (2, 3):
                raise ProblemError([f".tif holds images; observations of view '{name}' have the shape {shape}"])

    def write(self, path: Path, views: Mapping[str, ViewResults], said: Mapping[str, str]) -> tuple[list[Path], str]:
        tifffile, files = self.load(), []
        suffix = max((f".{s}" for s in self.suffixes if path.name.endswith(f".{s}")), key=len)
        stem, ome = path.name.removesuffix(suffix), suffix.startswith(".ome")
        for name, view in views.items():
            sizes: dict[str, Any] = {}
            for letter, axis in zip("YX", view.labels.axes, strict=False):
                if axis.step is not None:
                    sizes |= {f"PhysicalSize{letter}": axis.step, f"PhysicalSize{letter}Unit": axis.unit}
            for source, found in view.sources.items():
                for kind, x in (("", found.mean), ("std", found.std)):
                    parts = [source, *([name] if len(views) > 1 else []), *([kind] if kind else [])]
                    file = path.with_name(".".join([stem, *map(readable, parts)]) + suffix)
                    axes = ("T" if ome else "Q") + ("YX" if x.ndim == 3 else "YXS")
                    described = {"axes": axes, **sizes, **({"Name": source} if ome else {"source": source, **said})}
                    with whole(file) as temporary, open(temporary, "wb") as out:
                        tifffile.imwrite(
                            out, np.asarray(x, np.float32), photometric="minisblack", metadata=described, ome=ome
                        )
                    files.append(file)
        return files, "draws, sources as they are seen and names of observations"
