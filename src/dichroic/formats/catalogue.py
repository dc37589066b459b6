"""Places of a catalogue in an image, and the header of a cut-out."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from dichroic.faults import ProblemError, names, require_known
from dichroic.formats.opened import Opened
from dichroic.formats.stores import check_size

__all__ = ["moved", "read_catalogue"]

_KEYS = ("catalogue", "ra", "dec", "x", "y", "id")


def read_catalogue(said: Mapping[str, Any], folder: Path, image: Opened) -> tuple[np.ndarray, np.ndarray | None]:
    """The places that a catalogue names, in the image.

    **Arguments:** `said`, `{ catalogue = FILE, ra = "RA", dec = "DEC" }`, columns in degrees that the WCS of the image
    takes to its pixels, or `{ catalogue = FILE, x = "X", y = "Y" }`, pixels from 0 along rows and columns; `id`, the
    column of names. FILE is a FITS table, or text with commas and a line of names.

    **Returns** rows and columns, shape `(n, 2)`, and names.

    **Raises:** `ProblemError`.
    """
    require_known(said, _KEYS)
    path = folder / str(said["catalogue"])
    if not path.is_file():
        raise ProblemError([f"there is no catalogue {path}"])
    table = _fits_table(path) if path.suffix.lower() in (".fits", ".fit") else _text_table(path)

    def column(name: str) -> np.ndarray:
        found = next((key for key in table if key.lower() == name.lower()), None)
        if found is None:
            raise ProblemError([f"'{path.name}' has no column '{name}'; there are: {names(table)}"])
        return table[found]

    called = np.asarray(column(said["id"])).astype(str) if "id" in said else None
    if "x" in said or "y" in said:
        x, y = (np.asarray(column(said.get(key, key)), float) for key in ("x", "y"))
    else:
        if not image.shared.get("header"):
            raise ProblemError(["the image has no WCS; give columns of pixels: x = 'X', y = 'Y'"])
        sky = [np.asarray(column(said.get(key, key)), float) for key in ("ra", "dec")]
        wcs = import_module("astropy.wcs").WCS(_header(image.shared["header"]))
        if not wcs.has_celestial:
            raise ProblemError(["the WCS of the image has no celestial axes; give columns of pixels: x = 'X', y = 'Y'"])
        x, y = wcs.celestial.all_world2pix(*sky, 0)
    places = np.stack([y, x], 1)
    if not np.isfinite(places).all():
        raise ProblemError([f"'{path.name}': place no. {int(np.argwhere(~np.isfinite(places))[0, 0])} is not finite"])
    return places, called


def moved(header: str, start: np.ndarray) -> str:
    """The header of a cut-out that begins at a row and a column: its WCS has the origin there."""
    found = _header(header)
    for axis, begin in enumerate(reversed([int(x) for x in start])):
        if f"CRPIX{axis + 1}" in found:
            found[f"CRPIX{axis + 1}"] -= begin
    return found.tostring(sep="\n", endcard=False, padding=False)


def _header(text: str) -> Any:
    return import_module("astropy.io.fits").Header.fromstring(text, sep="\n")


def _fits_table(path: Path) -> dict[str, np.ndarray]:
    try:
        fits = import_module("astropy.io.fits")
    except ImportError:
        raise ProblemError([f"reading '{path.name}' needs astropy: pip install astropy"]) from None
    with open(path, "rb") as file, fits.open(file) as units:
        for unit in units:
            if isinstance(unit, fits.BinTableHDU | fits.TableHDU):
                check_size(int(unit.header["NAXIS1"]) * int(unit.header["NAXIS2"]), path.stat().st_size)
                return {name: np.array(unit.data[name]) for name in unit.columns.names}
    raise ProblemError([f"'{path.name}' holds no table"])


def _text_table(path: Path) -> dict[str, np.ndarray]:
    try:
        found = np.genfromtxt(path, delimiter=",", names=True, dtype=None, encoding="utf-8")
    except ValueError as error:
        raise ProblemError([f"'{path.name}' is no table of text with commas: {str(error).splitlines()[0]}"]) from None
    names = found.dtype.names
    if names is None:
        raise ProblemError([f"'{path.name}' has no line of names"])
    found = np.atleast_1d(found)
    return {name: found[name] for name in names}
