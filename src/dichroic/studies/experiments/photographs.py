"""Photographs that are part of the installed scikit-image. Nothing is downloaded here."""

from pathlib import Path

import numpy as np

__all__ = ["photograph"]


def photograph(name: str) -> np.ndarray:
    """A photograph by its file name, 8-bit grey, shape `(height, width)`.

    scikit-image's own functions fetch over the network what an installation lacks; this one does not.

    **Raises:** `FileNotFoundError` when the file is not part of the installation.

    >>> photograph("grass.png").shape
    (512, 512)
    """
    import skimage
    from PIL import Image

    path = Path(skimage.__file__).parent / "data" / name
    if not path.is_file():
        raise FileNotFoundError(f"the photograph {name} is not part of the installed scikit-image: no file {path}")
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))
