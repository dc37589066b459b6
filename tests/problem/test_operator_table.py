"""Operators in a problem file: every one can be written, read again, and refused in plain words."""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.typing import ArrayLike
from jaxtyping import Array

from dichroic import operators as ops
from dichroic.operators import (
    OPERATORS,
    Adjoint,
    Composition,
    Dense,
    Downsample,
    Identity,
    LinearFunction,
    Mask,
    Operator,
    PerSample,
    Scale,
    Sum,
    take,
)
from dichroic.problem import ProblemError
from dichroic.problem.arrays import ArrayReader
from dichroic.problem.functions import FunctionReader, allow
from dichroic.problem.operator_table import OperatorReader, describe_operator
from dichroic.problem.source import Source
from operator_cases import COMPOSED, REGISTERED

SHAPE = (4, 4, 1)
FUNCTIONS = """
import jax.numpy as jnp

def difference(x, parameters):
    return x[1:] - x[:-1]

def gain(x, parameters):
    return parameters["a"] * x + parameters["b"] * x

def weigh(x, parameters):
    return parameters * x

def pair(x, parameters):
    return x, x

number = 3
"""


class Roll(Operator):
    """A class that the reader has never heard of, with a field of every kind."""

    gain: ArrayLike
    in_shape: tuple[int, ...] = eqx.field(static=True)
    steps: tuple[int, ...] = eqx.field(static=True)
    mode: str = eqx.field(static=True, default="wrap")
    flip: bool = False
    axis: int = 0

    def __call__(self, x: Array) -> Array:
        x = jnp.asarray(self.gain).astype(x.dtype) * jnp.roll(x, self.steps[0], self.axis)
        return x[::-1] if self.flip else x


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "a.npz",
        mask=rng.random(SHAPE) < 0.5,
        masks=rng.random((3, *SHAPE)) < 0.5,
        gains=np.arange(3.0),
        kernel=rng.random((3, 3)),
        matrix=rng.normal(size=(5, 16)),
        matrices=rng.normal(size=(3, 5, 16)),
        number=np.complex64(1j),
        factor=np.array([1, 2, 2]),
    )
    (tmp_path / "mine.py").write_text(FUNCTIONS)
    (tmp_path / "broken.py").write_text("import numpy\n1 / 0\n")
    return tmp_path


@pytest.fixture
def read(folder):
    reader = OperatorReader(ArrayReader(folder), FunctionReader(folder))
    with allow():
        yield lambda spec, shape=SHAPE: reader.read(spec, Source(shape))


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        one, other = np.asarray(one), np.asarray(other)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


# ---- what can be written


def test_amplitudes(read):
    same(read(2.0), Scale(2.0, SHAPE))
    same(read({"scale": 2.0}), Scale(2.0, SHAPE))
    same(read({"scale": {"factor": 2.0}}), Scale(2.0, SHAPE))
    same(read({"scale": "a.npz:number"}), Scale(np.complex64(1j), SHAPE))


def test_names_alone(read):
    for spec in ("identity", {"identity": {}}, {"identity": True}):
        same(read(spec), Identity(SHAPE))
    same(read("as_complex", (3, 2)), ops.AsComplex((3, 2)))


@pytest.mark.parametrize("per_sample", ["inside", "beside", "shorthand"])
def test_per_sample_parameters(read, folder, per_sample):
    spec = {
        "inside": {"mask": {"weight": "a.npz:masks", "per_sample": True}},
        "beside": {"mask": "a.npz:masks", "per_sample": True},
        "shorthand": {"mask": {"array": "a.npz:masks", "per_sample": True}},
    }[per_sample]
    with np.load(folder / "a.npz") as data:
        same(read(spec), PerSample(Mask(data["masks"])))


def test_one_of_several_parameters_per_sample(read, folder, monkeypatch):
    class TwoArrays(Operator):
        a: ArrayLike
        b: ArrayLike
        in_shape: tuple[int, ...] = eqx.field(static=True)

        def __call__(self, x: Array) -> Array:
            return self.a * self.b * x

    monkeypatch.setitem(OPERATORS, "two", TwoArrays)
    operator = read({"two": {"a": {"array": "a.npz:gains", "per_sample": True}, "b": 2.0}})
    assert take(operator, 2)(jnp.ones(SHAPE)).max() == 4
    stored = {}
    described = describe_operator(operator, _store(stored))
    assert described["two"]["a"]["per_sample"] is True


def test_a_matrix_acts_on_the_shape_that_arrives(read, folder):
    with np.load(folder / "a.npz") as data:
        same(read({"dense": "a.npz:matrix"}), Dense(data["matrix"], SHAPE))
        same(read({"dense": "a.npz:matrix"}, (16,)), Dense(data["matrix"]))
        expected = PerSample(Dense(data["matrices"], SHAPE))
        same(read({"dense": {"matrix": "a.npz:matrices", "per_sample": True}}), expected)
    same(read({"dense": [[1.0, 2.0]]}, (2,)), Dense(np.array([[1.0, 2.0]])))


def test_a_list_is_applied_first_to_last(read):
    operator = read([{"downsample": 2}, 3.0, {"dense": [[1.0, 0, 0, 0]]}])
    assert isinstance(operator, Composition)
    assert isinstance(operator.outer, Dense)
    assert operator.outer.shape == (2, 2, 1)
    x = jnp.arange(16.0).reshape(SHAPE)
    np.testing.assert_allclose(operator(x), [3 * (0 + 1 + 4 + 5) / 4])


def test_a_shape_that_changes_on_the_way(read):
    operator = read([{"downsample": 2}, {"downsample": 2}])
    assert operator.out_shape == (1, 1, 1)


def test_complex_values_on_the_way(read):
    operator = read(["as_complex", {"convolve": {"kernel": [1.0], "boundary": "wrap"}}], (4, 2))
    assert jnp.iscomplexobj(operator(jnp.ones((4, 2))))


def test_sums(read):
    operator = read({"sum": [1.0, {"mask": "a.npz:mask"}, [2.0, {"scale": 3.0}]]})
    assert isinstance(operator, Sum)
    assert operator(jnp.ones(SHAPE)).max() == 8


def test_chains_that_are_per_sample_as_a_whole(read):
    spec = {"chain": [{"scale": "a.npz:gains"}, {"mask": "a.npz:masks"}], "per_sample": True}
    operator = read(spec)
    assert isinstance(operator, PerSample)
    assert take(operator, 0)(jnp.ones(SHAPE)).max() == 0
    assert take(operator, 2)(jnp.ones(SHAPE)).max() == 2


def test_functions(read, folder):
    x = jnp.arange(16.0).reshape(SHAPE)
    operator = read({"function": "mine.py:difference"})
    np.testing.assert_allclose(operator(x), 4)
    assert operator.parameters is None
    operator = read({"function": "mine.py:gain", "parameters": {"a": 1.0, "b": "a.npz:mask"}})
    assert operator(x).shape == SHAPE
    operator = read({"function": "mine.py:weigh", "parameters": "a.npz:masks", "per_sample": True})
    assert isinstance(operator, PerSample)
    assert take(operator, 1)(x).shape == SHAPE
    assert read({"function": "mine.py:weigh", "parameters": 1.0}).function is operator.value.function


def test_a_new_class_is_readable_by_being_listed(read, monkeypatch):
    monkeypatch.setitem(OPERATORS, "roll", Roll)
    expected = Roll(np.array([1.0, 2.0, 3.0, 4.0]), (4,), (1,), flip=True, axis=0)
    spec = {"roll": {"gain": [1.0, 2.0, 3.0, 4.0], "steps": [1], "flip": True}}
    same(read(spec, (4,)), expected)
    stored = {}
    assert describe_operator(expected, _store(stored)) == {
        "roll": {"gain": "array0", "steps": [1], "mode": "wrap", "flip": True, "axis": 0}
    }
    for wrong, message in [
        ({"gain": 1.0, "steps": 1}, r"roll: steps: expected a list of whole numbers, got 1"),
        ({"gain": 1.0, "steps": [1.5]}, r"steps: expected .*, got \[1.5\]"),
        ({"gain": 1.0, "steps": [1], "mode": 3}, r"mode: expected text, got 3"),
        ({"gain": 1.0, "steps": [1], "flip": "no"}, r"flip: expected true or false, got 'no'"),
        ({"gain": 1.0, "steps": [1], "axis": 1.0}, r"axis: expected a whole number, got 1.0"),
        ({"gain": 1.0}, r"roll: parameter 'steps' is missing; parameters: 'gain', 'steps', 'mode'"),
    ]:
        with pytest.raises(ProblemError, match=message):
            read({"roll": wrong}, (4,))


# ---- there and back


def _store(stored):
    def keep(value):
        if isinstance(value, int | float) and not isinstance(value, np.generic):
            return value
        stored[f"array{len(stored)}"] = np.asarray(value)
        return f"array{len(stored) - 1}"

    return keep


class _Memory(ArrayReader):
    def __init__(self, stored):
        self.stored = stored

    def read(self, spec):
        return self.stored[spec] if isinstance(spec, str) else spec


def _again(operator):
    stored = {}
    spec = describe_operator(operator, _store(stored))
    return OperatorReader(_Memory(stored), FunctionReader(Path())).read(spec, Source(take(operator, 0).in_shape))


@pytest.mark.parametrize("name", OPERATORS)
def test_every_registered_operator_comes_back(name):
    for operator in REGISTERED[name]:
        same(_again(operator), operator)


def _has_function(operator):
    nodes = jax.tree.leaves(operator, is_leaf=lambda n: isinstance(n, LinearFunction))
    return any(isinstance(node, LinearFunction) for node in nodes)


@pytest.mark.parametrize("name", [name for name, operator in COMPOSED.items() if not _has_function(operator)])
def test_compositions_come_back(name):
    same(_again(COMPOSED[name]), COMPOSED[name])


A, B, C = Scale(2.0, (4, 4)), Mask(np.eye(4)), Downsample(2, (4, 4))
STACKED = PerSample(Scale(np.arange(3.0), (4, 4)))


@pytest.mark.parametrize(
    "operator",
    [
        (C @ B) @ A,
        C @ (B @ A),
        A + B + A,
        A + (B + A),
        C @ (A + B),
        C @ STACKED,
        STACKED @ A,
        STACKED + A,
        PerSample(Composition(Mask(np.ones((3, 4, 4))), Scale(np.arange(3.0), (4, 4)))),
        PerSample(Sum((Mask(np.ones((3, 4, 4))), Scale(np.arange(3.0), (4, 4))))),
        C.T @ C,
        Adjoint(C @ B) @ (C @ B),
        Dense(np.ones((2, 5)), (5,)),
        Scale(np.float32(0.1), (3,)),
    ],
)
def test_structures_come_back(operator):
    same(_again(operator), operator)


def test_what_a_file_cannot_name():
    with pytest.raises(ProblemError, match=r"a LinearFunction is Python code .*FILE.py:NAME"):
        describe_operator(C @ LinearFunction(lambda x, p: x, (4, 4)), lambda a: a)
    with pytest.raises(ProblemError, match="the operator Roll is not in OPERATORS"):
        describe_operator(Roll(1.0, (4,), (1,)), lambda a: a)


# ---- what is refused


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("identiy", r"unknown operator 'identiy'; known: 'identity', .*did you mean 'identity'\?"),
        ("Downsample", r"unknown operator 'Downsample'; .*did you mean 'downsample'\?"),
        ("downsample", r"downsample: parameter 'factor' is missing"),
        (
            "a.npz:matrix",
            r"expected a number, an operator's name, .*got 'a.npz:matrix'; a matrix is written \{ dense =",
        ),
        ("0.5", r"got '0.5'; a number is written without quotes"),
        ("a.npy", r"got 'a.npy'; a matrix is written \{ dense = 'a.npy'"),
        ({}, r"an empty table names no operator; known: 'identity'"),
        ({"per_sample": True}, r"an empty table names no operator"),
        (True, r"expected a number, an operator's name, a table or a list, got True"),
        (None, r"expected a number"),
        ([], r"a list: expected a list of operators, got \[\]"),
        ([1.0, 2.0, 3.0], r"a list of numbers: .*One amplitude per sample is written \{ scale = 'FILE:KEY'"),
        (
            [{"downsample": 2}, {"downsample": 3}],
            r"step 2: downsample: Downsample: a factor of 3 does not divide .*\(2, 2",
        ),
        ([{"mask": "a.npz:kernel"}, 1.0], r"step 1: acts on shape \(3, 3\), but gets shape \(4, 4, 1\)"),
        ({"downsample": 2, "scale": 1.0}, r"one operator per table, got 'downsample', 'scale'; .*write a list"),
        (
            {"downsample": 2, "per_smple": True},
            r"unknown key 'per_smple' beside the operator; did you mean 'per_sample'\?",
        ),
        ({"downsample": 2.5}, r"downsample: factor: expected a whole number, got 2.5"),
        ({"downsample": "2"}, r"downsample: factor: expected a whole number, got '2'"),
        ({"downsample": True}, r"downsample: factor: expected a whole number, got True"),
        (
            {"downsample": {"factr": 2}},
            r"downsample: unknown parameter 'factr'; known: 'factor'; did you mean 'factor'\?",
        ),
        ({"downsample": 2, "per_sample": True}, r"downsample: per_sample needs an array that differs"),
        ({"downsample": 3}, r"Downsample: a factor of 3 does not divide the first two sides of \(4, 4, 1\)"),
        ({"downsample": 0}, r"a factor of 0 does not divide"),
        ({"identity": 3}, r"identity: takes no parameters, got 3"),
        ({"identity": {}, "per_sample": True}, r"identity: per_sample needs an array"),
        ({"mask": {"weight": "a.npz:masks", "per_sample": "yes"}}, r"per_sample: expected true or false, got 'yes'"),
        ({"mask": {"weight": "a.npz:masks", "per_sample": True}, "per_sample": True}, r"per_sample is said twice"),
        (
            {"scale": 1.0, "per_sample": True},
            r"scale: factor: per_sample needs an array whose first axis is the samples",
        ),
        ({"scale": "a.npz:gans", "per_sample": True}, r"scale: factor: no 'gans' in 'a.npz'; .*did you mean 'gains'"),
        (
            {"convolve": {"kernel": "a.npz:kernel", "boundary": "mirror"}},
            r"boundary must be 'zero' or 'wrap', not 'mirror'",
        ),
        ({"convolve": {"boundary": "wrap"}}, r"convolve: parameter 'kernel' is missing"),
        ({"block_project": 2}, r"block_project: parameter 'factors' is missing"),
        ({"block_project": {"factor": 2, "factors": 2}}, r"factors: expected a list of whole numbers, got 2"),
        ({"block_project": {"factor": 2, "factors": [1, 3]}}, r"BlockProject: a factor of 3 does not divide"),
        ({"dense": [[1.0, 2.0], [3.0]]}, r"dense: matrix: .*does not form one"),
        ({"dense": [[1.0, 2.0]]}, r"a matrix with 2 columns cannot act on shape \(4, 4, 1\)"),
        ({"as_complex": {}}, r"AsComplex: the last axis must have length 2"),
        ({"sum": 3.0}, r"sum: expected a list of operators, got 3.0"),
        ({"sum": []}, r"sum: expected a list of operators"),
        ({"sum": [1.0, {"downsample": 2}]}, r"sum: term 2 returns shape \(2, 2, 1\), the first term \(4, 4, 1\)"),
        ({"sum": ["identity", "idntity"]}, r"term 2: unknown operator 'idntity'"),
        ({"adjoint": {"downsample": 2}}, r"shape: expected a list of whole numbers, got None"),
        ({"function": "mine.py"}, r"function: expected 'FILE.py:NAME', got 'mine.py'"),
        ({"function": 3}, r"function: expected 'FILE.py:NAME', got 3"),
        (
            {"function": "mine.py:diference"},
            r"no function 'diference' in 'mine.py'; there: .*did you mean 'difference'\?",
        ),
        ({"function": "mine.py:number"}, r"no function 'number'"),
        ({"function": "mi.py:difference"}, r"no file 'mi.py' in .*; did you mean 'mine.py'\?"),
        ({"function": "broken.py:f"}, r"'broken.py' fails when it is run: ZeroDivisionError: division by zero"),
        ({"function": "mine.py:weigh", "parameters": "a.npz:x"}, r"parameters: no 'x' in 'a.npz'"),
        ({"function": "mine.py:gain", "parameters": {"a": "a.npz:x"}}, r"parameters: a: no 'x' in 'a.npz'"),
        ({"function": "mine.py:weigh", "parmeters": 1.0}, r"unknown key 'parmeters'.*did you mean 'parameters'\?"),
        ({"function": "mine.py:weigh", "per_sample": True}, r"per_sample needs parameters that differ"),
        ([{"function": "mine.py:gain", "parameters": 1.0}, 1.0], r"step 1: fails on an input of shape \(4, 4, 1\): "),
        (
            [{"function": "mine.py:pair"}, 1.0],
            r"step 1: (an operator must return one array, got a tuple|fails .*TypeCheckError)",
        ),
        ({"chain": [1.0, "identity"], "per_sample": True}, r"step 1: scale|factor: per_sample needs an array"),
    ],
)
def test_what_is_refused(read, spec, message):
    with pytest.raises(ProblemError, match=message):
        read(spec)
