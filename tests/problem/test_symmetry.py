"""What is known about a source beforehand: said, refused where it does not fit, kept in files, and used on samples."""

import json
from itertools import permutations as orders
from math import inf

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.problem import Problem, ProblemError, Source, View, describe_source, load_problem, save_problem

SHAPES = {"series": (6,), "image": (4, 4, 1), "colours": (3, 3, 2), "plain": (3, 3)}


def said(**known):
    return Source((4, 4, 1), **known)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("dtype", [float, complex])
def test_permutations_make_a_group(shape, dtype):
    square = len(shape) > 1
    source = Source(shape, dtype=dtype, symmetry=["flip", "rotate"] if square else ["flip"])
    group = source.permutations
    assert len(group) == (8 if square else 2)
    assert (group[0] == np.arange(source.size * (2 if source.is_complex else 1))).all()
    known = {g.tobytes() for g in group}
    assert len(known) == len(group)
    for a, b in orders(group, 2):
        assert a[b].tobytes() in known and np.argsort(a).tobytes() in known


@pytest.mark.parametrize("symmetry, size", [([], 1), (["flip"], 4), (["rotate"], 4), (["shift"], 1)])
def test_sizes_of_groups(symmetry, size):
    assert len(said(symmetry=symmetry).permutations) == size
    assert said(symmetry=symmetry).stationary == ("shift" in symmetry)


def test_flips_and_turns_do_what_they_say():
    x = np.random.default_rng(0).normal(size=(4, 4, 1))
    found = {tuple(x.ravel()[g]) for g in said(symmetry=["flip"]).permutations}
    assert found == {tuple(v.ravel()) for v in (x, x[::-1], x[:, ::-1], x[::-1, ::-1])}
    found = {tuple(x.ravel()[g]) for g in said(symmetry=["rotate"]).permutations}
    assert found == {tuple(np.rot90(x, k).ravel()) for k in range(4)}


@pytest.mark.parametrize("symmetry", [["flip"], ["rotate"], ["flip", "rotate"]])
def test_augmented_samples_are_of_the_group_and_equally_likely(symmetry):
    source = said(symmetry=symmetry)
    x = jnp.arange(16.0).reshape(4, 4, 1)
    n = 400 * len(source.permutations)
    moved = jax.jit(jax.vmap(lambda key: source.augment(x, key)))(jax.random.split(jax.random.key(0), n))
    found, counts = np.unique(np.asarray(moved).reshape(n, -1), axis=0, return_counts=True)
    expected = np.unique(source.permutations, axis=0)
    np.testing.assert_array_equal(found, expected)
    assert (np.abs(counts - 400) < 5 * np.sqrt(400)).all()


def test_a_shift_leaves_samples_where_they_are():
    x = jnp.arange(6.0)
    np.testing.assert_array_equal(Source((6,), symmetry="shift").augment(x, jax.random.key(1)), x)


def test_clip_is_the_nearest_sample_in_the_range():
    x = np.array([-1.0, 0.5, 3.0])
    assert Source((3,)).clip(x) is x
    np.testing.assert_array_equal(Source((3,), range=[0, 1]).clip(x), [0, 0.5, 1])
    np.testing.assert_array_equal(Source((3,), positive=True).clip(jnp.asarray(x)), [0, 0.5, 3])


@pytest.mark.parametrize(
    "given, expected",
    [
        ({"range": [0, 1]}, (0, 1)),
        ({"range": (None, 2.5)}, (-inf, 2.5)),
        ({"range": [0, inf]}, (0, inf)),
        ({"positive": True}, (0, inf)),
        ({"range": [None, 3], "positive": True}, (0, 3)),
        ({"range": [1, 3], "positive": True}, (1, 3)),
        ({}, None),
    ],
)
def test_ways_to_say_a_range(given, expected):
    assert said(**given).range == expected


FAULTS = {
    "unknown": ({"symmetry": ["flips"]}, "unknown 'flips'; known: 'flip', 'rotate', 'shift'; did you mean 'flip'?"),
    "no list": ({"symmetry": 3}, "expected some of 'flip', 'rotate', 'shift', got 3"),
    "oblong": ({"shape": (4, 5, 1), "symmetry": ["rotate"]}, r"needs square images.* got \(4, 5, 1\)"),
    "series": ({"shape": (4,), "symmetry": ["rotate"]}, r"needs square images.* got \(4,\)"),
    "one end": ({"range": [1]}, r"expected the least and the largest value, .* got \[1\]"),
    "reversed": ({"range": [1, 0]}, r"got \[1, 0\]"),
    "words": ({"range": ["a", "b"]}, r"got \['a', 'b'\]"),
    "number": ({"range": 1}, "got 1"),
    "NaN": ({"range": [0, float("nan")]}, r"got \[0, nan\]"),
    "contradiction": ({"range": [-1, 1], "positive": True}, r"\[-1, 1\] is not that of a positive source"),
    "yes": ({"positive": "yes"}, "expected true or false, got 'yes'"),
    "complex": ({"dtype": complex, "range": [0, 1]}, "complex numbers have no order"),
}


@pytest.mark.parametrize("given, expected", FAULTS.values(), ids=FAULTS)
def test_what_does_not_fit_is_refused(given, expected):
    with pytest.raises(ProblemError, match=expected):
        Source(**{"shape": (4, 4, 1), **given})


def test_all_faults_are_told_and_where(tmp_path):
    np.save(tmp_path / "y.npy", np.zeros((3, 4)))
    (tmp_path / "problem.toml").write_text(
        '[sources.spot]\nshape = [4]\nsymmetry = ["rotate"]\nrange = [2, 1]\n'
        '[views.v]\ny = "y.npy"\nnoise = 1.0\nmixing = { spot = 1.0 }\n'
    )
    with pytest.raises(ProblemError) as caught:
        load_problem(tmp_path)
    first, second, *_ = caught.value.faults
    assert first.startswith("source 'spot': Source: symmetry: 'rotate' needs")
    assert second.startswith("source 'spot': Source: range: expected")


def test_another_word_is_understood(tmp_path):
    (tmp_path / "problem.toml").write_text("[sources.spot]\nshape = [4]\nbounds = [0, 1]\n[views]\n")
    with pytest.raises(ProblemError, match="did you mean 'range'"):
        load_problem(tmp_path)


def test_it_comes_back_from_files(tmp_path):
    source = Source((4, 4, 1), symmetry=["rotate", "flip"], positive=True)
    problem = Problem({"a": source}, {"v": View(np.zeros((2, 4, 4, 1)), {"a": 1.0}, 1.0)})
    again = load_problem(save_problem(problem, tmp_path)).problem
    assert again.sources["a"].symmetry == ("flip", "rotate") and again.sources["a"].range == (0, inf)
    assert again.fingerprint() == problem.fingerprint()
    plain = Problem({"a": Source((4, 4, 1))}, problem.views)
    assert plain.fingerprint() != problem.fingerprint()
    told = json.loads(json.dumps(describe_source(source), allow_nan=False))
    assert told["symmetry"] == ["flip", "rotate"] and told["range"] == [0, None]


def test_new_observations_are_known_of_as_the_first_were():
    view = {"v": View(np.zeros((2, 4)), {"a": 1.0}, 1.0)}
    said, silent, other = (
        Problem({"a": Source((4,), **known)}, view) for known in ({"positive": True}, {}, {"range": [0, 1]})
    )
    assert silent.knowing(said.sources).sources["a"].range == (0, inf)
    assert other.knowing(said.sources).sources["a"].range == (0, 1)
    assert silent.knowing({"a": Source((5,), positive=True)}).sources["a"].range is None
