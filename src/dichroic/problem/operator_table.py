"""Operators in a problem file, read and written.

The keys of an operator's table are the fields of its class, whatever the class: static fields are plain TOML values,
the others arrays, and `in_shape` is the shape that arrives. An operator added to `OPERATORS` is thus readable unasked.
"""

import dataclasses
import inspect
import json
import typing
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from pydantic import TypeAdapter, ValidationError

from dichroic.faults import ProblemError, among, did_you_mean, first_line, located, names, require_known
from dichroic.operators import (
    OPERATORS,
    Adjoint,
    Composition,
    Joint,
    LinearFunction,
    Operator,
    PerSample,
    Scale,
    Sum,
    Unknown,
    take,
)
from dichroic.problem.arrays import ArrayReader, is_array_table, is_number
from dichroic.problem.functions import FunctionReader
from dichroic.problem.source import Source
from dichroic.problem.unknowns import describe_unknown, is_unknown, read_unknown, settled
from dichroic.problem.values import as_floats

__all__ = ["OperatorReader", "describe_operator"]

_PLAIN = (bool, int, str)
_WORDS = {bool: "true or false", int: "a whole number", str: "text", tuple[int, ...]: "a list of whole numbers"}
_STRUCTURE = ("function", "sum", "chain", "adjoint")  # what a table can name besides an operator

_NUMBERS = ("factor", "width")  # parameters that are one number, and 1 where nothing is said

Built = Operator | PerSample


class OperatorReader:
    """Makes operators from the values of `mixing`."""

    def __init__(self, arrays: ArrayReader, functions: FunctionReader):
        self.arrays = arrays
        self.functions = functions

    def read(self, spec: Any, source: Source) -> Built:
        """The operator that a value stands for.

        **Arguments:** `spec`, a number (an amplitude), a name, a list (applied first to last) or a table; `source`,
        whose samples arrive.

        **Raises:** `ProblemError` when the value names no operator, or the operator cannot be made from it.
        """
        return self._read(spec, jax.ShapeDtypeStruct(source.shape, jnp.result_type(source.dtype)))

    def parameters(self, spec: Any) -> Any:
        """Parameters of a function: an array, or a table of them; `{ array = ..., per_sample = true }` where marked."""
        return self._parameters(spec, False)

    def _read(self, spec: Any, x: jax.ShapeDtypeStruct, stacked: bool = False) -> Built:
        # `stacked`: inside a chain or sum that is per sample as a whole, so every array has the sample axis
        if is_unknown(spec):
            return self._build(Scale, {"factor": spec}, x, False, stacked)
        if isinstance(spec, list):
            return self._chain(spec, x, stacked)
        if isinstance(spec, dict):
            return self._table(spec, x, stacked)
        hint = ""
        if isinstance(spec, str):
            if is_number(spec):
                hint = "; a number is written without quotes"
            elif {":", "."} & {*spec}:
                hint = f"; a matrix is written {{ dense = '{spec}' }}"
            else:
                return self._table({spec: {}}, x, stacked)
        if isinstance(spec, bool | str) or not isinstance(spec, int | float):
            raise ProblemError([f"expected a number, an operator's name, a table or a list, got {spec!r}{hint}"])
        return self._build(Scale, {"factor": spec}, x, False, stacked)

    def _chain(self, steps: Any, x: jax.ShapeDtypeStruct, stacked: bool) -> Built:
        operators = []
        for i, step in enumerate(_steps("a list", steps)):
            with located(f"step {i + 1}"):
                operators.append(self._read(step, x, stacked))
                x = _output(operators[-1], x, stacked)
        chained = operators[0]
        for operator in operators[1:]:
            chained = Composition(operator, chained)  # pyright: ignore
        return chained

    def _table(self, table: dict[str, Any], x: jax.ShapeDtypeStruct, stacked: bool) -> Built:
        name, content, per_sample, rest = _split(table)
        if per_sample and stacked:
            raise ProblemError(["per_sample is said twice, inside and outside"])
        if name in OPERATORS:
            _no_other(rest, ())
            if name == "convolve" and isinstance(content, dict) and "gaussian" in content:
                name, content = "gaussian_blur", _gaussian(content)
            with located(name):
                return self._build(OPERATORS[name], content, x, per_sample, stacked)
        inner = per_sample or stacked
        if name == "chain":
            _no_other(rest, ())
            found = self._chain(content, x, inner)
        elif name == "sum":
            _no_other(rest, ())
            found = self._sum(content, x, inner)
        elif name == "adjoint":
            _no_other(rest, ("shape",))
            shape = _plain("shape", tuple[int, ...], rest.get("shape"))
            arriving = jax.ShapeDtypeStruct(shape, jnp.result_type(float))
            operator = self._read(content, arriving, inner)
            _output(operator, arriving, inner)  # which says so where it acts on another shape
            found = Adjoint(operator=operator)  # pyright: ignore
        else:
            _no_other(rest, ("parameters",))
            function = self.functions.read(content)
            parameters = None
            if "parameters" in rest:
                with located("parameters"):
                    parameters = self._parameters(rest["parameters"], inner)
            elif inner:
                raise ProblemError(["per_sample needs parameters that differ from sample to sample"])
            found = LinearFunction(function=function, in_shape=tuple(x.shape), parameters=parameters)
        return PerSample(found) if per_sample else found

    def _sum(self, terms: Any, x: jax.ShapeDtypeStruct, stacked: bool) -> Operator:
        operators, outputs = [], []
        for i, term in enumerate(_steps("sum", terms)):
            with located(f"term {i + 1}"):
                operators.append(self._read(term, x, stacked))
                outputs.append(_output(operators[-1], x, stacked))
            if outputs[-1].shape != outputs[0].shape:
                got, expected = outputs[-1].shape, outputs[0].shape
                raise ProblemError([f"sum: term {i + 1} returns shape {got}, the first term {expected}"])
        return Sum(tuple(operators))  # pyright: ignore

    def _build(self, kind: type[Operator], content: Any, x: Any, per_sample: bool, stacked: bool) -> Built:
        """An operator of a class in `OPERATORS`, from its parameters."""
        fields = {f.name: f for f in dataclasses.fields(kind) if f.init and f.name != "in_shape"}
        content, marked = _by_name(content, fields)
        if marked and (per_sample or stacked):
            raise ProblemError(["per_sample is said twice, inside and outside"])
        per_sample = per_sample or marked
        require_known(content, fields, "parameter")
        types = _types(kind)
        values: dict[str, Any] = {}
        unknown: dict[str, Unknown] = {}
        for name, f in fields.items():
            if name in content and is_unknown(content[name]) and not _is_plain(f, types[name]):
                with located(name):
                    unknown[name] = read_unknown(content[name], self.arrays.read)
                    if unknown[name].value is None and name not in _NUMBERS:
                        raise ProblemError(["where does learning begin? write { value = ..., std = 'learn' }"])
                values[name] = 1.0 if unknown[name].value is None else unknown[name].value
            elif name in content and _is_plain(f, types[name]):
                values[name] = _plain(name, types[name], content[name])
            elif name in content:
                with located(name):
                    values[name] = _floats(self._array(content[name], per_sample or stacked))
            elif name == "shape" and len(x.shape) != 1:  # the optional shape of an operator that reads vectors
                values[name] = tuple(x.shape)
            elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
                raise ProblemError([f"parameter '{name}' is missing; parameters: {names(fields)}"])
        if per_sample and all(_is_plain(fields[name], types[name]) for name in content):
            raise ProblemError(["per_sample needs an array that differs from sample to sample"])
        if "in_shape" in inspect.signature(kind).parameters:
            values["in_shape"] = tuple(x.shape)
        try:
            operator = kind(**values)
        except Exception as error:  # the operator's own check of its parameters
            raise ProblemError([str(error).strip().split("\n")[0] or first_line(error)]) from error
        for name, value in unknown.items():
            operator = eqx.tree_at(lambda one, name=name: getattr(one, name), operator, value)
        return PerSample(operator) if per_sample else operator

    def _array(self, spec: Any, stacked: bool) -> Any:
        """A parameter; `{ array = ..., per_sample = true }` marks this one alone."""
        alone = False
        if is_array_table(spec):
            spec = dict(spec)
            alone = _flag(spec.pop("per_sample", False))
            if alone and stacked:
                raise ProblemError(["per_sample is said twice, inside and outside"])
        array = self.arrays.read(spec)
        if (stacked or alone) and np.ndim(array) == 0:
            raise ProblemError(["per_sample needs an array whose first axis is the samples, got one number"])
        return PerSample(array) if alone else array

    def _parameters(self, spec: Any, stacked: bool) -> Any:
        if isinstance(spec, dict) and not is_array_table(spec):
            found = {}
            for name, value in spec.items():
                with located(name):
                    found[name] = self._parameters(value, stacked)
            return found
        return self._array(spec, stacked)


def _floats(array: Any) -> Any:
    """Whole numbers that JAX, which keeps 32 bits of them, would drop a part of."""
    if isinstance(array, PerSample):
        return PerSample(_floats(array.value))
    whole = isinstance(array, int) or (isinstance(array, np.ndarray) and array.dtype.kind in "iu")
    if not whole or np.abs(array).max(initial=0) <= np.iinfo(np.int32).max:
        return array
    return as_floats(array) if isinstance(array, np.ndarray) else float(array)


def _gaussian(content: dict[str, Any]) -> dict[str, Any]:
    """`{ gaussian = { width = ... } }`, or the width itself, with what else a convolution has."""
    rest = dict(content)
    said = rest.pop("gaussian")
    said = said if isinstance(said, dict) and not is_array_table(said) and not is_unknown(said) else {"width": said}
    return {**said, **rest}


def _split(table: dict[str, Any]) -> tuple[str, Any, bool, dict[str, Any]]:
    """The operator that a table names, its content, whether it is per sample, and the other keys."""
    rest = dict(table)
    per_sample = _flag(rest.pop("per_sample", False))
    known = [*OPERATORS, *_STRUCTURE]
    named = [key for key in rest if key in known]
    if len(named) > 1:
        raise ProblemError([f"one operator per table, got {names(named)}; to apply one after the other, write a list"])
    if not named:
        key = next(iter(rest), "")
        got = f"unknown operator '{key}'" if rest else "an empty table names no operator"
        raise ProblemError([f"{got}; known: {among(key, known)}"])
    return named[0], rest.pop(named[0]), per_sample, rest


def _by_name(content: Any, fields: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Parameters by name, and whether they are marked per sample; a bare value is the first parameter."""
    if content is True and not fields:
        return {}, False
    marked = False
    if isinstance(content, dict) and not is_unknown(content):
        content = dict(content)
        marked = "per_sample" not in fields and _flag(content.pop("per_sample", False))
        if not is_array_table(content) or "array" in fields:
            return content, marked
    if is_unknown(content):
        return {next(iter(fields)): content}, marked
    if not fields:
        raise ProblemError([f"takes no parameters, got {content!r}"])
    return {next(iter(fields)): content}, marked


def _is_plain(f: dataclasses.Field, annotation: Any) -> bool:
    return bool(f.metadata.get("static")) or annotation in _PLAIN or typing.get_origin(annotation) is tuple


def _types(kind: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind)
    except NameError:  # names that exist for type checkers only
        return {f.name: f.type for f in dataclasses.fields(kind)}


def _plain(name: str, annotation: Any, value: Any) -> Any:
    try:
        # as JSON, a list may become a tuple while 2.5 and "2" still are no integers
        return TypeAdapter(annotation).validate_json(json.dumps(value), strict=True)
    except (ValidationError, TypeError, ValueError) as error:
        raise ProblemError([f"{name}: expected {_WORDS.get(annotation, annotation)}, got {value!r}"]) from error


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ProblemError([f"per_sample: expected true or false, got {value!r}"])
    return value


def _no_other(rest: dict[str, Any], known: tuple[str, ...]) -> None:
    for key in rest:
        if key not in known:
            hint = did_you_mean(key, [*known, "per_sample"])
            raise ProblemError([f"unknown key '{key}' beside the operator{hint}"])


def _steps(what: str, steps: Any) -> list[Any]:
    if not isinstance(steps, list) or not steps:
        raise ProblemError([f"{what}: expected a list of operators, got {steps!r}"])
    if len(steps) > 1 and all(isinstance(step, int | float) for step in steps):
        raise ProblemError(
            [
                f"{what} of numbers: a list holds operators. One amplitude per sample is written "
                "{ scale = 'FILE:KEY', per_sample = true }"
            ]
        )
    return steps


def _output(operator: Built, x: jax.ShapeDtypeStruct, stacked: bool) -> jax.ShapeDtypeStruct:
    try:
        operator = settled(operator)
        one: Any = PerSample(operator)[0] if stacked else take(operator, 0)
        in_shape = tuple(one.in_shape)
        out = jax.eval_shape(one, x) if in_shape == x.shape else None
    except Exception as error:  # a wrong parameter, or a user's function
        raise ProblemError([f"fails on an input of shape {tuple(x.shape)}: {first_line(error)}"]) from error
    if in_shape != x.shape:  # broadcasting would hide it
        raise ProblemError([f"acts on shape {in_shape}, but gets shape {tuple(x.shape)}"])
    if not isinstance(out, jax.ShapeDtypeStruct):
        raise ProblemError([f"an operator must return one array, got a {type(out).__name__}"])
    return out


def describe_operator(operator: Any, store: Callable[[Any], Any]) -> Any:
    """The value of `mixing` from which :class:`OperatorReader` makes the operator again.

    **Arguments:** `operator`, of a bound view; `store`, keeps an array and returns the value that stands for it.

    **Raises:** `ProblemError` for functions and for classes that are not in `OPERATORS`.
    """
    if isinstance(operator, PerSample):
        inner = describe_operator(operator.value, store)
        return {**(inner if isinstance(inner, dict) else {"chain": inner}), "per_sample": True}
    if isinstance(operator, Composition):
        inner = describe_operator(operator.inner, store)
        chain = inner if isinstance(operator.inner, Composition) else [inner]
        return [*chain, describe_operator(operator.outer, store)]
    if isinstance(operator, Sum):
        return {"sum": [describe_operator(term, store) for term in operator.terms]}
    if isinstance(operator, Adjoint):
        shape = [int(side) for side in take(operator.operator, 0).in_shape]
        return {"adjoint": describe_operator(operator.operator, store), "shape": shape}
    if isinstance(operator, LinearFunction | Joint):
        raise ProblemError(
            [
                f"a {type(operator).__name__} is Python code and is not written to a file; put the function into a "
                "Python file beside the problem file and name it there: "
                "{ function = 'FILE.py:NAME', parameters = 'FILE:KEY' }"
            ]
        )
    for name, kind in OPERATORS.items():
        if type(operator) is kind:
            return _shorten(name, kind, _describe_fields(operator, store))
    raise ProblemError([f"the operator {type(operator).__name__} is not in OPERATORS, so a file cannot name it"])


def _shorten(name: str, kind: type[Operator], content: dict[str, Any]) -> dict[str, Any]:
    """The shorthand, where only the first parameter is given."""
    first = next((f.name for f in dataclasses.fields(kind) if f.init and f.name != "in_shape"), None)
    return {name: content[first] if first is not None and list(content) == [first] else content}


def _describe_fields(operator: Operator, store: Callable[[Any], Any]) -> dict[str, Any]:
    types = _types(type(operator))
    out = {}
    for f in dataclasses.fields(operator):
        value = getattr(operator, f.name)
        if f.name == "in_shape" or value is None or not f.init:
            continue
        if _is_plain(f, types[f.name]):
            out[f.name] = json.loads(json.dumps(value, default=_plain_number))
        elif isinstance(value, PerSample):
            out[f.name] = {"array": store(value.value), "per_sample": True}
        elif isinstance(value, Unknown):
            out[f.name] = describe_unknown(value, store)
        elif eqx.is_array_like(value):
            out[f.name] = store(value)
        else:
            raise ProblemError([f"{type(operator).__name__}: its {f.name} is a {type(value).__name__}, not an array"])
    return out


def _plain_number(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)
