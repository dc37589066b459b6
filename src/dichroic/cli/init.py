"""`dichroic init`: a problem file to begin with, from the files there are."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from dichroic.cli.environment import prepare
from dichroic.cli.messages import say
from dichroic.cli.options import Json, Overwrite

__all__ = ["init", "write"]

# what an HDU with the noise of another one is called, and the key that it is
_BAD = ("DQ", "MASK", "FLAGS")  # one with what is wrong with the pixels
_NOISE = {"ERR": "std", "RMS": "std", "SIGMA": "std", "VAR": "variance", "IVAR": "ivar", "WHT": "weight"}


def init(
    *,
    from_: Annotated[list[str] | None, Parameter(name=("--from", "-f"), negative="")] = None,
    out: Path = Path("problem.toml"),
    overwrite: Overwrite = False,
    json: Json = False,
) -> int:
    """Write a problem file for files of data: the first has one source alone, all others have one more over it.

    Parameters
    ----------
    from_
        A file, FILE:KEY or a pattern such as 'cut/*.fits', for a view; as often as there are views (default: they are
        asked for).
    out
        The problem file.
    """
    prepare()
    from dichroic.cli.output import print_json
    from dichroic.problem import ProblemError

    if out.exists() and not overwrite:
        raise ProblemError([f"{out} is there already; choose another name, or say --overwrite"])
    files = from_ or _asked()
    found = write(files, out)
    print_json(found) if json else say(f"written: {out}\nlook at it, then: dichroic check {out}")
    return 0


def _asked() -> list[str]:
    """Names of files, from whoever sits at the terminal."""
    from dichroic.problem import ProblemError

    files = []
    for line in (
        "File of observations of one source alone (such as empty.npy, sky.fits:SCI, 'sky/*.fits', music.wav): ",
        "File of observations with another source over it (empty line: none): ",
    ):
        try:
            answer = input(line).strip()
        except EOFError:
            raise ProblemError(["nobody answers; name the files: dichroic init --from FILE --from FILE"]) from None
        if answer:
            files.append(answer)
    return files


def write(files: list[str], out: Path) -> dict[str, Any]:
    """Writes the problem file.

    **Returns** the views with their shapes.

    **Raises:** `ProblemError` where a file cannot be read.
    """
    import numpy as np

    from dichroic.faults import located
    from dichroic.formats import Opened
    from dichroic.problem import ProblemError
    from dichroic.problem.arrays import ArrayReader
    from dichroic.store import write as store

    if not files:
        raise ProblemError(["no files were named"])
    arrays, views = ArrayReader(out.absolute().parent), []
    for number, file in enumerate(files):
        spec: Any = {"files": file} if "*" in file else file
        with located(f"'{file}'"):
            found = arrays.open(spec)
            opened = found if isinstance(found, Opened) else Opened(np.asarray(found))
        window = opened.values.ndim == 1
        shape = (256,) if window else tuple(opened.values.shape[1:])
        name = "alone" if number == 0 and len(files) > 1 else f"mixed{'' if number < 2 else number}"
        noise = _noise_hdu(arrays, file) if opened.kind == "fits" else None
        bad = _beside(arrays, file, _BAD) if opened.kind == "fits" else None
        views.append((name, spec, opened, shape, window, noise, bad))
    shape, unit, pairs = views[0][3], views[0][2].unit, np.iscomplexobj(views[0][2].values)
    sources = ["background"] if len(files) == 1 else ["background", "target"]
    lines = ['title = "My problem"', "held_out = 0.1  # keep a tenth of every view for the scores", ""]
    for source in sources:
        lines += [f"[sources.{source}]", f"shape = {list(shape)}  # of one sample; images: height, width, channels"]
        lines += [*(['dtype = "complex"'] * pairs), *([f"unit = {_toml(str(unit))}"] if unit else []), ""]
    for name, spec, opened, _, window, noise, bad in views:
        lines += [f"[views.{name}]", f"y = {_toml(spec)}  # {_words(opened)}"]
        if window:
            lines += ["window = 256  # entries of an observation, cut from the record", "hop = 128"]
        if noise is None:
            lines.append(f"noise = {_level(opened):.3g}  # GUESSED from the data: the standard deviation of your noise")
        else:
            lines.append(f"noise = {{ {noise[0]} = {_toml(noise[1])} }}")
        if bad is not None:
            lines.append(f"observed = {{ bad = {_toml(bad)} }}  # all but 0; or of some bits: bits = [0, 4]")
        inside = sources if name != "alone" else sources[:1]
        lines += [f"mixing.{source} = 1.0" for source in inside] + [""]
    lines += ["[fit]", "laps = 8  # 0: closed forms alone, a first look within seconds", ""]
    store(out, "\n".join(lines))
    return {"file": str(out), "views": {name: list(opened.values.shape) for name, _, opened, *_ in views}}


def _toml(spec: Any) -> str:
    import json

    if isinstance(spec, dict):
        return "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in spec.items()) + " }"
    return json.dumps(spec)


def _words(opened: Any) -> str:
    unit = f", in {opened.unit}" if opened.unit is not None else ""
    return f"shape {tuple(opened.values.shape)}{unit}"


def _noise_hdu(arrays: Any, file: str) -> tuple[str, Any] | None:
    """The HDU of the noise beside that of the data, where it has a usual name."""
    found = _beside(arrays, file, _NOISE)
    return None if found is None else (_NOISE[found["hdu"]], found)


def _beside(arrays: Any, file: str, known: Iterable[str]) -> dict[str, str] | None:
    """The first HDU of one of these names, in the files of the data."""
    from dichroic.problem import ProblemError

    for name in known:
        spec = {"files": file, "hdu": name} if "*" in file else {"file": file.split(":")[0], "hdu": name}
        try:
            arrays.open(spec)
        except ProblemError:
            continue
        return spec
    return None


def _level(opened: Any) -> float:
    """Median absolute difference of neighbours, as a standard deviation: noise that is white, under anything smooth."""
    import numpy as np

    x = np.asarray(opened.values, complex if np.iscomplexobj(opened.values) else float)
    differences = np.abs(np.diff(x.reshape(len(x), -1) if x.ndim > 1 else x[None], axis=1))
    finite = differences[np.isfinite(differences)]
    return float(np.median(finite)) / 0.6745 / np.sqrt(2) or 1.0 if finite.size else 1.0
