import numpy as np
import pytest

from dichroic.baselines import MeanSubtraction
from dichroic.operators import BlockProject, PerSample, Scale
from dichroic.problem import Problem, Source, View
from dichroic.studies.experiments import contrastive, oracle_wiener


def blocks(n, seed):
    rng = np.random.default_rng(seed)
    factor = rng.permutation(np.resize([1, 2], n))
    grass, digit = rng.normal(1, 1, (n, 4, 4, 1)), rng.normal(2, 1, (n, 4, 4, 1))
    project = BlockProject(factor, (1, 2), (4, 4, 1))
    half = Scale(np.full(n, 0.5), (4, 4, 1))

    def clean(x):
        coarse = x.reshape(n, 2, 2, 2, 2, 1).mean((2, 4)).repeat(2, 1).repeat(2, 2)
        return np.where(factor[:, None, None, None] == 1, x, coarse)

    noise = 0.1 * rng.normal(size=(2, n, 4, 4, 1))
    views = {
        "grass": View(clean(grass) + noise[0], {"grass": PerSample(project)}, 0.1, truth={"grass": grass}),
        "mix": View(
            clean(grass + 0.5 * digit) + noise[1],
            {"grass": PerSample(project), "digit": PerSample(project @ half)},
            0.1,
            truth={"grass": grass, "digit": digit},
        ),
    }
    return Problem({"grass": Source((4, 4, 1)), "digit": Source((4, 4, 1))}, views)


def test_mean_subtraction_undoes_what_can_be_undone():
    problem = blocks(4000, 0)
    view = problem.views["mix"]
    estimate = MeanSubtraction.fit(problem).separate(problem).mean("mix", "digit")
    full = view.mixing["grass"].value.factor == 1
    np.testing.assert_allclose(estimate[full], (view.y[full] - 1) / 0.5, atol=0.2)  # the mean of 4000 numbers
    coarse = estimate[~full]
    np.testing.assert_allclose(coarse[:, 0, 0], coarse[:, 1, 1], atol=1e-5)


def test_wiener_filter_is_the_linear_regression_of_the_truth():
    problem, held_out = blocks(6000, 0), blocks(6000, 1)
    estimate = oracle_wiener(problem, held_out).estimate
    view, train = held_out.views["mix"], problem.views["mix"]
    for factor in (1, 2):
        fit, use = (v.mixing["grass"].value.factor == factor for v in (train, view))
        Y = np.column_stack([np.ones(fit.sum()), train.y[fit].reshape(-1, 16)])
        B = np.linalg.lstsq(Y, train.truth["digit"][fit].reshape(-1, 16), rcond=1e-6)[0]
        other = np.column_stack([np.ones(use.sum()), view.y[use].reshape(-1, 16)]) @ B
        error = [
            np.mean((e.reshape(-1, 16) - view.truth["digit"][use].reshape(-1, 16)) ** 2) for e in (estimate[use], other)
        ]
        assert error[0] == pytest.approx(error[1], rel=0.02)
        assert error[0] < 1


def test_matrices_that_differ_from_sample_to_sample():
    problem, held_out = contrastive(500, held_out=20)
    result = oracle_wiener(problem, held_out, "source2", "view2", peak=4.0)
    assert result.estimate.shape == (20, 5)
    assert 10 < result.psnr < 30


def test_what_is_missing_is_named():
    problem, held_out = contrastive(20, held_out=20)
    bare = Problem(problem.sources, {k: View(v.y, v.mixing, v.noise) for k, v in problem.views.items()})
    with pytest.raises(ValueError, match="no truth for"):
        oracle_wiener(bare, held_out, "source2", "view2")
