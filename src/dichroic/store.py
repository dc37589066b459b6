"""Files whole or not at all, and the one format that arrays with a description are kept in.

What is written appears under its name when all of it is there and has reached the disk: a process killed at any moment,
and a machine without power, leave the old content or the new one. Until then it has a name of the form
`.NAME.PROCESS.tmp`, by which it is found and removed when the process was killed.

Arrays are kept as safetensors, with JSON in the header: the name and version of the format, the description, and the
sha256 of both, so that damage is told from age. Nothing that is read executes.
"""

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from errno import EINVAL, EISDIR
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from dichroic import memory

__all__ = [
    "Format",
    "StoreError",
    "claim",
    "digest_of",
    "file_names",
    "load_arrays",
    "load_json",
    "locked",
    "readable",
    "reading",
    "save_arrays",
    "save_json",
    "tidy",
    "whole",
    "write",
]

_LEFT = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)\.(?P<kind>tmp|old)")
_TYPES = {  # of safetensors, by those of NumPy
    **{f"{kind}{bits}": f"{kind[0].upper()}{bits}" for kind in ("float", "int") for bits in (16, 32, 64)},
    **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
    **{"int8": "I8", "bool": "BOOL", "bfloat16": "BF16", "complex64": "C64"},
}
_KINDS = {short: name for name, short in _TYPES.items()}
_RESERVED = {"con", "prn", "aux", "nul", *(f"{kind}{i}" for kind in ("com", "lpt") for i in range(10))}  # on Windows
_LENGTH = 40  # characters of a name that are kept in the name of a file


class StoreError(ValueError):
    """A file that is damaged, newer than this version, or not what it is taken for; the message is a sentence."""


@dataclass(frozen=True)
class Format:
    """The name and version of a kind of file.

    **Fields:** `unmarked`, whether files without them are read: those of before formats had names; `sealed`, the first
    version whose arrays have a digest.
    """

    name: str
    version: int
    unmarked: bool = False
    sealed: int = 1

    def mark(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """A description with the name and version of its format in front."""
        return {"format": self.name, "version": self.version, **content}

    def check(self, content: Any, path: Path) -> dict[str, Any]:
        """The description without its mark.

        **Raises:** `StoreError` for another kind of file, and for a version that is newer than this one.
        """
        if not isinstance(content, dict):
            raise StoreError(f"{path} is not a {self.name}: it holds a {type(content).__name__}, not a table")
        content = dict(content)
        name, version = content.pop("format", None), content.pop("version", None)
        if name is None and version is None and self.unmarked:
            return content
        if name != self.name or type(version) is not int:
            raise StoreError(f"{path} is not a {self.name}")
        if version > self.version:
            raise StoreError(
                f"{path} has format version {version}; this version of dichroic reads up to {self.version}"
            )
        return content


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """A temporary path, to write a file or a folder at: it takes the place of `path` when the block ends well.

    What was there is removed only when the new content is whole.
    """
    path = Path(path)
    _check_kind(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tidy(path.parent, path.name)
    temporary, old = (path.with_name(f".{path.name}.{os.getpid()}.{kind}") for kind in ("tmp", "old"))
    try:
        yield temporary
        _flush(temporary)
        if path.is_dir() and not temporary.is_dir():
            raise _folder(path)
        aside = [(path, old)] if path.exists() and (path.is_dir() or temporary.is_dir()) else []
        for source, target in (*aside, (temporary, path)):
            os.replace(source, target)
        _flush_folder(path.parent)
    except BaseException:
        _remove(temporary)
        raise
    _remove(old)


def write(path: str | Path, content: bytes | str) -> None:
    """Writes a file, whole or not at all; text as UTF-8."""
    with whole(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def save_json(path: str | Path, content: Mapping[str, Any], form: Format) -> None:
    """Writes a description with the mark of its format."""
    write(path, json.dumps(form.mark(content), indent=1) + "\n")


def load_json(path: str | Path, form: Format) -> dict[str, Any]:
    """Reads what `save_json` wrote.

    **Raises:** `FileNotFoundError`; `StoreError`.
    """
    path = Path(path)
    with reading(path):
        return form.check(json.loads(path.read_text(encoding="utf-8")), path)


def save_arrays(path: str | Path, arrays: Mapping[str, Any], content: Mapping[str, Any], form: Format) -> None:
    """Writes arrays with their description, one safetensors file."""
    # not ascontiguousarray, which gives numbers an axis: what is read is to be what was written
    arrays = {name: np.asarray(x, order="C") for name, x in arrays.items()}
    header = json.loads(json.dumps(form.mark(content)))
    table: dict[str, Any] = {"__metadata__": {"dichroic": json.dumps({**header, "sha256": _digest(arrays, header)})}}
    begin, order = 0, sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    for name in order:
        x = arrays[name]
        table[name] = {"dtype": _TYPES[x.dtype.name], "shape": x.shape, "data_offsets": [begin, begin + x.nbytes]}
        begin += x.nbytes
    described = json.dumps(table).encode()
    described += b" " * (-len(described) % 8)
    # written here, row by row: safetensors makes files that nobody else may read, of all arrays at once
    with whole(path) as temporary, open(temporary, "wb") as file:
        file.write(len(described).to_bytes(8, "little") + described)
        for name in order:
            for part in _parts(arrays[name]):
                file.write(part)


def load_arrays(path: str | Path, form: Format) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reads what `save_arrays` wrote: the arrays by name, and their description.

    **Raises:** `FileNotFoundError`; `StoreError` for a file of another kind, a newer or a damaged one.
    """
    from safetensors import safe_open

    path = Path(path)
    with reading(path):
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {
                name: file.get_tensor(name) if memory.fits(_size(file.get_slice(name))) else _mapped(path, name)
                for name in file.keys()  # noqa: SIM118
            }
        header = json.loads(metadata.get("dichroic", "{}"))
        digest = header.pop("sha256", None) if isinstance(header, dict) else None
        content = form.check(header, path)
        if digest != _digest(arrays, header) and (digest is not None or header.get("version", 0) >= form.sealed):
            raise StoreError(f"{path} is damaged: its content is not what was written")
        return arrays, content


def _digest(arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> str:
    digest = sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(arrays):
        x = arrays[name]
        digest.update(f"{name}:{x.dtype.str}:{x.shape}".encode())
        for part in _parts(x):
            digest.update(part)
    return digest.hexdigest()


def _parts(x: np.ndarray) -> Iterator[memoryview]:
    """The bytes of an array, so many at a time."""
    rows = x if x.ndim else x[None]
    for block in memory.blocks(len(rows), rows[:1].nbytes):
        yield np.ascontiguousarray(rows[block]).reshape(-1).view(np.uint8).data


def _size(described: Any) -> int:
    """Bytes of an array, by what a file says of it."""
    return prod(described.get_shape()) * (int(re.sub(r"\D", "", described.get_dtype()) or 8) // 8)


def _mapped(path: Path, name: str) -> np.ndarray:
    """An array of a file, where it lies."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        said = json.loads(file.read(length))[name]
    return memory.mapped(path, said["shape"], _KINDS[said["dtype"]], 8 + length + said["data_offsets"][0])


def digest_of(file: Path) -> str:
    """The sha256 of a file."""
    return sha256(file.read_bytes()).hexdigest()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever goes wrong while a file is read becomes a sentence that names it.

    **Raises:** `FileNotFoundError` where there is none; `StoreError` for all else.
    """
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise StoreError(f"{path} is neither a file nor a folder")  # pipes are waited for, devices never end
        yield
    except (StoreError, FileNotFoundError):
        raise
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # forged and damaged files find every way to fail
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise StoreError(f"{path} is damaged, or was not written by dichroic: {reason}") from error


def claim(path: str | Path, folder: bool = False, suffix: str = "") -> None:
    """Makes sure that a file can be written at a path, or a `folder`, before anything is computed for it.

    **Arguments:** `suffix`, that the name must have: no picture takes the place of a file of another kind.

    **Raises:** `OSError` where nothing can; no file takes the place of a folder.
    """
    path = Path(path)
    if not path.name.endswith(suffix):
        raise OSError(EINVAL, f"what is written here is a {suffix} file, and is to have such a name", str(path))
    _check_kind(path)
    if path.is_dir() and not folder:
        raise _folder(path)
    probe = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(error.errno, f"nothing can be written there ({error.strerror})", str(path)) from error


def _check_kind(path: Path) -> None:
    """Whether what is there may be replaced: a device would be gone for all, a pipe for whoever reads it."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(EINVAL, "this is neither a file nor a folder, and is not replaced", str(path))


def _folder(path: Path) -> OSError:
    return IsADirectoryError(EISDIR, "this is a folder, which no file takes the place of", str(path))


def locked(path: Path) -> AbstractContextManager[Any]:
    """A file that one process at a time has, until it closes it or ends.

    **Raises:** `BlockingIOError` where another one has it; `OSError` where nothing can be written.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        return nullcontext()
    # nothing is written to it, through a link neither, and no pipe is waited for
    file = open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666), "rb")  # noqa: SIM115
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise
    except OSError:  # a file system without locks
        pass
    return file


def tidy(folder: str | Path, name: str | None = None) -> None:
    """Removes what processes that were killed left half written in a folder.

    **Arguments:** `name`, of the only file to look after, which other processes may write, too: what belongs to one
    that is alive stays (default: of all files, of which this process is the only one to write any).
    """
    folder = Path(folder)
    for left in folder.iterdir() if folder.is_dir() else ():
        found = _LEFT.fullmatch(left.name)
        if found is None or (name is not None and (found["name"] != name or _alive(int(found["process"])))):
            continue
        if found["kind"] == "old" and not (folder / found["name"]).exists():
            left.rename(folder / found["name"])  # killed after the old content made way, before the new one came
        else:
            _remove(left)


def readable(name: str) -> str:
    """A name of the user's as part of the name of a file: plain letters, digits, `-` and `_`, and not too many."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:_LENGTH]


def file_names(names: Iterable[str]) -> dict[str, str]:
    """Names for files, different ones for different names, by name.

    A name that is readable as it stands keeps it; one that is not, or that differs from another one in nothing that
    every file system knows, gets its number in front. Whoever reads them again needs the list.
    """
    names = list(names)
    plain = [readable(name) for name in names]
    folded = [stem.casefold() for stem in plain]
    kept = [
        stem == name and folded.count(fold) == 1 and re.match(r"[A-Za-z_]", stem) and fold not in _RESERVED
        for name, stem, fold in zip(names, plain, folded, strict=True)
    ]
    return {
        name: stem if keep else f"{number}_{stem}"
        for number, (name, stem, keep) in enumerate(zip(names, plain, kept, strict=True))
    }


def _alive(process: int) -> bool:
    if os.name != "posix":  # elsewhere, asking may end it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Waits until a file, or all files of a folder, have reached the disk."""
    for file in [path, *path.rglob("*")]:
        if file.is_dir():
            _flush_folder(file)
        else:
            with open(file, "rb+") as stream:
                os.fsync(stream.fileno())


def _flush_folder(path: Path) -> None:
    try:
        opened = os.open(path, os.O_RDONLY)
    except OSError:  # not on Windows
        return
    try:
        os.fsync(opened)
    except OSError:  # nor on every file system
        pass
    finally:
        os.close(opened)
