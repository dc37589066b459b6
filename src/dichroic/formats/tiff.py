"""TIFF and OME-TIFF, through tifffile."""

from math import prod
from pathlib import Path

import numpy as np

from dichroic.faults import ProblemError, located
from dichroic.formats.labels import Axis
from dichroic.formats.opened import Opened
from dichroic.formats.reader import Reader
from dichroic.formats.stores import check_size

__all__ = ["TIFF"]

_NAMES = {"Y": "y", "X": "x", "Z": "z", "T": "time", "C": "channel", "S": "channel"}


class TIFF(Reader):
    """A series of pictures, its channels moved to the end."""

    suffixes = ("tif", "tiff", "ome.tif", "ome.tiff")
    key = "series"
    library = ("tifffile", "tifffile")

    series: int | str = 0
    """Number of the series."""

    def read(self, path: Path) -> Opened:
        tifffile = self.load(path)
        # of an OME-TIFF in parts, the other files are not opened
        with tifffile.TiffFile(path, _multifile=False) as file:
            if not str(self.series).isdigit() or int(self.series) >= len(file.series):
                raise ProblemError([f"'{path.name}' has {len(file.series)} series, numbered from 0; got {self.series}"])
            series = file.series[int(self.series)]
            with located(f"'{path.name}'"):
                check_size(prod(series.shape) * series.dtype.itemsize, path.stat().st_size)
            x, axes = series.asarray(), series.axes
        if len(axes) != x.ndim:
            raise ProblemError([f"'{path.name}' names the axes {axes}, but has the shape {x.shape}"])
        channels = [i for i, letter in enumerate(axes) if letter in "CS"]
        x = np.moveaxis(x, channels, range(-len(channels), 0)) if channels else x
        order = [*(a for a in axes if a not in "CS"), *(axes[i] for i in channels)]
        return Opened(x, axes=tuple(Axis(_NAMES.get(a, "")) for a in order), kind="tiff")
