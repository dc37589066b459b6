"""A problem file to begin with, drafted from the files there are: what they do not say is guessed, and marked so."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from dichroic.faults import ProblemError, located, names
from dichroic.formats import Opened
from dichroic.problem.arrays import ArrayReader
from dichroic.problem.files import read_table
from dichroic.problem.windowed import Cutter

__all__ = ["draft", "draft_like", "noise_level"]

# what an HDU beside the data is called, and the key that it is
_NOISE = {"ERR": "std", "RMS": "std", "SIGMA": "std", "VAR": "variance", "IVAR": "ivar", "WHT": "weight"}
_BAD = ("DQ", "MASK", "FLAGS")
_CONTROL = ("control", "controls", "ctrl", "ctl", "healthy", "normal", "untreated", "unstimulated", "baseline", "wt")
_PICTURES = ("fits", "tiff")
_LONGEST, _WIDEST, _SERIES, _PICTURE, _FEWEST = 4096, 64, 256, 32, 64
_MOST_ENTRIES, _MOST_ROWS = 1024, 4096


@dataclass(frozen=True)
class _View:
    """One view: `spec` of its data, how many of their axes are cut, `y`, its observations."""

    name: str
    spec: Any
    opened: Opened
    cut: int
    y: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(np.shape(self.y)[1:])


def draft(files: Sequence[str], folder: Path) -> tuple[str, dict[str, list[int]], list[str]]:
    """The text of a problem file: the first file has one source alone, all others have one more over it; cells with a
    column that names controls are both by themselves.

    **Returns** it with the shapes of its views, and what was guessed, in words.

    **Raises:** `ProblemError` where a file cannot be read, or shapes do not agree.
    """
    if not files:
        raise ProblemError(["no files were named"])
    arrays = ArrayReader(folder)
    views = [view for number, file in enumerate(files) for view in _views(arrays, file, number, len(files))]
    views, window = _observations(arrays, views)
    shape = views[0].shape
    for view in views[1:]:
        if view.shape != shape:
            other = (
                f"observations of view '{views[0].name}' have the shape {shape}, those of '{view.name}' {view.shape}"
            )
            mend = "bring them to one shape, or write the problem by hand, with an operator from one to the other"
            raise ProblemError([f"{other}: {mend}"])
    counts, guessed = all(map(_is_counts, views)), []
    lines = ['title = "My problem"', "held_out = 0.1  # keep a tenth of every view for the scores", ""]
    sources = ["background", "target"][: min(2, len(views))]
    for source in sources:
        lines += [f"[sources.{source}]", f"shape = {list(shape)}  # {_axes(views[0], bool(window))}"]
        lines += ['dtype = "complex"'] * np.iscomplexobj(views[0].y)
        lines += [f"unit = {_toml(str(views[0].opened.unit))}"] if views[0].opened.unit else []
        lines += ["positive = true"] if counts and source == "background" else []
        lines += ['# symmetry = ["shift"]  # if no place is special, as of sound or texture'] if window else []
        lines += [""]
    for view in views:
        lines += _table(arrays, view, sources, window, guessed)
    lines += ["[fit]", "laps = 8  # 0: closed forms alone, a first look", ""]
    return "\n".join(lines), {view.name: list(np.shape(view.y)) for view in views}, guessed


def draft_like(problem: Path, file: str) -> tuple[str, dict[str, list[int]]]:
    """The text of a problem file for other observations: the sources of a problem file beside it, and of its views the
    one with the most sources, with the data, the noise and the masks of another file under the same keys; windows half
    over each other.

    **Returns** it with the shape of its view.

    **Raises:** `ProblemError` where one of the files cannot be read.
    """
    content = read_table(problem).model_dump(exclude_unset=True)
    name, view = max(content["views"].items(), key=lambda each: len(each[1].get("mixing", {})), default=("", {}))
    y = view.get("y")
    said = next((y[key] for key in ("files", "file") if key in y), "") if isinstance(y, dict) else y
    old = re.match(r".+?\.[\w-]+(?=:|$)", said) if isinstance(said, str) else None
    if old is None:
        raise ProblemError([f"view '{name}' of '{problem.name}': y names no file that another could stand for"])
    view = {key: _renamed(x, old[0], file) for key, x in view.items() if key != "truth"}
    if "window" in view and "at" not in view:
        size = view["window"]
        view["hop"] = [max(1, side // 2) for side in size] if isinstance(size, list) else max(1, size // 2)
    arrays = ArrayReader(problem.absolute().parent)
    with located(f"'{file}'"):
        shape = list(np.shape(arrays.read(view["y"])))
    sources = {s: {k: x for k, x in table.items() if k != "start"} for s, table in content["sources"].items()}
    return tomli_w.dumps({"sources": sources, "views": {name: view}}), {name: shape}


def noise_level(y: Any) -> float:
    r"""A standard deviation of white noise that observations, shape `(n, ...)`, may have; of the real part where they
    are complex.

    The least of what noise can be: third differences along the first axis of an observation, which take away what is
    smooth, by their median as in Stoehr et al. (2008), "DER_SNR"; and, of enough observations, the least variance in
    any direction, corrected by :math:`(1 - \sqrt{d / n})^2`, that of white noise.
    """
    x = np.asarray(y)
    x = np.concatenate([np.real(x), np.imag(x)]) if np.iscomplexobj(x) else x.astype(float)
    x = x[:: max(1, len(x) // _MOST_ROWS)]
    flat = x.reshape(len(x), -1)
    n, d = flat.shape
    finite = flat[np.isfinite(flat)]
    spread = float(finite.std()) if finite.size else 0.0
    found = [spread]
    if x.ndim > 1 and x.shape[1] > 3:
        differences = np.abs(np.diff(x, 3, axis=1))
        differences = differences[np.isfinite(differences)]
        found += [float(np.median(differences)) / 0.6745 / np.sqrt(20)] if differences.size else []
    if d <= _MOST_ENTRIES and n >= 4 * d and finite.size == flat.size:
        least = float(np.linalg.eigvalsh(np.cov(flat.T).reshape(d, d))[0])
        found.append(np.sqrt(max(least, 0.0)) / (1 - np.sqrt(d / n)))
    return max(min(found), 1e-3 * spread) or 1.0


def _renamed(spec: Any, old: str, new: str) -> Any:
    """A value of a problem file with another file in place of one."""
    if isinstance(spec, list):
        return [_renamed(one, old, new) for one in spec]
    if isinstance(spec, str) and (spec == old or spec.startswith(f"{old}:")):
        return {"files": new} if "*" in new else new + spec[len(old) :]
    if not isinstance(spec, dict):
        return spec
    told = {key: _renamed(x, old, new) for key, x in spec.items() if key not in ("file", "files")}
    for key in ("file", "files"):
        if key in spec:
            told["files" if "*" in new else key] = new if spec[key] == old else spec[key]
    return told


def _views(arrays: ArrayReader, file: str, number: int, files: int) -> list[_View]:
    spec: Any = {"files": file} if "*" in file else file
    with located(f"'{file}'"):
        found = arrays.open(spec)
        opened = found if isinstance(found, Opened) else Opened(np.asarray(found))
    if opened.kind == "h5ad":
        if ":" not in file and _opens(arrays, counts := {"file": file, "layer": "counts"}):
            spec, opened = counts, arrays.open(counts)
        if files == 1 and (said := _controls(opened)) is not None:
            parts = zip(("alone", "mixed"), said, strict=True)
            beside = spec if isinstance(spec, dict) else {"file": file}
            return [_View(name, one := {**beside, "obs": obs}, arrays.open(one), 0) for name, obs in parts]
    name = "alone" if number == 0 and files > 1 else f"mixed{'' if number < 2 else number}"
    return [_View(name, spec, opened, _axes_to_cut(opened))]


def _axes_to_cut(opened: Opened) -> int:
    """Along how many axes the data are to be cut into windows: records and pictures are, and what is very large."""
    shape, pictures = np.shape(opened.values), opened.kind in _PICTURES
    channels = bool(opened.axes) and opened.axes[-1].name == "channel"
    if len(shape) == 1:
        return 1
    if pictures and not opened.separate and len(shape) == 2 + channels:
        return 2
    if pictures and len(shape) == 3 + channels and min(shape[1:3]) > _WIDEST:
        return 2
    return int(len(shape) == 2 and shape[1] > _LONGEST)


def _observations(arrays: ArrayReader, views: list[_View]) -> tuple[list[_View], tuple[int, ...]]:
    """The views with their observations, and the window they are cut by, none where they are not."""
    axes = max(view.cut for view in views)
    if not axes:
        return [replace(view, y=np.asarray(view.opened.values)) for view in views], ()
    side = _SERIES if axes == 1 else _PICTURE
    while True:
        window = (side,) * axes
        try:
            cut = [Cutter(arrays, view.spec, list(window)).open(view.spec) for view in views]
        except ProblemError:
            if side <= 8:
                raise
            cut = []
        if cut and (side <= 8 or min(len(x.values) for x in cut) >= _FEWEST):
            return [replace(v, y=np.asarray(x.values)) for v, x in zip(views, cut, strict=True)], window
        side //= 2


def _controls(opened: Opened) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Which cells are controls, and which are not, by the first column that has a word for it."""
    for column, values in opened.columns.items():
        kinds = sorted(set(np.asarray(values).astype(str)))
        control = [kind for kind in kinds if kind.lower() in _CONTROL]
        others = [kind for kind in kinds if kind not in control]
        if len(control) == 1 and 1 <= len(others) <= 12:
            return {column: control[0]}, {column: others[0] if len(others) == 1 else others}
    return None


def _table(
    arrays: ArrayReader, view: _View, sources: Sequence[str], window: tuple[int, ...], guessed: list[str]
) -> list[str]:
    """The lines of a view."""
    opened = view.opened
    unit = f", in {opened.unit}" if opened.unit is not None else ""
    lines = [f"[views.{view.name}]", f"y = {_toml(view.spec)}  # shape {tuple(np.shape(opened.values))}{unit}"]
    if window:
        size = window[0] if len(window) == 1 else list(window)
        lines.append(f"window = {size}  # GUESSED: an observation is as long as what tells the sources apart")
        guessed.append(f"the window of '{view.name}', {' x '.join(map(str, window))}")
        if len(window) == 1 and not any(axis.step for axis in opened.axes):
            lines.append("# rate = 1000  # entries in a second")
    file = view.spec["files"] if isinstance(view.spec, dict) and "files" in view.spec else view.spec
    beside = (arrays, file) if opened.kind == "fits" and isinstance(file, str) else None
    if beside and (noise := _beside(*beside, _NOISE)):
        lines.append(f"noise = {{ {_NOISE[noise['hdu']]} = {_toml(noise)} }}")
    elif _is_counts(view):
        lines.append("noise = { poisson = { gain = 1.0 } }  # GUESSED: whole numbers are counts")
        guessed.append(f"the noise of '{view.name}', that of counts")
    else:
        lines.append(
            f"noise = {noise_level(view.y):.3g}  # GUESSED from the data: the standard deviation of your noise"
        )
        guessed.append(f"the noise of '{view.name}', {noise_level(view.y):.3g}")
    if beside and (bad := _beside(*beside, _BAD)):
        lines.append(_flags(arrays, bad))
    lines += [f"mixing.{source} = 1.0" for source in (sources[:1] if view.name == "alone" else sources)]
    if opened.kind in _PICTURES:
        lines.append(
            f'# mixing.{sources[-1]} = {{ convolve = "psf.fits" }}  # in its place, where the instrument blurs'
        )
    return [*lines, ""]


def _flags(arrays: ArrayReader, bad: dict[str, str]) -> str:
    """Which bits are bad: those that do not mark a place in all observations, of which nothing would be known."""
    values = np.asarray(arrays.open(bad).values)
    bits = [b for b in range(32) if np.any(values.astype(np.int64) >> b & 1)] if values.dtype.kind in "iub" else []
    always = [b for b in bits if "files" in bad and (values.astype(np.int64) >> b & 1).all(0).any()]
    kept = [b for b in bits if b not in always]
    comment = (
        f"without {names(map(str, always))}, set at some place in every observation" if always else "0 is the lowest"
    )
    chosen = f", bits = {kept}" if bits else ""
    return f"observed = {{ bad = {_toml(bad)}{chosen} }}  # {comment}"


def _beside(arrays: ArrayReader, file: str, known: Iterable[str]) -> dict[str, str] | None:
    """The first HDU of one of these names, in the files of the data."""
    key, name = ("files", file) if "*" in file else ("file", file.split(":")[0])
    return next((spec for hdu in known if _opens(arrays, spec := {key: name, "hdu": hdu})), None)


def _opens(arrays: ArrayReader, spec: Any) -> bool:
    try:
        arrays.open(spec)
    except ProblemError:
        return False
    return True


def _is_counts(view: _View) -> bool:
    y = np.asarray(view.y)
    return view.opened.kind == "h5ad" and y.dtype.kind in "iuf" and bool((y >= 0).all() and (y == np.round(y)).all())


def _axes(view: _View, window: bool) -> str:
    said = [axis.name for axis in view.opened.axes if axis.name][-len(view.shape) :]
    named = f": {', '.join(said)}" if len(said) == len(view.shape) else ""
    return f"of one {'window' if window else 'sample'}{named}"


def _toml(spec: Any) -> str:
    if isinstance(spec, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_toml(value)}" for key, value in spec.items()) + " }"
    return json.dumps(spec, ensure_ascii=False)


def _key(name: str) -> str:
    plain = all(c.isascii() and (c.isalnum() or c in "_-") for c in name)
    return name if plain and name else json.dumps(name, ensure_ascii=False)
