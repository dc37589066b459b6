"""The Zarr store of a separation: what it says of itself, and whether it is whole; where results may be written."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from math import ceil, prod
from os import SEEK_END
from pathlib import Path
from shutil import disk_usage
from typing import Any

import numpy as np

from dichroic.formats import WRITERS, check_size
from dichroic.run.folder import RunError
from dichroic.store import Format, StoreError, claim, reading, whole

__all__ = ["SEPARATION", "Stored", "check_free", "check_room", "described", "in_words", "seal", "write_npz"]

SEPARATION = Format("dichroic separation", 2)
_FIRST = "dichroic separation 1"  # the mark of version 1, which had names of the user's for groups


@contextmanager
def in_words(path: Path) -> Iterator[None]:
    """What cannot be read of a store is a `RunError`."""
    try:
        with reading(path):
            yield
    except FileNotFoundError as error:
        raise RunError(f"there is no separation at {path}, or not all of it") from error
    except StoreError as error:
        raise RunError(str(error)) from error


class Stored:
    """An array on disk. Its chunks have checksums: a damaged one is a `RunError` when it is read."""

    def __init__(self, array: Any, path: Path):
        self._array, self._path = array, path
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        with in_words(self._path):
            return self._array[index]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[...], dtype)


_CODECS = {"bytes", "zstd", "crc32c"}  # what we write; none of them executes anything


def described(path: Path) -> dict[str, Any]:
    """What a store says of itself, when all its arrays are of our making and all their chunks are there.

    **Raises:** `StoreError` otherwise; `FileNotFoundError` where there is no store.
    """
    for file in path.rglob("*"):
        if file.is_symlink() or not (file.is_file() or file.is_dir()):
            raise StoreError(f"{path} is damaged: '{file.relative_to(path)}' is no part of it")
    content = _metadata(path, "")["attributes"]
    first = isinstance(content, dict) and content.get("format") == _FIRST
    if first:
        groups = sorted(group.parent.parent for group in path.glob("*/chi_square/zarr.json"))
        named = {group.name: sorted(group.glob("samples/*/zarr.json")) for group in groups}
        content["views"] = {view: view for view in named}
        content["samples"] = {
            view: {file.parent.name: f"{view}/samples/{file.parent.name}" for file in files}
            for view, files in named.items()
        }
    else:
        content = SEPARATION.check(content, path)
    kinds = ("samples", "means", "appearances", "instrument")
    known = [name for kind in kinds for sources in content.get(kind, {}).values() for name in sources.values()]
    if not first:  # version 1 left out chunks of nothing but zeros
        known += [f"{group}/{kind}" for group in content["views"].values() for kind in ("chi_square", "diverged")]
    for name in known:
        array = _metadata(path, name)
        codecs = {codec["name"] for codec in array["codecs"]}
        if array["data_type"] not in ("float32", "complex64", "bool") or not codecs <= _CODECS:
            raise StoreError(f"{path}: '{name}' has codecs or a type of values that dichroic does not write")
        chunk = array["chunk_grid"]["configuration"]["chunk_shape"]
        expected = prod(ceil(size / part) for size, part in zip(array["shape"], chunk, strict=True))
        chunks = [file.stat().st_size for file in (path / name / "c").rglob("*") if file.is_file()]
        check_size(max(prod(array["shape"]), prod(chunk)) * np.dtype(array["data_type"]).itemsize, sum(chunks))
        found = len(chunks)
        if found < expected and not (first and content.get("point")):
            raise StoreError(f"{path} is damaged: {expected - found} of {expected} chunks of '{name}' are missing")
    if content.get("seal") not in (None, seal(path)):
        raise StoreError(f"{path} is damaged: some of its chunks are not those that were written")
    return content


def _metadata(path: Path, name: str) -> dict[str, Any]:
    """What stands in the metadata of a store, or of an array in it."""
    file = path / name / "zarr.json"
    if not file.resolve().is_relative_to(path.resolve()) or (file.exists() and not file.is_file()):
        raise StoreError(f"{path} is damaged: '{name or file.name}' is no part of it")
    return json.loads(file.read_text(encoding="utf-8"))


def seal(path: Path) -> str:
    """The sha256 of the checksums of all chunks, with which each of them ends: chunks of others have theirs, too."""
    digest = sha256()
    for file in sorted(file for file in path.rglob("c/**/*") if file.is_file()):
        with open(file, "rb") as stream:
            size = stream.seek(0, SEEK_END)
            stream.seek(max(size - 4, 0))
            digest.update(f"{file.relative_to(path).as_posix()}:{stream.read().hex()}\n".encode())
    return digest.hexdigest()


def check_free(path: Path, overwrite: bool = False) -> None:
    """Whether results may be written to a path: it is free, or holds results that are to be replaced.

    **Raises:** `RunError` otherwise.
    """
    known = [".zarr", ".npz", *(f".{suffix}" for writer in WRITERS.values() for suffix in writer.suffixes)]
    if path.suffix and not path.name.endswith(tuple(known)):
        raise RunError(f"results are written as {', '.join(known)}, not as '{path.suffix}': {path}")
    if path.exists():
        if not overwrite:
            raise RunError(f"{path} is there already; choose another name, or say --overwrite (overwrite=True)")
        if path.is_dir() and not _is_separation(path):
            raise RunError(f"{path} is a folder that dichroic has not written; it is not replaced")
    claim(path, folder=path.is_dir())


def check_room(path: Path, size: int) -> None:
    """Whether draws of so many bytes have room where they are written: random numbers hardly get smaller.

    **Raises:** `RunError` before anything is drawn.
    """
    free = disk_usage(path.parent).free
    if size > free:
        raise RunError(
            f"the draws take {size / 1e9:.3g} GB, but {path.parent} has room for {free / 1e9:.3g}: fewer draws"
        )


def _is_separation(path: Path) -> bool:
    try:
        return str(_metadata(path, "")["attributes"]["format"]).startswith("dichroic separation")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays, whole or not at all."""
    with whole(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
