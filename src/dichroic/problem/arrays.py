"""Arrays named in a problem file: numbers, nested lists, or `FILE:KEY`."""

import importlib
import re
import zipfile
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from dichroic.faults import ProblemError, did_you_mean, first_line, located, names
from dichroic.problem.stores import check_hdf5, check_size, check_zarr, check_zarr_metadata
from dichroic.problem.values import as_floats, as_numbers

__all__ = ["ArrayReader", "expand", "find_file", "is_array_table"]

# the suffix, not the first colon, ends the file's name: paths and keys may contain colons
_REFERENCE = re.compile(r"(?P<file>.+?\.(?P<kind>npz|npy|h5|hdf5|zarr|fits|fits\.gz))(:(?P<key>.*))?", re.I | re.S)
_KINDS = ".npz, .npy, .h5, .hdf5, .zarr or .fits"


def is_array_table(spec: Any) -> bool:
    """Whether a table stands for one array: `{ array = "FILE:KEY", scale = 0.5 }`."""
    return isinstance(spec, dict) and "array" in spec


class ArrayReader:
    """Reads arrays; file names are relative to `folder`, and each array is read once."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._read: dict[tuple[Path, str | None], np.ndarray] = {}

    def read(self, spec: Any) -> Any:
        """The array that a value of a problem file stands for; numbers stay as they are.

        **Raises:** `ProblemError` when the file or the key does not exist, or holds no numbers.
        """
        if isinstance(spec, bool):
            raise ProblemError([f"expected a number, a list or 'FILE:KEY', got {str(spec).lower()}"])
        if isinstance(spec, int | float):
            return spec
        if isinstance(spec, str):
            return self._file(spec)
        if isinstance(spec, list):
            return as_numbers(spec)
        if is_array_table(spec):
            unknown = [key for key in spec if key not in ("array", "scale")]
            if unknown:
                hint = did_you_mean(unknown[0], ["array", "scale"])
                raise ProblemError([f"unknown key '{unknown[0]}' beside 'array'; known: 'array', 'scale'{hint}"])
            if "scale" not in spec:
                return self.read(spec["array"])
            scale = spec["scale"]
            if isinstance(scale, bool) or not isinstance(scale, int | float):
                raise ProblemError([f"scale: expected a number, got {scale!r}"])
            return as_floats(self.read(spec["array"])) * float(scale)
        raise ProblemError(
            [f"expected a number, a list, 'FILE:KEY' or {{ array = 'FILE:KEY', scale = ... }}, got {spec!r}"]
        )

    def read_within(self, spec: Any) -> Any:
        """A value with the files in it read, at any depth: numbers, lists and words stay as they are."""
        if is_array_table(spec) or (isinstance(spec, str) and _REFERENCE.fullmatch(spec.strip())):
            return self.read(spec)
        if isinstance(spec, dict):
            found = {}
            for key, value in spec.items():
                with located(key):
                    found[key] = self.read_within(value)
            return found
        return spec

    def _file(self, reference: str) -> np.ndarray:
        match = _REFERENCE.fullmatch(reference.strip())
        if match is None:
            hint = "; a number is written without quotes" if _is_number(reference) else ""
            raise ProblemError([f"expected 'FILE:KEY' with a file that ends in {_KINDS}, got '{reference}'{hint}"])
        path, key = find_file(self.folder, match["file"]), match["key"] or None
        if (path, key) not in self._read:
            self._read[path, key] = _open(path, match["kind"].lower(), key)
        return self._read[path, key]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def expand(name: str | Path) -> Path:
    """A path with `~` replaced.

    **Raises:** `ProblemError` where there is no such user.
    """
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise ProblemError([f"'{name}': there is no such user, whose home '~' would be"]) from None


def find_file(folder: Path, name: str) -> Path:
    """The file or folder of that name, relative to `folder`.

    **Raises:** `ProblemError` when there is none, with the names that come close.
    """
    path = (folder / expand(name)).absolute()
    try:
        if path.exists():
            return path
    except (OSError, ValueError) as error:  # names that no file can have
        raise ProblemError([f"no file can have the name '{name}': {first_line(error)}"]) from None
    if not path.parent.is_dir():
        raise ProblemError([f"there is no folder {path.parent}, so no file '{path.name}' in it"])
    there = sorted(other.name for other in path.parent.iterdir() if not other.name.startswith("."))
    raise ProblemError(
        [f"no file '{path.name}' in {path.parent}; found there: {names(there)}{did_you_mean(path.name, there)}"]
    )


def _open(path: Path, kind: str, key: str | None) -> np.ndarray:
    read = {"npz": _npz, "npy": _npy, "h5": _hdf5, "hdf5": _hdf5, "zarr": _zarr, "fits": _fits, "fits.gz": _fits}[kind]
    try:
        found = read(path, key)
    except ProblemError:
        raise
    except Exception as error:  # damaged files fail in as many ways as there are libraries
        raise ProblemError([f"'{path.name}' cannot be read as {kind}: {first_line(error)}"]) from error
    try:
        return as_numbers(found)
    except ProblemError as error:
        label = f"'{path.name}:{key}'" if key else f"'{path.name}'"
        raise ProblemError([f"{label}: {fault}" for fault in error.faults]) from None


def _missing_key(path: Path, key: str | None, known: list[str]) -> ProblemError:
    if key is None:
        return ProblemError(
            [f"'{path.name}' holds several arrays; name one as '{path.name}:KEY'. Keys: {names(known)}"]
        )
    return ProblemError([f"no '{key}' in '{path.name}'; keys there: {names(known)}{did_you_mean(key, known)}"])


def _npz(path: Path, key: str | None) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        sizes = {entry.filename.removesuffix(".npy"): entry.file_size for entry in archive.infolist()}
    if key not in sizes:
        raise _missing_key(path, key, list(sizes))
    with located(f"'{path.name}:{key}'"):
        check_size(sizes[key], path.stat().st_size)
    with np.load(path, allow_pickle=False) as archive:
        return archive[key]


def _npy(path: Path, key: str | None) -> np.ndarray:
    if key is not None:
        raise ProblemError([f"'{path.name}' holds one array and takes no key, got '{key}'"])
    return np.array(np.load(path, mmap_mode="r", allow_pickle=False))  # a map of a file that is too short is refused


def _hdf5(path: Path, key: str | None) -> np.ndarray:
    import h5py

    with h5py.File(path, "r") as file:
        found = file.get(key) if key else None
        if key is None or not isinstance(found, h5py.Dataset):
            known: list[str] = []
            file.visititems(lambda name, item: known.append(name) if isinstance(item, h5py.Dataset) else None)
            raise _missing_key(path, key, known)
        with located(f"'{path.name}:{key}'"):
            check_hdf5(found, path)
        return np.asarray(found[()])


def _zarr(path: Path, key: str | None) -> np.ndarray:
    with located(f"'{path.name}'"):
        if not path.is_dir():
            raise ProblemError(["a Zarr store is a folder"])
        check_zarr_metadata(path)
    import zarr

    root = zarr.open(str(path), mode="r")
    if isinstance(root, zarr.Array):
        if key is not None:
            raise ProblemError([f"'{path.name}' holds one array and takes no key, got '{key}'"])
        with located(f"'{path.name}'"):
            check_zarr(root, path)
        return np.asarray(root[...])
    found = root.get(key) if key else None
    if not isinstance(found, zarr.Array):
        known = sorted(name for name, item in root.members(max_depth=None) if isinstance(item, zarr.Array))
        raise _missing_key(path, key, known)
    with located(f"'{path.name}:{key}'"):
        check_zarr(found, path / str(found.path).strip("/"))
    return np.asarray(found[...])


def _fits(path: Path, key: str | None) -> np.ndarray:
    try:
        fits = importlib.import_module("astropy.io.fits")
    except ImportError:
        raise ProblemError([f"reading '{path.name}' needs astropy: pip install astropy"]) from None
    with fits.open(path) as units:
        known = [str(unit.name) or str(i) for i, unit in enumerate(units)]
        chosen = int(key) if key and key.isdigit() else key.upper() if key else 0
        if chosen not in (range(len(known)) if isinstance(chosen, int) else known):
            raise _missing_key(path, key, known)
        header = getattr(units[chosen], "header", {})
        values = [int(header.get(f"NAXIS{i + 1}", 0)) for i in range(int(header.get("NAXIS", 0)))]
        with located(f"'{path.name}:{chosen}'"):
            check_size(prod(values) * abs(int(header.get("BITPIX", 8))) // 8, path.stat().st_size)
        data = units[chosen].data
        if data is None:
            raise ProblemError([f"HDU {chosen} of '{path.name}' holds no image; HDUs there: {names(known)}"])
        return np.array(data)
