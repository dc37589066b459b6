"""Slices of single-coil knees of fastMRI, as you have fetched them. Nothing is downloaded here."""

from pathlib import Path

import numpy as np

__all__ = ["read_knees"]

_SLICES = slice(10, 40)  # of every volume, as DiEM has them: those at its ends show little
_NAME = "reconstruction_rss"


def read_knees(folder: str | Path, n: int | None = None) -> np.ndarray:
    """Slices of the volumes `*.h5` of a folder, in the order of their names, each volume divided by its maximum.

    **Arguments:** `n`, so many slices at most.

    **Returns** images in [0, 1], shape `(n, 320, 320, 1)`.

    **Raises:** `FileNotFoundError` where there is no volume; `ValueError` for one without reconstructions.
    """
    import h5py

    found, count = [], 0
    for file in sorted(Path(folder).glob("*.h5")):
        if n is not None and count >= n:
            break
        with h5py.File(file) as volume:
            if _NAME not in volume:
                raise ValueError(f"{file} has no '{_NAME}': is it a volume of the training or validation part?")
            whole = np.asarray(volume[_NAME], np.float32)
        found.append((whole / whole.max())[_SLICES, ..., None])
        count += len(found[-1])
    if not found:
        raise FileNotFoundError(f"there is no volume (*.h5) in {folder}")
    return np.concatenate(found)[:n]
