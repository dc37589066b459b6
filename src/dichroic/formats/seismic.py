"""Seismic records, through obspy."""

import warnings
from pathlib import Path

import numpy as np

from dichroic.faults import ProblemError, located, names
from dichroic.formats.labels import Axis
from dichroic.formats.opened import Opened
from dichroic.formats.reader import Reader, missing_key
from dichroic.formats.stores import check_size

__all__ = ["Seismic"]

# named by the suffix: among the formats that obspy would try on its own are pickles, which run what they like
_FORMATS = {"mseed": "MSEED", "miniseed": "MSEED", "msd": "MSEED", "sac": "SAC", "gse2": "GSE2", "segy": "SEGY"}


class Seismic(Reader):
    """One channel of a record, shape `(T,)`; its parts are joined, and what lies in gaps between them is missing."""

    suffixes = tuple(_FORMATS)
    key = "channel"
    library = ("obspy", "obspy")

    channel: str | None = None
    """The channel, `BHZ`, or `NET.STA.LOC.CHA` (default: the only one)."""

    def read(self, path: Path) -> Opened:
        form = _FORMATS[path.suffix.lower().lstrip(".")]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the package itself, at import
            read = self.load(path).read
        # an open file, for a name would be taken for a pattern or an address
        with open(path, "rb") as file:
            size = sum(8 * trace.stats.npts for trace in read(file, format=form, headonly=True))
        with located(f"'{path.name}'"):
            check_size(size, path.stat().st_size)
        with open(path, "rb") as file:
            stream = read(file, format=form)
        known = list(dict.fromkeys(trace.id for trace in stream))
        wanted = known if self.channel is None else [x for x in known if self.channel in (x, x.split(".")[-1])]
        if self.channel is not None and not wanted:
            raise missing_key(path, self.channel, known)
        if len(wanted) > 1:
            raise ProblemError([f"'{path.name}' has several channels, {names(wanted)}; say which: channel = 'BHZ'"])
        stream = stream.select(id=wanted[0])
        rates = {trace.stats.sampling_rate for trace in stream}
        if len(rates) > 1:
            raise ProblemError([f"'{path.name}': parts of '{wanted[0]}' have several sampling rates, {sorted(rates)}"])
        with located(f"'{path.name}': gaps included"):
            begin, end = min(t.stats.starttime for t in stream), max(t.stats.endtime for t in stream)
            check_size(int(8 * (end - begin) * rates.pop()), path.stat().st_size)
        (trace,) = stream.merge(method=1)
        mask = np.ma.getmaskarray(trace.data) if isinstance(trace.data, np.ma.MaskedArray) else None
        said = {key: str(trace.stats[key]) for key in ("network", "station", "location", "channel", "starttime")}
        axis = Axis("time", step=float(trace.stats.delta), unit="s")
        return Opened(np.ma.getdata(trace.data), mask, axes=(axis,), kind="seismic", shared=said)
