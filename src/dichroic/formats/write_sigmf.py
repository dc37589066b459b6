"""Results as radio recordings."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dichroic.faults import ProblemError
from dichroic.formats.write_records import Record, WriteRecords
from dichroic.store import write

__all__ = ["WriteSigMF"]


class WriteSigMF(WriteRecords):
    """Samples in single precision, `NAME.SOURCE.sigmf-data`, and their description, `NAME.SOURCE.sigmf-meta`, with the
    rate and the centre frequency of the data.
    """

    suffixes = ("sigmf-data", "sigmf-meta")
    library = ("sigmf", "sigmf")

    def record(self, path: Path, record: Record) -> None:
        if record.x.ndim > 1:
            raise ProblemError([f".sigmf-data holds one channel; source '{record.source}' has {record.x.shape[1]}"])
        np.asarray(record.x, "<c8" if np.iscomplexobj(record.x) else "<f4").tofile(path)

    def beside(self, path: Path, record: Record, said: Mapping[str, str]) -> list[Path]:
        about = ", ".join(f"{key} {value}" for key, value in said.items())
        known = {
            "core:datatype": "cf32_le" if np.iscomplexobj(record.x) else "rf32_le",
            "core:sample_rate": 1 / record.step,
            "core:version": "1.2.0",
            "core:description": f"source '{record.source}', separated by dichroic ({about})",
        }
        meta = self.load().SigMFFile(global_info=known)
        frequency = record.said("frequency")
        meta.add_capture(0, metadata={} if frequency is None else {"core:frequency": frequency})
        meta.set_data_file(str(path))  # of which it keeps a checksum
        file = path.with_suffix(".sigmf-meta")
        write(file, meta.dumps())
        return [file]
