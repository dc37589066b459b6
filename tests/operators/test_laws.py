"""What every operator obeys: linearity, adjointness, batching, its declared shapes."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dichroic.operators import OPERATORS, Blocks, Mask, PerSample, Waves, count_samples, select, take
from operator_cases import ONE_SAMPLE, PER_SAMPLE, REGISTERED, adjoint, apply, draw, draw_input, matrix_of

every_operator = pytest.mark.parametrize("operator", ONE_SAMPLE.values(), ids=ONE_SAMPLE)
every_per_sample = pytest.mark.parametrize("operator", PER_SAMPLE.values(), ids=PER_SAMPLE)
few = settings(max_examples=5, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
numbers = st.floats(-10, 10, allow_subnormal=False)


def is_complex(operator) -> bool:
    return np.issubdtype(operator.in_dtype, np.complexfloating)


def inner(u, v) -> float:
    return float(np.real(np.vdot(u, v)))


@pytest.mark.parametrize("name", OPERATORS)
def test_every_registered_operator_has_an_example(name):
    assert REGISTERED.get(name), f"add an example of '{name}' to the tests' cases"
    assert all(type(example) is OPERATORS[name] for example in REGISTERED[name])


@every_operator
@given(seed=seeds, a=numbers, b=numbers)
@few
def test_linearity(operator, seed, a, b):
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        x, y = draw_input(rng, operator), draw_input(rng, operator)
        expected = a * apply(operator, x) + b * apply(operator, y)
        np.testing.assert_allclose(apply(operator, a * x + b * y), expected, atol=1e-12 * (1 + abs(a) + abs(b)))
        assert not np.any(apply(operator, np.zeros_like(x)))


@every_operator
@given(seed=seeds)
@few
def test_adjointness(operator, seed):
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        x, u = draw_input(rng, operator), draw(rng, operator.out_struct)
        forward, backward = apply(operator, x), adjoint(operator, u)
        assert backward.shape == operator.in_shape
        np.testing.assert_allclose(inner(u, forward), inner(backward, x), rtol=1e-12, atol=1e-12)


@every_operator
def test_adjoint_of_the_adjoint(operator, float64):
    assert operator.T.T is operator
    assert operator.T.in_shape == operator.out_shape
    assert operator.T.out_shape == operator.in_shape
    assert np.issubdtype(operator.T.out_struct.dtype, np.complexfloating) == is_complex(operator)


@every_operator
def test_declared_shapes_and_data_types(operator, float64, rng):
    out = apply(operator, draw_input(rng, operator))
    assert out.shape == operator.out_shape == operator.out_struct.shape
    assert out.dtype == operator.out_struct.dtype


@every_operator
@pytest.mark.parametrize("double", [False, True], ids=["single", "double"])
def test_precision_is_that_of_the_input(operator, double):
    with jax.enable_x64(double):
        real, imaginary = ("float64", "complex128") if double else ("float32", "complex64")
        x = jax.ShapeDtypeStruct(operator.in_shape, imaginary if is_complex(operator) else real)
        out = eqx.filter_eval_shape(lambda operator, x: operator(x), operator, x)
        assert out.dtype in (real, imaginary)
        assert eqx.filter_eval_shape(lambda operator, u: operator.T(u), operator, out).dtype == x.dtype


@every_operator
def test_vmap_is_the_loop(operator, float64, rng):
    x = np.stack([draw_input(rng, operator) for _ in range(3)])
    u = np.stack([draw(rng, operator.out_struct) for _ in range(3)])
    forward, backward = jax.jit(jax.vmap(operator)), jax.jit(jax.vmap(operator.T))
    np.testing.assert_allclose(forward(x), np.stack([apply(operator, a) for a in x]), atol=1e-12)
    np.testing.assert_allclose(backward(u), np.stack([adjoint(operator, a) for a in u]), atol=1e-12)


@every_per_sample
def test_per_sample_parameters_batch(operator, float64, rng):
    assert count_samples(operator) == 5
    samples = [take(operator, i) for i in range(5)]
    x = np.stack([draw_input(rng, one) for one in samples])
    u = np.stack([draw(rng, one.out_struct) for one in samples])

    @jax.jit
    @partial(jax.vmap, in_axes=(0, 0, 0, None))
    def both(i, x, u, operator):
        return take(operator, i)(x), take(operator, i).T(u)

    forward, backward = both(np.arange(5), x, u, operator)
    for i, one in enumerate(samples):
        np.testing.assert_allclose(forward[i], one(jnp.asarray(x[i])), atol=1e-12)
        np.testing.assert_allclose(backward[i], one.T(jnp.asarray(u[i])), atol=1e-12)


@every_per_sample
def test_the_samples_really_differ(operator, float64, rng):
    x = jnp.asarray(draw_input(rng, take(operator, 0)))
    assert not np.allclose(take(operator, 0)(x), take(operator, 1)(x))


@every_per_sample
def test_selection_keeps_the_order_asked_for(operator, float64, rng):
    chosen = select(operator, np.array([4, 1]))
    assert count_samples(chosen) == 2
    x = jnp.asarray(draw_input(rng, take(operator, 0)))
    for new, old in enumerate([4, 1]):
        np.testing.assert_array_equal(take(chosen, new)(x), take(operator, old)(x))


@pytest.mark.parametrize("name", [name for name, op in PER_SAMPLE.items() if isinstance(op, PerSample)])
def test_shapes_of_a_per_sample_operator(name):
    operator = PER_SAMPLE[name]
    assert operator.in_shape == operator[0].in_shape
    assert operator.out_shape == operator[0].out_shape
    assert len(operator) == 5


def test_disagreeing_numbers_of_samples_are_an_error():
    operator = PerSample(Mask(np.ones((4, 3)))) @ PerSample(Mask(np.ones((5, 3))))
    with pytest.raises(ValueError, match=r"\[4, 5\]"):
        count_samples(operator)


def test_without_marks_there_is_no_number_of_samples():
    assert count_samples({"a": np.ones(3)}) is None


@every_operator
def test_a_diagonal_says_the_whole_map(operator, float64, rng):
    if (diagonal := operator.diagonal()) is not None:
        x = draw_input(rng, operator)
        np.testing.assert_allclose(apply(operator, x), np.asarray(diagonal) * x, rtol=1e-12)


@every_operator
def test_modes_are_eigenvectors(operator, float64, rng):
    """Waves: a plane wave comes out as itself times its eigenvalue. Blocks: block means stay, what is finer goes."""
    match operator.modes():
        case Waves(values):
            k = tuple(int(rng.integers(n)) for n in values.shape)
            grid = np.indices(values.shape)
            phase = sum(2 * np.pi * k[a] * grid[a] / values.shape[a] for a in range(values.ndim))
            rest = (1,) * (len(operator.in_shape) - values.ndim)
            wave = np.broadcast_to(np.exp(1j * phase).reshape(values.shape + rest), operator.in_shape)
            out = apply(operator, wave.real) + 1j * apply(operator, wave.imag)
            np.testing.assert_allclose(out, values[k] * wave, atol=1e-10)
        case Blocks(size, gain):
            G = matrix_of(operator)
            G = G.T @ G  # gain² times the projection onto the block means
            np.testing.assert_allclose(G @ G, gain**2 * G, atol=1e-12)
            np.testing.assert_allclose(np.trace(G), gain**2 * np.prod(operator.in_shape) / size**2)


def test_what_is_known_to_be_diagonal():
    """Else the two laws above would hold of operators that know nothing."""
    assert {name for name, ops in REGISTERED.items() if ops[0].diagonal() is not None} == {"identity", "scale", "mask"}
    known = {name for name, ops in REGISTERED.items() if any(op.modes() is not None for op in ops)}
    assert known == {"downsample", "block_project", "convolve", "gaussian_blur"}
