"""Problems in memory: everything that can be wrong with a user's data is said, and nothing crashes."""

import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.operators import (
    AsComplex,
    Dense,
    FourierSample,
    Identity,
    LinearFunction,
    Mask,
    PerSample,
    Scale,
    take,
)
from dichroic.problem import Problem, ProblemError, Source, View, blocks_of

pytestmark = pytest.mark.usefixtures("as_for_users")

N, D = 6, 4
Y = np.random.default_rng(0).normal(size=(N, D))


def problem(y=Y, operator=1.0, noise=0.1, shape=(D,), **rest):
    return Problem({"a": Source(shape)}, {"v": View(y, {"a": operator}, noise, **rest)})


def with_(y, index, value):
    y = np.array(y)
    y[index] = value
    return y


def faults(*args, **kwargs):
    with pytest.raises(ProblemError) as caught:
        problem(*args, **kwargs)
    return str(caught.value)


# ---- observations


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.float64(3.0), r"view 'v': y must have a sample axis and at least one more, got shape \(\)$"),
        (np.ones(5), r"got shape \(5,\); give single numbers the shape \(n, 1\)"),
        (np.ones((0, D)), r"view 'v': there are no observations \(y has shape \(0, 4\)\)"),
        (np.ones((N, 0)), r"there are no observations"),
        ([], r"y must have a sample axis"),
        ("data.npz", r"y: expected numbers, got an array of type <U8|text 'data.npz'"),
        (None, r"y: expected numbers, got nothing"),
        ([[1, 2], [3]], r"y: expected an array of numbers, got a list that does not form one"),
        ([["a"] * D] * N, r"y: expected numbers"),
        (np.zeros((N, D), dtype="datetime64[s]"), r"y: expected numbers"),
        (with_(Y, (2, 1), np.inf), r"view 'v': sample 2 has infinite values"),
        (with_(Y, (slice(None), 1), -np.inf), r"samples 0, 1, 2, 3, 4 and 1 more have infinite values"),
        (with_(Y, 3, np.nan), r"view 'v': sample 3 has no observed entry at all; remove them"),
        (np.full((N, D), np.nan), r"samples 0, 1, 2, 3, 4 and 1 more have no observed entry"),
    ],
)
def test_observations(y, message):
    assert re.search(message, faults(y))


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.float16, ">f8", bool])
def test_observations_of_any_type(dtype):
    y = problem(np.ones((N, D), dtype)).views["v"].y
    assert y.dtype in (np.float32, np.float64)
    jnp.asarray(y)


def test_missing_entries_are_marked_in_three_ways():
    mask = np.ones((N, D), bool)
    mask[1, 2] = False
    for y, observed in [
        (np.where(mask, Y, np.nan), None),
        (Y, mask),
        (np.where(mask, Y, np.inf), mask.astype(float)),
        (np.ma.masked_array(Y, ~mask), None),
    ]:
        view = problem(y, observed=observed).views["v"]
        np.testing.assert_array_equal(view.observed, mask)
        np.testing.assert_array_equal(view.y, np.where(mask, Y, 0))


def test_a_mask_that_all_samples_share():
    view = problem(observed=[1, 1, 0, 1]).views["v"]
    np.testing.assert_array_equal(view.observed, np.tile([True, True, False, True], (N, 1)))


def test_a_mask_of_nothing_missing_is_no_mask():
    assert problem(observed=np.ones((N, D))).views["v"].observed is None


@pytest.mark.parametrize(
    ("observed", "message"),
    [
        (
            np.ones((N, D + 1)),
            r"observed: expected the shape of y, \(6, 4\), or of one observation, \(4,\), got \(6, 5\)",
        ),
        (np.ones(N), r"observed: expected the shape of y, .*got \(6,\)"),
        (True, r"observed: expected the shape of y, .*got \(\)"),
        (np.full((N, D), 0.5), r"observed: expected true where there is data .* got 0.5"),
        (np.full((N, D), np.nan), r"observed: expected true .* got nan"),
        ("mask", r"observed: expected numbers"),
        (np.zeros((N, D)), r"samples 0, .* no observed entry"),
        (np.zeros(D), r"samples 0, .* no observed entry at all; is `observed` true where there is data"),
    ],
)
def test_masks(observed, message):
    assert re.search(message, faults(observed=observed))


# ---- names and kinds


@pytest.mark.parametrize(
    ("sources", "views", "message"),
    [
        ({}, None, "a problem needs at least one source"),
        (None, {}, "a problem needs at least one view"),
        ({"a": (3,)}, None, "source 'a': expected a Source, got a tuple"),
        (None, {"v": np.ones((3, 4))}, "view 'v': expected a View, got a ndarray"),
        ([Source((D,))], None, "sources: expected {name: Source}, got a list"),
        (None, [1], "views: expected {name: View}, got a list"),
        ({"a/b": Source((D,))}, None, "source 'a/b': a name is text without '/'"),
        ({"": Source((D,))}, None, "source '': a name is text"),
        ({3: Source((D,))}, None, "source 3: a name is text"),
        ({"..": Source((D,))}, None, "source '..': a name is text"),
        ({"a": Source((D,)), "b": Source((2,))}, None, "source 'b' enters no view: nothing can be learned about it"),
        ({"aa": Source((D,))}, None, "unknown source 'a' in its mixing; known: 'aa'"),
    ],
)
def test_names_and_kinds(sources, views, message):
    sources = {"a": Source((D,))} if sources is None else sources
    views = {"v": View(Y, {"a": 1.0}, 0.1)} if views is None else views
    with pytest.raises(ProblemError, match=re.escape(message)):
        Problem(sources, views)


@pytest.mark.parametrize("shape", [(), (0,), (-1, 2), (2.5,), ("4",), 4, None, "44"])
def test_shapes_of_sources(shape):
    with pytest.raises(ProblemError, match="Source: a shape"):
        Source(shape)


def test_numpy_shapes_are_fine():
    assert Source(np.array([4, 2])).shape == (4, 2)  # pyright: ignore
    assert Source([4]).shape == (4,)  # pyright: ignore


def test_a_view_without_sources():
    with pytest.raises(ProblemError, match="view 'v': no source enters it"):
        Problem({"a": Source((D,))}, {"v": View(Y, {}, 0.1)})
    for wrong in (None, "a", 1.0, Identity((D,)), [("a", 1.0)]):
        with pytest.raises(ProblemError, match=r"mixing: expected {source: operator}, got"):
            View(Y, wrong, 0.1)  # pyright: ignore


# ---- operators


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (np.nan, r"view 'v', source 'a': the operator has parameters that are not finite: nan"),
        (np.inf, r"not finite: inf"),
        (None, r"expected an operator or a number, got a NoneType"),
        ("scale", r"expected an operator or a number, got a str"),
        ([1.0], r"got a list"),
        (np.eye(D), r"got a ndarray; wrap a matrix as Dense\(matrix\)"),
        (np.array("x"), r"a parameter of type <U1; expected numbers"),
        (Identity, r"got the class Identity; make one with Identity\(...\)"),
        (lambda x: x, r"got a function; wrap it: LinearFunction\(function, in_shape\)"),
        (Identity((3,)), r"the operator acts on shape \(3,\), the source has \(4,\)"),
        (Dense(np.ones((3, D))), r"the operator's output has shape \(3,\), but an observation has shape \(4,\)"),
        (
            Mask(np.ones((N, D))),
            r"acts on shape \(6, 4\), the source has \(4,\); if every sample has its own, .*PerSample",
        ),
        (1j, r"the operator \(.*\) returns complex values, but y is real"),
        (Scale(1j, (D,)), r"the operator \(.*\) returns complex values, but y is real"),
        (FourierSample(np.ones(D), (D,)), r"the operator \(.*\) returns complex values, but y is real"),
        (PerSample(Mask(np.ones((5, D)))), r"per-sample parameters for 5 samples, but y has 6"),
        (PerSample(np.ones(5)), r"per-sample parameters for 5 samples, but y has 6"),
        (PerSample(np.ones((N, D))), r"per-sample amplitudes: expected one number per sample, got shape \(6, 4\)"),
        (PerSample(2.0), r"per-sample amplitudes: .*got shape \(\)"),
        (PerSample("x"), r"expected numbers"),
        (PerSample(Scale(2.0, (D,))), r"per-sample parameters need a leading axis of 6 samples, got none"),
        (PerSample(with_(np.ones(N), 3, np.nan)), r"sample 3 has operator parameters that are not finite"),
        (PerSample(Mask(with_(np.ones((N, D)), [1, 2], np.nan))), r"samples 1, 2 have operator parameters that"),
        (
            PerSample(Scale(np.ones(N), (D,))) @ PerSample(Scale(np.ones(N + 1), (D,))),
            r"per-sample parameters have different numbers of samples: \[6, 7\]",
        ),
        (Mask(np.ones((1, D))) @ Identity((D,)), r"Mask acts on shape \(1, 4\), but Identity returns \(4,\)"),
        (Identity((D,)) + Mask(np.ones((1, D))), r"the terms of a sum of operators have different shapes"),
        (LinearFunction(lambda x, p: x + 1, (D,)), r"the operator is not linear|cannot be transposed"),
        (LinearFunction(lambda x, p: x**2, (D,)), r"cannot be transposed by JAX; is it linear in x\?|is not linear"),
        (LinearFunction(lambda x, p: jnp.abs(x), (D,)), r"cannot be transposed by JAX|is not linear"),
        (LinearFunction(lambda x, p: np.asarray(x), (D,)), r"the operator fails on an input of shape \(4,\): "),
        (
            LinearFunction(lambda x, p: x @ p, (D,), np.ones(3)),
            r"the operator fails on an input of shape \(4,\): TypeError",
        ),
        (LinearFunction(lambda x, p: {}["k"], (D,)), r"the operator fails on .*KeyError"),
    ],
)
def test_operators(operator, message):
    assert re.search(message, faults(operator=operator))


def test_functions_that_are_linear():
    problem(operator=LinearFunction(lambda x, p: jnp.cumsum(x) * p, (D,), 2.0))
    problem(operator=LinearFunction(lambda x, p: 0 * x, (D,)))
    problem(operator=PerSample(LinearFunction(lambda x, p: p @ x, (D,), np.ones((N, D, D)))))


def test_numbers_become_amplitudes():
    for amplitude in (2, 2.0, np.float32(2), np.array(2.0), jnp.asarray(2.0)):
        operator = problem(operator=amplitude).views["v"].mixing["a"]
        np.testing.assert_allclose(operator(jnp.ones(D)), 2)
    operator = problem(operator=PerSample([1.0, 2, 3, 4, 5, 6])).views["v"].mixing["a"]
    assert [float(take(operator, i)(jnp.ones(D))[0]) for i in range(N)] == [1, 2, 3, 4, 5, 6]


def test_complex_observations():
    y = Y + 1j * Y
    for operator in (1j, FourierSample(np.ones(D), (D,))):
        problem(y, operator=operator)
    problem(y, operator=AsComplex((D, 2)), shape=(D, 2))
    assert "complex values, but y is real" in faults(operator=AsComplex((D, 2)), shape=(D, 2))
    view = problem(with_(y, (1, 1), np.nan * 1j), operator=1j).views["v"]
    assert view.observed is not None and not view.observed[1, 1]
    assert view.y[1, 1] == 0


# ---- truth


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        ({"a": Y[:, :3]}, r"view 'v': truth of source 'a': expected shape \(6, 4\), got \(6, 3\)"),
        ({"a": Y[:3]}, r"expected shape \(6, 4\), got \(3, 4\)"),
        ({"a": with_(Y, (4, 0), np.nan)}, r"truth of source 'a': sample 4 has values that are not finite"),
        ({"a": 1j * Y}, r"expected real values, got complex ones"),
        ({"aa": Y}, r"truth of source 'aa': unknown source; known: 'a'"),
        ({"a": "truth.npz"}, r"truth of source 'a': expected numbers"),
        ("truth.npz", r"truth: expected {source: array}, got a str"),
    ],
)
def test_truth(truth, message):
    assert re.search(message, faults(truth=truth))


def test_truth_of_a_source_that_is_not_in_the_view():
    views = {"v": View(Y, {"a": 1.0}, 0.1, truth={"b": Y}), "w": View(Y, {"b": 1.0}, 0.1)}
    with pytest.raises(ProblemError, match=r"view 'v': truth of source 'b': it does not enter this view; .*: 'a'"):
        Problem({"a": Source((D,)), "b": Source((D,))}, views)


# ---- sizes, parts and fingerprints


def test_blocks_lie_side_by_side():
    stacked = np.arange(11)
    found = {s: stacked[at].tolist() for s, at in blocks_of({"b": (2, 3), "a": (1,), "c": (4,)}).items()}
    assert found == {"b": [0, 1, 2, 3, 4, 5], "a": [6], "c": [7, 8, 9, 10]}


@pytest.mark.parametrize("kind", [float, complex])
def test_numbers_per_observation(kind):
    y = Y.astype(kind)
    y[1, 2] = y[4, 0] = y[4, 3] = np.nan
    view, per_value = View(y, {"a": 1.0}, 0.1), 2 if kind is complex else 1
    assert view.data_size == D * per_value
    np.testing.assert_array_equal(view.counts, np.array([4, 3, 4, 4, 2, 4]) * per_value)
    np.testing.assert_array_equal(View(Y.astype(kind), {"a": 1.0}, 0.1).counts, np.full(N, D * per_value))


def test_subset_is_random_and_in_order():
    view = problem().views["v"]
    assert view.subset(N, seed=0) is view
    chosen = [view.subset(3, seed=seed).y[:, 0] for seed in range(20)]
    places = [[int(np.flatnonzero(Y[:, 0] == value)[0]) for value in values] for values in chosen]
    assert all(place == sorted(set(place)) and len(place) == 3 for place in places)
    assert {i for place in places for i in place} == set(range(N))
    np.testing.assert_array_equal(view.subset(3, seed=7).y[:, 0], chosen[7])


def test_select_keeps_the_pairs_together():
    truth = {"a": Y}
    whole = problem(operator=PerSample(np.arange(1.0, N + 1)), noise=PerSample(np.arange(1.0, N + 1)), truth=truth)
    part = whole.select({"v": np.array([4, 1])}).views["v"]
    np.testing.assert_array_equal(part.y, Y[[4, 1]])
    np.testing.assert_array_equal(part.truth["a"], Y[[4, 1]])
    assert [float(take(part.noise, i).std) for i in range(2)] == [5, 2]
    assert [float(take(part.mixing["a"], i).factor) for i in range(2)] == [5, 2]


def test_select_leaves_out_sources_that_enter_no_view_that_is_left():
    views = {"off": View(Y, {"a": 1.0}, 1.0), "on": View(Y, {"a": 1.0, "b": 1.0}, 1.0)}
    whole = Problem({"a": Source(Y.shape[1:]), "b": Source(Y.shape[1:])}, views)
    assert list(whole.select({"off": np.arange(2)}).sources) == ["a"]
    assert list(whole.select({"off": np.arange(2), "on": np.arange(1)}).sources) == ["a", "b"]


def test_split():
    kept, held = problem().split(0.3, seed=3)
    assert len(kept.views["v"]) == 4 and len(held.views["v"]) == 2
    together = np.concatenate([kept.views["v"].y, held.views["v"].y])
    np.testing.assert_array_equal(np.sort(together, axis=0), np.sort(Y, axis=0))
    for fraction in (0.0, 1.0, -1.0, 2.0, np.nan):
        with pytest.raises(ProblemError, match="the held-out fraction must be between 0 and 1"):
            problem().split(fraction)
    with pytest.raises(ProblemError, match="view 'v' has one observation"):
        problem(Y[:1]).split(0.5)


def _changed():
    mask = np.ones((N, D), bool)
    mask[0, 0] = False
    return {
        "y": problem(with_(Y, (0, 0), 1.0)),
        "type": problem(Y.astype(np.float32)),
        "noise": problem(noise=0.2),
        "noise per pixel": problem(noise=np.full(D, 0.1)),
        "mask": problem(observed=mask),
        "amplitude": problem(operator=2.0),
        "operator": problem(operator=Identity((D,))),
        "shape": problem(Y[:, :2], shape=(2,)),
        "view": Problem({"a": Source((D,))}, {"w": View(Y, {"a": 1.0}, 0.1)}),
        "source": Problem({"b": Source((D,))}, {"v": View(Y, {"b": 1.0}, 0.1)}),
    }


def test_fingerprints_tell_problems_apart():
    changed = _changed()
    prints = {problem().fingerprint(), *(p.fingerprint() for p in changed.values())}
    assert len(prints) == 1 + len(changed)
    assert problem().fingerprint() == problem(Y.copy(), 1.0, 0.1).fingerprint()
    assert problem(noise=np.full(D, 0.1)).fingerprint() == problem(noise=[0.1] * D).fingerprint()
    assert problem(truth={"a": Y}).fingerprint() == problem().fingerprint()


def test_fingerprints_of_functions():
    def blur(kernel):
        return LinearFunction(lambda x, p: kernel * x, (D,))

    same = problem(operator=blur(np.ones(D))).fingerprint()
    assert problem(operator=blur(np.ones(D))).fingerprint() == same
    assert problem(operator=blur(2 * np.ones(D))).fingerprint() != same
    assert problem(operator=LinearFunction(lambda x, p: 2 * x, (D,))).fingerprint() != same


SCRIPT = """
import numpy as np
from dichroic.problem import load_problem
print(load_problem({path!r}, allow_code=True).problem.fingerprint())
"""


@pytest.mark.slow
def test_fingerprints_are_the_same_in_another_process(tmp_path):
    np.save(tmp_path / "y.npy", Y)
    (tmp_path / "mine.py").write_text("def double(x, parameters):\n    return 2 * x\n")
    path = tmp_path / "problem.toml"
    path.write_text(
        'sources.a.shape = [4]\n[views.v]\ny = "y.npy"\nnoise = 0.1\nmixing.a = { function = "mine.py:double" }\n'
    )
    script = SCRIPT.format(path=str(path))
    found = {
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(found) == 1


def test_a_bound_problem_traces():
    mask = np.ones((N, D), bool)
    mask[2, 1] = False
    observations = problem(operator=PerSample(np.ones(N)), observed=mask).views["v"].observations

    def residual(i, x):
        one = take(observations, i)
        return one.likelihood.whiten(jnp.asarray(one.y) - one.mixing["a"](x))

    out = jax.jit(jax.vmap(residual, in_axes=(0, None)))(jnp.arange(N), jnp.zeros(D))
    np.testing.assert_allclose(out, np.where(mask, Y, 0) / 0.1, rtol=1e-5)
