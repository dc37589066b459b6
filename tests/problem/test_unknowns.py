"""Unknown parameters of an instrument: where they may stand, in Python and in problem files."""

import numpy as np
import pytest

from dichroic import Dense, PerSample, Problem, Source, Unknown, View, load_problem, save_problem
from dichroic.faults import ProblemError
from dichroic.operators import DiagonalNoise

N, D = 6, 3
Y = np.random.default_rng(0).normal(size=(N, D))
SOURCES = {s: Source((D,)) for s in "abc"}


def problem():
    mixing = {"a": Unknown(1.0, 0.1), "b": PerSample(Unknown(1.0, 0.2)), "c": Dense(Unknown(np.eye(D)))}
    return Problem(SOURCES, {"v": View(Y, mixing, "learn")})


def test_what_is_unknown_stands_at_its_value():
    view = problem().views["v"]
    assert set(view.unknowns) == {"mixing.a", "mixing.b", "mixing.c", "noise"}
    assert view.mixing["a"].factor == 1.0 and np.array_equal(view.mixing["c"].matrix, np.eye(D))
    assert [name for name, unknown in view.unknowns.items() if unknown.learned] == ["mixing.c", "noise"]
    assert view.noise.std == pytest.approx(np.std(Y) / 2)
    few = view.select(np.array([4, 1]))
    assert few.unknowns["mixing.b"].value.shape == (2,) and len(few.mixing["b"]) == 2


def test_an_instrument_at_other_values():
    view = problem().views["v"]
    found = view.at({"noise": 2.0, "mixing.a": 3.0, "mixing.b": np.arange(N)})
    assert list(found.unknowns) == ["mixing.c"]
    assert found.noise.std == pytest.approx(2 * view.noise.std)
    assert found.mixing["a"].factor == 3.0 and np.array_equal(found.mixing["b"].value.factor, np.arange(N))


def test_a_saved_problem_keeps_them(tmp_path):
    path = save_problem(problem(), tmp_path)
    assert load_problem(path).problem.fingerprint() == problem().fingerprint()
    known = Problem(SOURCES, {"v": problem().views["v"].at({"mixing.a": 1.0})})
    assert known.fingerprint() != problem().fingerprint()


FILE = """
sources = {{ a = {{ shape = [3] }}, b = {{ shape = [3] }} }}
[views.v]
y = "x.npz:y"
noise = {noise}
mixing.a = {a}
mixing.b = 1.0
"""


def read(folder, noise="0.1", a="1.0"):
    np.savez(folder / "x.npz", y=Y)
    (folder / "problem.toml").write_text(FILE.format(noise=noise, a=a))
    return load_problem(folder).problem.views["v"]


def test_words_of_a_problem_file(tmp_path):
    assert read(tmp_path, noise='"learn"').unknowns["noise"].learned
    assert read(tmp_path, noise='{ std = 0.3, scale = "learn" }').noise == DiagonalNoise(0.3)
    assert read(tmp_path, a='{ scale = "learn" }').unknowns["mixing.a"].learned
    one = read(tmp_path, a="{ scale = { value = 1.0, std = 0.1 } }").unknowns["mixing.a"]
    assert (one.value, one.std, one.per_sample) == (1.0, 0.1, False)
    each = read(tmp_path, a="{ scale = { value = 1.0, std = 0.1 }, per_sample = true }").unknowns["mixing.a"]
    assert each.per_sample and np.array_equal(each.value, np.ones(N))
    chained = read(tmp_path, a='[{ scale = "learn" }, { convolve = [0.25, 0.5, 0.25] }]')
    assert chained.at({"mixing.a": 2.0}).mixing["a"].inner.factor == 2.0


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"a": '{ scale = "learn", per_sample = true }'}, "no other sample tells of"),
        ({"a": '{ convolve = "learn" }'}, "where does learning begin"),
        ({"a": "{ scale = { value = 1.0, std = -0.1 } }"}, "must be positive"),
        ({"noise": '{ student_t = { scale = 0.1, freedom = 3 }, scale = "learn" }'}, "Gaussian noise can be learned"),
        ({"noise": "{ value = 0.1, std = 0.01 }"}, "scale = 'learn'"),
    ],
)
def test_what_cannot_be_unknown(tmp_path, said, fault):
    with pytest.raises(ProblemError) as caught:
        read(tmp_path, **said)
    assert fault in str(caught.value)
