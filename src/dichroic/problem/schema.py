"""The tables of a problem file, and what pydantic finds wrong with them in plain words."""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from dichroic.faults import ProblemError, among

__all__ = ["ProblemTable", "SourceTable", "ViewTable", "parse"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class SourceTable(_Table):
    """`[sources.NAME]`."""

    shape: list[int] = Field(min_length=1)
    unit: str = ""
    dtype: str = "real"
    symmetry: Any = ()
    range: Any = None
    positive: Any = False
    prior: Any = None
    start: Any = None


class ViewTable(_Table):
    """`[views.NAME]`; arrays, operators and noise are read elsewhere."""

    y: Any
    noise: Any
    response: Any = None
    mixing: dict[str, Any]
    observed: Any = None
    truth: dict[str, Any] = {}
    ids: Any = None
    axes: list[dict[str, Any]] = []
    window: Any = None
    hop: Any = None
    at: Any = None
    rate: Any = None


class ProblemTable(_Table):
    """The whole file."""

    title: str = ""
    held_out: Any = None
    sources: dict[str, SourceTable]
    views: dict[str, ViewTable]
    fit: dict[str, Any] = {}


Table = TypeVar("Table", bound=_Table)
# what others call it
_MEANT: dict[type[_Table], dict[str, tuple[str, ...]]] = {
    SourceTable: {
        "shape": ("size", "dim", "dims", "dimension", "dimensions"),
        "unit": ("units",),
        "dtype": ("type", "complex"),
        "symmetry": ("symmetries", "invariance", "invariances", "augment", "augmentation", "stationary"),
        "range": ("limits", "bounds", "interval", "min", "max", "clip"),
        "positive": ("nonnegative", "non_negative", "positivity"),
        "prior": ("known", "law", "distribution", "alphabet", "atoms"),
        "start": ("initial", "init", "warm_start", "pretrained", "begin"),
    },
    ViewTable: {
        "y": ("data", "image", "images", "values", "observations", "x"),
        "noise": (
            "sigma",
            "std",
            "rms",
            "error",
            "errors",
            "uncertainty",
            "variance",
            "var",
            "ivar",
            "weight",
            "weights",
            "covariance",
        ),
        "response": ("detector", "nonlinearity", "saturation", "gain_curve", "transfer"),
        "observed": ("mask", "flag", "flags", "good", "valid", "weight_mask"),
        "mixing": ("sources", "operators", "operator", "psf", "kernel", "gain", "amplitude"),
        "truth": ("true", "ground_truth"),
        "ids": ("id", "names", "name", "identifiers", "labels"),
        "window": ("windows", "length", "segment", "tile", "patch"),
        "hop": ("stride", "step", "shift", "hop_length"),
        "at": ("cutouts", "positions", "catalogue", "catalog", "centres"),
        "rate": ("sample_rate", "sampling_rate", "samplerate", "fs", "sr"),
        "axes": ("axis", "dims", "dimensions", "coordinates", "coords"),
    },
}
_KINDS = {"sources": "source", "views": "view"}


def parse(table: type[Table], data: Any) -> Table:
    """Validates the keys and types of a table.

    **Raises:** `ProblemError`, one sentence for each fault: which table, which key, what was expected and got.
    """
    try:
        return table.model_validate(data)
    except ValidationError as error:
        raise ProblemError([_sentence(table, detail) for detail in error.errors()]) from None


def _sentence(table: type[_Table], detail: ErrorDetails) -> str:
    place = [str(part) for part in detail["loc"]]
    known = table
    where = ""
    if len(place) >= 2 and place[0] in _KINDS and table is ProblemTable:
        where = f"{_KINDS[place[0]]} '{place[1]}': "
        known = SourceTable if place[0] == "sources" else ViewTable
        place = place[2:]
    key = ".".join(place)
    if detail["type"] == "extra_forbidden":
        return f"{where}unknown key '{key}'; known: {among(key, known.model_fields, _MEANT.get(known))}"
    if detail["type"] == "missing":
        return f"{where}'{key}' is missing"
    message = (
        detail["msg"]
        .replace("Input should be", "expected")
        .replace("a valid integer", "a whole number")
        .replace("a valid ", "a ")
        .replace("dictionary", "table")
    )
    return f"{where}{f'{key}: ' if key else ''}{message}, got {detail['input']!r}"
