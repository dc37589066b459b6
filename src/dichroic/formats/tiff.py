"""TIFF and OME-TIFF, through tifffile."""

import re
from math import prod
from pathlib import Path
from struct import unpack
from typing import Any

import numpy as np

from dichroic.faults import ProblemError, located
from dichroic.formats.conventions import decoded
from dichroic.formats.labels import Axis
from dichroic.formats.opened import Opened
from dichroic.formats.reader import Reader
from dichroic.formats.stores import check_size

__all__ = ["TIFF"]

_NAMES = {"Y": "y", "X": "x", "Z": "z", "T": "time", "C": "channel", "S": "channel"}


class TIFF(Reader):
    """A series of pictures, its channels moved to the end, with the size of pixels where OME or ImageJ say it; what
    GDAL calls no data is missing.
    """

    suffixes = ("tif", "tiff", "ome.tif", "ome.tiff")
    key = "series"
    library = ("tifffile", "tifffile")

    series: int | str = 0
    """Number of the series."""

    def read(self, path: Path) -> Opened:
        tifffile = self.load(path)
        # of an OME-TIFF in parts, the other files are not opened
        with tifffile.TiffFile(path, _multifile=False) as file:
            _check_chain(file, path)
            if not str(self.series).isdigit() or int(self.series) >= len(file.series):
                raise ProblemError([f"'{path.name}' has {len(file.series)} series, numbered from 0; got {self.series}"])
            series = file.series[int(self.series)]
            with located(f"'{path.name}'"):
                check_size(prod(series.shape) * series.dtype.itemsize, path.stat().st_size)
                nodata = _nodata(series)
            x, axes, steps = series.asarray(), series.axes, _steps(file)
        if nodata is not None:
            x, _ = decoded(x, {"_FillValue": nodata})
        if len(axes) != x.ndim:
            raise ProblemError([f"'{path.name}' names the axes {axes}, but has the shape {x.shape}"])
        channels = [i for i, letter in enumerate(axes) if letter in "CS"]
        x = np.moveaxis(x, channels, range(-len(channels), 0)) if channels else x
        order = [*(a for a in axes if a not in "CS"), *(axes[i] for i in channels)]
        named = (
            Axis(_NAMES.get(a, ""), step=steps.get(a, (None, ""))[0], unit=steps.get(a, ("", ""))[1]) for a in order
        )
        return Opened(x, axes=tuple(named), kind="tiff")


def _check_chain(file: Any, path: Path) -> None:
    """Whether the directories of the pages come to an end: each says where the next one is, and may say where it was.

    **Raises:** `ProblemError`; tifffile would go round millions of times.
    """
    tiff, found = file.tiff, set()
    with open(path, "rb") as stream:

        def number(form: str, size: int) -> int:
            return unpack(form, content)[0] if len(content := stream.read(size)) == size else 0

        stream.seek(8 if tiff.is_bigtiff else 4)
        while (offset := number(tiff.offsetformat, tiff.offsetsize)) and offset not in found:
            found.add(offset)
            stream.seek(offset)
            entries = number(tiff.tagnoformat, tiff.tagnosize)
            stream.seek(offset + tiff.tagnosize + entries * tiff.tagsize)
    if offset:
        raise ProblemError([f"'{path.name}' has pages that go round: damaged?"])


def _steps(file: Any) -> dict[str, tuple[float, str]]:
    """The size of a pixel along every axis that has one, with its unit."""
    found, text = {}, file.ome_metadata or ""
    for axis in "XYZ":
        size = re.search(rf'PhysicalSize{axis}="([0-9.eE+-]+)"', text)
        unit = re.search(rf'PhysicalSize{axis}Unit="([^"]*)"', text)
        if size:
            found[axis] = float(size[1]), unit[1] if unit else "µm"
    if not text and (unit := (file.imagej_metadata or {}).get("unit")):
        for axis, tag in (("X", "XResolution"), ("Y", "YResolution")):
            if tag in file.pages[0].tags and all(value := file.pages[0].tags[tag].value):
                found[axis] = value[1] / value[0], str(unit)
    return found


def _nodata(series: Any) -> Any:
    """The value that stands for missing data, None where there is none; parts that were never written read as it."""
    pages = [page for page in series.pages if page is not None]
    said = next((page.nodata for page in pages if "GDAL_NODATA" in getattr(page, "tags", ())), None)
    if said is None and any(not all(page.databytecounts) for page in pages if page.size):
        raise ProblemError(["parts of it were never written, and would read as zeros"])
    return said
