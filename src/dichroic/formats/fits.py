"""FITS files, through astropy."""

from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from dichroic.faults import ProblemError, located, names
from dichroic.formats.opened import Opened
from dichroic.formats.reader import Reader, missing_key
from dichroic.formats.stores import check_size

__all__ = ["FITS"]


class FITS(Reader):
    """The image of an HDU, with its `BUNIT` and its header."""

    suffixes = ("fits", "fits.gz", "fit", "fits.fz")
    key = "hdu"
    library = ("astropy.io.fits", "astropy")

    hdu: str | int | None = None
    """Name or number of the HDU (default: the first that holds an image)."""

    def read(self, path: Path) -> Opened:
        fits = self.load(path)
        # an open file: that of a damaged one is closed, too
        with open(path, "rb") as file, fits.open(file) as units:
            known = [str(unit.name) or str(i) for i, unit in enumerate(units)]
            chosen = self._chosen(units)
            if chosen not in (range(len(known)) if isinstance(chosen, int) else known):
                raise missing_key(path, str(self.hdu), known)
            header = units[chosen].header
            sides = [int(header.get(f"NAXIS{i + 1}", 0)) for i in range(int(header.get("NAXIS", 0)))]
            with located(f"'{path.name}:{chosen}'"):
                check_size(prod(sides) * abs(int(header.get("BITPIX", 8))) // 8, path.stat().st_size)
            data = units[chosen].data if units[chosen].is_image else None
            if data is None:
                raise ProblemError([f"HDU {chosen} of '{path.name}' holds no image; HDUs there: {names(known)}"])
            unit = str(header.get("BUNIT", "")).strip() or None
            text = header.tostring(sep="\n", endcard=False, padding=False)
            return Opened(np.array(data), unit=unit, kind="fits", shared={"header": text})

    def _chosen(self, units: Any) -> int | str:
        if self.hdu is None:
            images = (i for i, unit in enumerate(units) if unit.is_image and int(unit.header.get("NAXIS", 0)) > 0)
            return next(images, 0)
        return int(self.hdu) if str(self.hdu).isdigit() else str(self.hdu).upper()
