"""Results as a FITS file, under the headers of the data."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dichroic.formats.results import ViewResults
from dichroic.formats.writer import Writer
from dichroic.store import whole

__all__ = ["WriteFITS"]

# what belongs to the data of another HDU
_STRUCTURE = ["SIMPLE", "XTENSION", "BITPIX", "EXTEND", "PCOUNT", "GCOUNT", "GROUPS", "BSCALE", "BZERO", "BLANK"]
_STRUCTURE += ["CHECKSUM", "DATASUM", "EXTNAME", "EXTVER"]


class WriteFITS(Writer):
    """An HDU for every source of a view, `VIEW/SOURCE/mean`, `/std`, `/seen` and `/draws`.

    Data from one file come back as one cube under its header; from several files, every observation has HDUs of its
    own, with the number of the observation as `EXTVER` and the header, the WCS and the name of its file.
    """

    suffixes = ("fits", "fits.gz")
    library = ("astropy.io.fits", "astropy")

    def write(self, path: Path, views: Mapping[str, ViewResults], said: Mapping[str, str]) -> tuple[list[Path], str]:
        fits = self.load()
        primary = fits.PrimaryHDU()
        for key, value in said.items():
            primary.header[f"HIERARCH dichroic {key}"] = value
        units = [primary, *(unit for name, view in views.items() for unit in _units(fits, name, view))]
        with whole(path) as temporary, open(temporary, "wb") as file:
            fits.HDUList(units).writeto(file)
        return [path], ""


def _units(fits: Any, name: str, view: ViewResults) -> Iterator[Any]:
    headers = view.labels.columns.get("header")
    for source, found in view.sources.items():
        for kind, x in found.kinds():
            unit = view.labels.unit if kind == "seen" else found.unit or view.labels.unit
            label = f"{name}/{source}/{kind}"
            if headers is None:
                yield _unit(fits, label, 1, _picture(x), view.labels.shared.get("header", ""), unit)
                continue
            for i, header in enumerate(headers):
                hdu = _unit(fits, label, i + 1, _picture(x[i]), header, unit)
                hdu.header["HIERARCH dichroic observation"] = str(view.ids[i])
                yield hdu


def _unit(fits: Any, label: str, number: int, x: np.ndarray, text: str, unit: str) -> Any:
    header = fits.Header.fromstring(text, sep="\n")
    for key in [*_STRUCTURE, *(card for card in header if card.startswith("NAXIS"))]:
        header.remove(key, ignore_missing=True, remove_all=True)
    if np.iscomplexobj(x):  # which FITS has no images of
        x = np.stack([np.real(x), np.imag(x)])
    hdu = fits.ImageHDU(np.asarray(x), header=header, name=label)
    hdu.header["EXTVER"] = number
    if unit:
        hdu.header["BUNIT"] = unit
    return hdu


def _picture(x: np.ndarray) -> np.ndarray:
    """`(..., H, W)` from `(..., H, W, 1)`."""
    return x[..., 0] if x.ndim > 2 and x.shape[-1] == 1 else x
