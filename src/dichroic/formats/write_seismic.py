"""Results as seismic records."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from dichroic.faults import ProblemError
from dichroic.formats.write_records import Record, WriteRecords

__all__ = ["WriteSeismic"]


class WriteSeismic(WriteRecords):
    """MiniSEED in single precision, of the network, station, channel and time of the data; the unit is theirs, too."""

    suffixes = ("mseed",)
    library = ("obspy", "obspy")

    def record(self, path: Path, record: Record) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the package itself, at import
            obspy = self.load()
        if record.x.ndim > 1:
            raise ProblemError([f".mseed holds one channel; source '{record.source}' has {record.x.shape[1]}"])
        header: dict[str, Any] = {"delta": record.step}
        header |= {k: said for k in ("network", "station", "location", "channel") if (said := record.said(k))}
        if start := record.said("starttime"):
            header["starttime"] = obspy.UTCDateTime(str(start)) + record.begin * record.step
        trace = obspy.Trace(np.ascontiguousarray(record.x, np.float32), header)
        trace.write(str(path), format="MSEED")
