"""What is looked at before an array file is read: nothing in it may run, and it may not declare more than it holds."""

import bz2
import json
import lzma
from collections.abc import Iterator
from math import ceil, prod
from pathlib import Path
from typing import Any

import numpy as np

from dichroic.faults import ProblemError

__all__ = ["check_hdf5", "check_size", "check_zarr", "check_zarr_metadata"]

_LARGEST = 1 << 28  # bytes that a file may declare whatever its own size
_DENSEST = 1000  # bytes per byte of the file beyond that
# of Zarr, by the names of both versions; none of them runs code of the file
_CODECS = {
    *("blosc", "zlib", "gzip", "bz2", "lzma", "lz4", "zstd", "shuffle", "bitround", "quantize", "packbits"),
    *("delta", "fixedscaleoffset", "astype", "crc32", "crc32c", "adler32", "fletcher32", "jenkins_lookup3"),
    *("bytes", "transpose", "sharding_indexed"),
}
_COMPRESSORS = {"blosc", "zlib", "gzip", "bz2", "lzma", "lz4", "zstd"}  # twice, they make gigabytes of a kilobyte
# of HDF5: shuffle, fletcher32, nbit, scale-offset, bitshuffle; deflate, szip, lzf, blosc, lz4, zfp, zstd
_FILTERS, _PACKERS = {2, 3, 5, 6, 32008}, {1, 4, 32000, 32001, 32004, 32013, 32015}


def check_size(declared: int, held: int) -> None:
    """Whether a file of `held` bytes may well hold an array of `declared` bytes.

    **Raises:** `ProblemError` before anything is allocated.
    """
    if declared > max(_LARGEST, _DENSEST * held):
        raise ProblemError([f"declares {declared / 1e9:.1f} GB, but the file holds {held / 1e6:.3g} MB: damaged?"])


def check_zarr_metadata(path: Path) -> None:
    """Refuses object types and unknown codecs, by the metadata alone: opening the store may already run them.

    **Raises:** `ProblemError`, also for pipes, devices and links to other folders, which are not looked into here.
    """
    members = list(path.rglob("*"))
    for file in members:
        if not file.is_file() and (file.is_symlink() or not file.is_dir()):
            raise ProblemError([f"'{file.relative_to(path)}' is no file"])
    for file in sorted(file for file in members if file.name in (".zarray", "zarr.json", ".zmetadata")):
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, OSError, RecursionError):
            raise ProblemError([f"{file.relative_to(path)} is no JSON"]) from None
        for meta in _arrays(found):
            dtype = meta.get("dtype", meta.get("data_type"))
            if not isinstance(dtype, str) or "O" in dtype or not _is_numeric(dtype):
                raise ProblemError([f"an array of the type {dtype!r}; expected numbers"])
            codecs = list(_codecs(meta))
            for name in codecs:
                if name.removeprefix("numcodecs.") not in _CODECS:
                    raise ProblemError([f"the codec '{name}' is not one that is read here; write the array anew"])
            if len(packed := [name for name in codecs if name.removeprefix("numcodecs.") in _COMPRESSORS]) > 1:
                raise ProblemError([f"is compressed more than once, by {' and '.join(packed)}; write the array anew"])


def _is_numeric(dtype: str) -> bool:
    try:
        return np.dtype(dtype).kind in "biufc"
    except TypeError:
        return False


def _arrays(found: Any) -> Iterator[dict[str, Any]]:
    """The descriptions of arrays in a metadata file, consolidated ones too, whatever else the file says it is."""
    if not isinstance(found, dict):
        return
    if "dtype" in found or found.get("node_type") == "array":
        yield found
    for key in ("metadata", "consolidated_metadata"):
        inner = found.get(key)
        for value in inner.values() if isinstance(inner, dict) else ():
            yield from _arrays(value)


def _codecs(meta: Any) -> Iterator[str]:
    """Names of compressors, filters and codecs, those inside of shards too."""
    listed = [meta.get("compressor")]
    for key in ("filters", "codecs", "index_codecs"):
        found = meta.get(key) or []
        listed += found if isinstance(found, list) else [found]
    for codec in listed:
        if codec is None:
            continue
        if not isinstance(codec, dict):
            yield str(codec)
            continue
        yield str(codec.get("id", codec.get("name")))
        inner = codec.get("configuration")
        if isinstance(inner, dict):
            yield from _codecs(inner)


def check_zarr(array: Any, folder: Path) -> None:
    """Whether all chunks are there, and hold what the array declares.

    **Raises:** `ProblemError`.
    """
    files = [file for file in folder.rglob("*") if not file.is_dir() and not _is_metadata(file)]
    held = sum(file.stat().st_size for file in files)
    grid = getattr(array, "shards", None) or array.chunks
    # a chunk that reaches beyond the array is unpacked all the same
    check_size(max(int(array.nbytes), prod(grid) * array.dtype.itemsize), held)
    _check_packed(array, files)
    expected = prod(ceil(n / c) for n, c in zip(array.shape, grid, strict=True)) if array.ndim else 1
    if len(files) < expected and not _is_nan(array.fill_value):
        raise ProblemError(
            [
                f"{expected - len(files)} of {expected} chunks are missing, which would read as {array.fill_value}; "
                "where they hold nothing else, write the array with write_empty_chunks = True"
            ]
        )


def _check_packed(array: Any, files: list[Path]) -> None:
    """What chunks unpack to, where more than a thousand bytes may be behind one."""
    chunk = prod(array.chunks) * array.dtype.itemsize
    for name in {type(codec).__name__.lower().removesuffix("codec") for codec in array.compressors}:
        if name in _UNPACKED and not getattr(array, "shards", None):
            for file in files:
                if _UNPACKED[name](file, chunk) > chunk + 64:
                    raise ProblemError([f"'{file.name}' holds more than a chunk of {chunk} bytes: damaged?"])


def _blosc(file: Path, most: int) -> int:
    with open(file, "rb") as stream:
        return int.from_bytes(stream.read(8)[4:8], "little")


def _zstd(file: Path, most: int) -> int:
    """The content size in the header of a frame (RFC 8878, 3.1.1.1); 0 where it does not say."""
    with open(file, "rb") as stream:
        head = stream.read(18)
    if len(head) < 18 or head[:4] != b"\x28\xb5\x2f\xfd":
        return 0
    flag, single = head[4] >> 6, head[4] >> 5 & 1
    size = (single, 2, 4, 8)[flag]
    begin = 5 + (not single) + (0, 1, 2, 4)[head[4] & 3]
    return int.from_bytes(head[begin : begin + size], "little") + (256 if size == 2 else 0)


def _streamed(make: Any) -> Any:
    return lambda file, most: len(make().decompress(file.read_bytes(), max_length=most + 65))


_UNPACKED = {
    "blosc": _blosc,
    "zstd": _zstd,
    "bz2": _streamed(bz2.BZ2Decompressor),
    "lzma": _streamed(lzma.LZMADecompressor),
}


def _is_metadata(file: Path) -> bool:
    return file.name in (".zarray", ".zattrs", ".zgroup", ".zmetadata", "zarr.json")


def check_hdf5(dataset: Any, path: Path, *, numbers: bool = True) -> None:
    """Whether a data set holds numbers, all of them, in this file, behind filters that are known.

    **Arguments:** `numbers`, whether it is the one asked for: of what is read beside it, the size alone matters.

    **Raises:** `ProblemError`.
    """
    if numbers and dataset.dtype.kind == "O":
        raise ProblemError(["expected numbers, got objects"])
    plist = dataset.id.get_create_plist()
    codes = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    for code in codes:
        if code not in _FILTERS | _PACKERS:
            raise ProblemError([f"the filter {code} is not one that is read here; write the data set anew"])
    if sum(code in _PACKERS for code in codes) > 1:
        raise ProblemError(["is compressed more than once; write the data set anew"])
    if plist.get_external_count() or dataset.is_virtual:
        raise ProblemError(["the values are in other files; write them into this one"])
    # a chunk that reaches beyond the data set is unpacked all the same
    chunk = prod(dataset.chunks) * dataset.dtype.itemsize if dataset.chunks and codes else 0
    check_size(max(int(dataset.nbytes), chunk), path.stat().st_size)
    if not numbers or not dataset.nbytes or _is_nan(dataset.fillvalue):
        return
    if dataset.chunks is None:
        missing, expected = int(dataset.id.get_storage_size() == 0), 1
    else:
        expected = prod(ceil(n / c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))
        missing = expected - dataset.id.get_num_chunks()
    if missing > 0:
        raise ProblemError(
            [f"{missing} of {expected} chunks were never written, and would read as {dataset.fillvalue}"]
        )


def _is_nan(value: Any) -> bool:
    try:
        return bool(np.isnan(value))
    except TypeError:
        return False
