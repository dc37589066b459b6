"""CIFAR-10 out of its binary version, as you have fetched it. Nothing is downloaded here."""

import tarfile
from pathlib import Path, PurePosixPath

import numpy as np

__all__ = ["labelled_images", "read_cifar"]

FILES = (*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin")
_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32  # a byte for the label, then the image, channel by channel


def read_cifar(path: str | Path) -> np.ndarray:
    """All 60,000 images, those of the training part first.

    **Arguments:** `path`, `cifar-10-binary.tar.gz`, or a folder with its `data_batch_1.bin`, ..., `test_batch.bin`.

    **Returns** 8-bit images, shape `(n, 32, 32, 3)`.

    **Raises:** `FileNotFoundError` where one of the six is missing; `ValueError` for one that is something else.
    """
    path = Path(path)
    if path.is_dir():
        found = {file.name: file.read_bytes() for file in path.iterdir() if file.name in FILES and file.is_file()}
    else:
        found = {}
        with tarfile.open(path) as archive:
            for member in archive:
                if (name := PurePosixPath(member.name).name) in FILES and (file := archive.extractfile(member)):
                    found[name] = file.read()
    if missing := [name for name in FILES if name not in found]:
        raise FileNotFoundError(f"{path} has no file {missing[0]}: is it the binary version of CIFAR-10?")
    return np.concatenate([labelled_images(found[name], f"{path}: {name}")[0] for name in FILES])


def labelled_images(content: bytes, what: str) -> tuple[np.ndarray, np.ndarray]:
    """8-bit images, shape `(n, 32, 32, 3)`, and classes, of the content of one file.

    **Raises:** `ValueError` that says `what` is something else.
    """
    data = np.frombuffer(content, np.uint8)
    if not data.size or data.size % _RECORD:
        raise ValueError(f"{what} is not a whole number of images of CIFAR-10")
    rows = data.reshape(-1, _RECORD)
    return rows[:, 1:].reshape(-1, *_SHAPE).transpose(0, 2, 3, 1), rows[:, 0]
