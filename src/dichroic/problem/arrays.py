"""Arrays named in a problem file: numbers, nested lists, `FILE:KEY`, or a table that names files."""

import re
from collections.abc import Mapping
from dataclasses import replace
from glob import glob
from math import isfinite
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

import numpy as np
from pydantic import ValidationError

from dichroic.faults import ProblemError, among, did_you_mean, first_line, located, names
from dichroic.formats import READERS, Axis, Opened, Reader, stack
from dichroic.problem.values import as_floats, as_numbers

__all__ = ["ArrayReader", "expand", "find_file", "is_array_table", "is_number"]

_NAMES = ("array", "file", "files")  # what a table of an array is told by
_BESIDE = ("scale", "unit")


def is_array_table(spec: Any) -> bool:
    """Whether a table stands for one array: `{ array = "FILE:KEY", scale = 0.5 }`, `{ files = "cut/*.fits" }`."""
    return isinstance(spec, dict) and any(key in spec for key in _NAMES)


class ArrayReader:
    """Reads arrays; file names are relative to `folder`, and each array is read once."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._read: dict[tuple[Path, str], Opened] = {}

    def read(self, spec: Any) -> Any:
        """The numbers that a value of a problem file stands for, whatever else is known of them; numbers stay as they
        are.

        **Raises:** `ProblemError` when the file or the key does not exist, or holds no numbers.
        """
        found = self.open(spec)
        return found.values if isinstance(found, Opened) else found

    def open(self, spec: Any, y: Any = None) -> Any:
        """The same with units, masks and labels, for what comes from a file; numbers and lists stay as they are.

        **Arguments:** `y`, the value for the data of the view: a table without files means the same files.

        **Raises:** `ProblemError`.
        """
        if isinstance(spec, bool):
            raise ProblemError([f"expected a number, a list or 'FILE:KEY', got {str(spec).lower()}"])
        if isinstance(spec, int | float):
            return spec
        if isinstance(spec, list):
            return as_numbers(spec)
        found = self.records(spec, y)
        return stack(found) if isinstance(found, list) else found

    def records(self, spec: Any, y: Any = None) -> Any:
        """The same, several files not stacked: a list with one array for each."""
        if isinstance(spec, str):
            return self._file(spec)
        if not is_array_table(spec) and isinstance(spec, dict) and is_array_table(y):
            spec = {**{key: y[key] for key in _NAMES if key in y}, **spec}
        if not is_array_table(spec):
            raise ProblemError(
                [f"expected a number, a list, 'FILE:KEY' or {{ array = 'FILE:KEY', scale = ... }}, got {spec!r}"]
            )
        options = dict(spec)
        scale, unit = options.pop("scale", None), options.pop("unit", None)
        if "scale" in spec and (isinstance(scale, bool) or not isinstance(scale, int | float)):
            raise ProblemError([f"scale: expected a number, got {scale!r}"])
        if unit is not None and not isinstance(unit, str):
            raise ProblemError([f"unit: expected text, got {unit!r}"])
        found = self._table(options)
        scaled = [_scaled(one, scale, unit) for one in (found if isinstance(found, list) else [found])]
        return scaled if isinstance(found, list) else scaled[0]

    def words(self, spec: Any) -> np.ndarray:
        """Names or numbers, one a row: a list, or an array of a file, which may hold text.

        **Raises:** `ProblemError`.
        """
        found = self._file(spec, text=True) if isinstance(spec, str) else spec
        array = np.asarray(found.values if isinstance(found, Opened) else found)
        if array.dtype.kind == "S":
            array = np.char.decode(array, "utf-8")
        if array.ndim != 1 or array.dtype.kind not in "Uiuf":
            raise ProblemError([f"expected a list of names or numbers, got {array.dtype} of shape {array.shape}"])
        return array

    def read_within(self, spec: Any) -> Any:
        """A value with the files in it read, at any depth: numbers, lists and words stay as they are."""
        if is_array_table(spec) or (isinstance(spec, str) and _reference().fullmatch(spec.strip())):
            return self.read(spec)
        if isinstance(spec, dict):
            found = {}
            for key, value in spec.items():
                with located(key):
                    found[key] = self.read_within(value)
            return found
        return spec

    def _table(self, options: dict[str, Any]) -> Any:
        named = [key for key in _NAMES if key in options]
        if len(named) > 1:
            raise ProblemError([f"give one of {names(named)}"])
        content = options.pop(named[0])
        if named[0] == "array":
            if options:
                key = next(iter(options))
                hint = did_you_mean(key, ["array", *_BESIDE])
                raise ProblemError([f"unknown key '{key}' beside 'array'; known: 'array', 'scale', 'unit'{hint}"])
            return self.open(content)
        if named[0] == "file":
            return self._with(_text(content, "file"), options)
        found = self._files(content)
        return [self._with(str(file), options) for file in found]

    def _files(self, said: Any) -> list[Path]:
        if isinstance(said, list):
            return [find_file(self.folder, _text(name, "files")) for name in said]
        pattern = str(expand(_text(said, "files")))
        try:
            found = sorted(glob(pattern, root_dir=self.folder, recursive=True))
        except (OSError, ValueError) as error:
            raise ProblemError([f"no file can have the name '{pattern}': {first_line(error)}"]) from None
        if not found:
            raise ProblemError([f"no files match '{pattern}' in {self.folder}"])
        return [find_file(self.folder, file) for file in found]

    def _file(self, reference: str, text: bool = False) -> Any:
        match = _reference().fullmatch(reference.strip())
        if match is None:
            hint = "; a number is written without quotes" if is_number(reference) else ""
            kinds = ", ".join(f".{suffix}" for reader in READERS.values() for suffix in reader.suffixes[:2])
            raise ProblemError([f"expected 'FILE:KEY' with a file that ends in {kinds}, got '{reference}'{hint}"])
        reader, key = _readers()[match["kind"].lower()], match["key"] or None
        if key is not None and reader.key is None:
            raise ProblemError([f"'{match['file']}' takes no key, got '{key}'"])
        options = {reader.key: key} if key else {}
        return self._one(find_file(self.folder, match["file"]), match["kind"].lower(), options, text)

    def _with(self, name: str, options: dict[str, Any]) -> Opened:
        """One file, read with the keys beside it; a list for its own key stacks channels along a last axis."""
        match = _reference().fullmatch(name.strip())
        if match is None or match["key"]:
            raise ProblemError([f"expected the name of a file that ends as those of {names(READERS)}, got '{name}'"])
        path, kind = find_file(self.folder, match["file"]), match["kind"].lower()
        key = _readers()[kind].key
        if key is None or not isinstance(options.get(key), list):
            return self._one(path, kind, options)
        return _channels([self._one(path, kind, {**options, key: one}) for one in options[key]])

    def _one(self, path: Path, kind: str, options: Mapping[Any, Any], text: bool = False) -> Opened:
        reader = _settings(_readers()[kind], options)
        label = (path, f"{text}{reader.model_dump_json()}")
        if label not in self._read:
            key = options.get(reader.key) if reader.key else None
            self._read[label] = _open(path, kind, reader, None if key is None else str(key), text)
        return self._read[label]


def _readers() -> dict[str, type[Reader]]:
    return {suffix: reader for reader in READERS.values() for suffix in reader.suffixes}


def _reference() -> re.Pattern[str]:
    # the suffix, not the first colon, ends the file's name: paths and keys may contain colons
    kinds = "|".join(re.escape(suffix) for suffix in sorted(_readers(), key=len, reverse=True))
    return re.compile(rf"(?P<file>.+?\.(?P<kind>{kinds}))(:(?P<key>.*))?", re.I | re.S)


def _settings(reader: type[Reader], options: Mapping[str, Any]) -> Reader:
    try:
        return reader.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            known = [*reader.model_fields, *_BESIDE]
            raise ProblemError([f"unknown key '{key}' beside the file; known: {among(key, known)}"]) from None
        raise ProblemError([f"{key}: {first['msg']}, got {first['input']!r}"]) from None


def _open(path: Path, kind: str, reader: Reader, key: str | None, text: bool) -> Opened:
    try:
        found = reader.read(path)
    except ProblemError:
        raise
    except Exception as error:  # damaged files fail in as many ways as there are libraries
        raise ProblemError([f"'{path.name}' cannot be read as {kind}: {first_line(error)}"]) from error
    with located(f"'{path.name}:{key}'" if key else f"'{path.name}'"):
        shared = {**found.shared, "file": path.name} if found.kind else {}
        values = found.values if text else as_numbers(found.values)
        return replace(found, values=values, shared=shared)


def _scaled(found: Any, scale: int | float | None, unit: str | None) -> Any:
    if scale is not None:
        values = as_floats(found.values if isinstance(found, Opened) else found) * float(scale)
        found = replace(found, values=values) if isinstance(found, Opened) else values
    if unit is not None:
        found = replace(found if isinstance(found, Opened) else Opened(found), unit=unit or None)
    return found


def _channels(found: list[Opened]) -> Opened:
    """Arrays of one file as channels: images `(H, W, C)`, series `(T, 1, C)`."""
    joined = stack(found)
    x, mask = (None if a is None else np.moveaxis(a, 0, -1) for a in (joined.values, joined.mask))
    axes = (*joined.axes[1:], Axis("channel"))  # not by the keys: noise beside data has others
    if x is not None and x.ndim == 2:
        x, mask = x[:, None], None if mask is None else mask[:, None]
        axes = (axes[0], Axis(), *axes[1:])
    return replace(joined, values=x, mask=mask, axes=axes, ids=None, columns={}, separate=False)


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ProblemError([f"{what}: expected the name of a file, got {value!r}"])
    return value


def is_number(text: str) -> bool:
    """Whether a text is a number in quotes."""
    try:
        return isfinite(float(text))
    except ValueError:
        return False


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
        kind = path.stat().st_mode
    except FileNotFoundError:
        kind = None
    except (OSError, ValueError) as error:  # names that no file can have
        raise ProblemError([f"no file can have the name {str(name)!r}: {first_line(error)}"]) from None
    if kind is not None:
        if S_ISREG(kind) or S_ISDIR(kind):
            return path
        raise ProblemError([f"'{name}' is neither a file nor a folder"])  # pipes are waited for, devices never end
    if not path.parent.is_dir():
        raise ProblemError([f"there is no folder {path.parent}, so no file '{path.name}' in it"])
    there = sorted(other.name for other in path.parent.iterdir() if not other.name.startswith("."))
    raise ProblemError([f"no file '{path.name}' in {path.parent}; found there: {among(path.name, there)}"])
