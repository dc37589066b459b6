"""Radio recordings, through sigmf."""

from pathlib import Path

import numpy as np

from dichroic.faults import ProblemError, located
from dichroic.formats.labels import Axis
from dichroic.formats.opened import Opened
from dichroic.formats.reader import Reader
from dichroic.formats.stores import check_size

__all__ = ["SigMF"]


class SigMF(Reader):
    """The samples of a recording, shape `(T,)`, with its sampling rate and centre frequency."""

    suffixes = ("sigmf-meta", "sigmf-data")
    library = ("sigmf", "sigmf")

    def read(self, path: Path) -> Opened:
        sigmf = self.load(path)
        meta, data = path.with_suffix(".sigmf-meta"), path.with_suffix(".sigmf-data")
        for part in (meta, data):
            if not part.is_file():
                raise ProblemError([f"'{path.name}' needs '{part.name}' beside it"])
        with located(f"'{meta.name}'"):
            check_size(16 * data.stat().st_size, data.stat().st_size)
        recording = sigmf.SigMFFile(metadata=meta.read_text(encoding="utf-8"), data_file=str(data))
        x = np.asarray(recording.read_samples())
        if x.ndim != 1:
            raise ProblemError([f"'{path.name}' has {x.shape[-1]} channels; one is read"])
        said = {key: recording.get_global_field(f"core:{key}") for key in ("sample_rate", "datatype", "description")}
        captures = recording.get_captures()
        said["frequency"] = captures[0].get("core:frequency") if captures else None
        step = None if not said["sample_rate"] else 1 / float(said["sample_rate"])
        return Opened(x, axes=(Axis("time", step=step, unit="s"),), kind="sigmf", shared=said)
