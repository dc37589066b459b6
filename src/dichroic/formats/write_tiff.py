"""Results as TIFF files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dichroic.faults import ProblemError
from dichroic.formats.results import ViewResults
from dichroic.formats.writer import Writer
from dichroic.store import readable, whole

__all__ = ["WriteTIFF"]


class WriteTIFF(Writer):
    """Posterior means as stacks in single precision, `NAME.SOURCE.tif`, the standard deviations as
    `NAME.SOURCE.std.tif`; with the view in the name where there are several.
    """

    suffixes = ("tif", "tiff")
    library = ("tifffile", "tifffile")

    def check(self, views: Mapping[str, tuple[int, ...]]) -> None:
        self.load()
        for name, shape in views.items():
            if len(shape) not in (2, 3):
                raise ProblemError([f".tif holds images; observations of view '{name}' have the shape {shape}"])

    def write(self, path: Path, views: Mapping[str, ViewResults], said: Mapping[str, str]) -> tuple[list[Path], str]:
        tifffile, files = self.load(), []
        stem = path.name.removesuffix(path.suffix)
        for name, view in views.items():
            for source, found in view.sources.items():
                for kind, x in (("", found.mean), ("std", found.std)):
                    parts = [source, *([name] if len(views) > 1 else []), *([kind] if kind else [])]
                    file = path.with_name(".".join([stem, *map(readable, parts)]) + path.suffix)
                    described = {"axes": "QYX" if x.ndim == 3 else "QYXS", "source": source, **said}
                    with whole(file) as temporary, open(temporary, "wb") as out:
                        tifffile.imwrite(out, np.asarray(x, np.float32), photometric="minisblack", metadata=described)
                    files.append(file)
        return files, "draws, sources as they are seen and names of observations"
