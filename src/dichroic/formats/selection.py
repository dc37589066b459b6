"""Which rows of a table are meant. Nothing of the text is evaluated but numbers and quoted words."""

import re
from ast import literal_eval
from collections.abc import Mapping
from typing import Any

import numpy as np

from dichroic.faults import ProblemError, among

__all__ = ["chosen"]

_CLAUSE = re.compile(r"\s*(?P<column>.+?)\s*(?P<operator>==|!=|<=|>=|<|>| in )\s*(?P<value>.+?)\s*")
_COMPARE = {
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    ">": np.greater,
    "<=": np.less_equal,
    ">=": np.greater_equal,
}


def chosen(table: Any, said: str | Mapping[str, Any] | None) -> np.ndarray:
    """The numbers of the rows of a table of pandas for which all that is said holds.

    **Arguments:** `said`, clauses such as `condition == 'case' and batch in ['a', 'b']`, or a mapping from columns to
    a value or a list of values.

    **Raises:** `ProblemError` for a column that is not there, and where no row is left.
    """
    keep = np.ones(len(table), bool)
    for column, operator, value in _clauses(said):
        if column not in table.columns:
            raise ProblemError([f"no column '{column}'; there are: {among(column, table.columns)}"])
        found = np.asarray(table[column])
        if operator == "in":
            keep &= np.isin(found.astype(str), [str(x) for x in value])
        elif isinstance(value, str):
            if operator not in ("==", "!="):
                raise ProblemError([f"'{column} {operator} {value!r}': text is equal or not"])
            keep &= _COMPARE[operator](found.astype(str), value)
        elif found.dtype.kind not in "biuf":
            raise ProblemError([f"column '{column}' holds text, which is compared with text in quotes, got {value!r}"])
        else:
            keep &= _COMPARE[operator](found, value)
    if not keep.any():
        raise ProblemError([f"none of {len(table)} rows is left by {said!r}"])
    return np.flatnonzero(keep)


def _clauses(said: str | Mapping[str, Any] | None) -> list[tuple[str, str, Any]]:
    if said is None:
        return []
    if isinstance(said, Mapping):
        return [(name, "in", x) if isinstance(x, list) else (name, "==", x) for name, x in said.items()]
    found = []
    for clause in re.split(r"\s+and\s+", said):
        match = _CLAUSE.fullmatch(clause)
        try:
            value = literal_eval(match["value"]) if match else None
        except (ValueError, SyntaxError):
            value = None
        if match is None or not isinstance(value, bool | int | float | str | list):
            raise ProblemError([f"expected clauses such as \"condition == 'case'\" joined by 'and', got {clause!r}"])
        operator = match["operator"].strip()
        if (operator == "in") != isinstance(value, list):
            raise ProblemError([f"'in' takes a list, and nothing else does: {clause!r}"])
        found.append((match["column"].strip("'\"`"), operator, value))
    return found
