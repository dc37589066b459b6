"""The law of the mixtures: what its parts are exactly, and one fit by it from end to end."""

import sys
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.algebra import Gaussian
from dichroic.closed import GaussianFit
from dichroic.diagnose import Budget, LearnedModel
from dichroic.diffusion import Scaling
from dichroic.diffusion.networks.conv import ConvConfig, fold, unfold
from dichroic.law import LearnedPosterior, MixturesConfig, find_contrast, load_rounds, rounds, save_rounds
from dichroic.law.conditional import Known, ViewDenoiser, evidence
from dichroic.law.critic import CriticConfig, FlowConfig, area, area_error, flow
from dichroic.law.rounds import held_rows
from dichroic.operators import Mask, PerSample
from dichroic.plan import estimate_costs
from dichroic.plan.mixtures import MixturesTimes, time_mixtures
from dichroic.posterior import observation_keys
from dichroic.problem import Problem, Source, View
from dichroic.run import Run, RunError, diagnose, fit, judged, widths
from dichroic.settings import FitConfig

LENGTH, NOISE = 16, 0.1
TINY = MixturesConfig(
    rounds=1,
    start_steps=3,
    steps=3,
    batch=4,
    pairs=16,
    backgrounds=2,
    draw_steps=3,
    moves=25,
    critic_batch=8,
    alone=(25, 25),
    held=16,
    channels=(4, 4),
    depth=1,
)


def problem(n: int = 72, amplitude: float = 0.5, seed: int = 0) -> Problem:
    """Pulses over random walks, and the walks alone; of one size, so that all that is learned shares its programs."""
    rng = np.random.default_rng(seed)
    walks = rng.normal(size=(2 * n, LENGTH)).cumsum(1) / 4
    pulses = np.zeros((n, LENGTH))
    for pulse, place in zip(pulses, rng.integers(1, LENGTH - 3, n), strict=True):
        pulse[place : place + 3] = 1
    y = walks + NOISE * rng.normal(size=walks.shape)
    y[n:] += amplitude * pulses
    sources = {"walk": Source((LENGTH,)), "pulse": Source((LENGTH,), range=(0, 1))}
    mixed = View(y[n:], {"walk": 1.0, "pulse": amplitude}, NOISE, truth={"pulse": pulses})
    return Problem(sources, {"alone": View(y[:n], {"walk": 1.0}, NOISE), "both": mixed})


@pytest.fixture(scope="module", autouse=True)
def in_single_precision():
    """On every machine, or the tests would run other programs on those that multiply in bfloat16."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sys.modules["dichroic.law.rounds"], "has_half", lambda: False
        )  # the package has a function `rounds`
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = FitConfig(law="mixtures", mixtures=TINY, draws=2, mean_share=1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dichroic.run.mixtures.BEYOND", -1.0)  # a network of three steps is kept, too
        return fit(problem(), config, out=tmp_path_factory.mktemp("law") / "run", held_out=problem(24, seed=1))


@pytest.fixture(scope="module")
def learned(run):
    scaling = run.posteriors["both"].contrast.scaling  # that of the fit, whose programs serve
    contrast = find_contrast(problem(), "pulse", scaling)
    assert contrast is not None
    return contrast, *rounds(contrast, TINY, key=jax.random.key(0))


@pytest.mark.parametrize("shape", [(8, 12, 3), (8, 3)])
def test_folding_loses_nothing(shape):
    x = jax.random.normal(jax.random.key(0), shape)
    axes = len(shape) - 1
    folded = fold(x, axes)
    assert folded.shape == (*(side // 2 for side in shape[:-1]), 2**axes * shape[-1])
    np.testing.assert_array_equal(unfold(folded, axes), x)


@pytest.mark.parametrize("shape", [(7, 10, 2), (9,)])
def test_convolutions_by_all_routes_are_the_same(shape):
    network = ConvConfig(channels=(4, 4), depth=1).build(shape, key=jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), shape)
    found = []
    for route in ("library", "explicit"):
        found.append(eqx.filter_jit(network.by(route))(x, jnp.asarray(0.3)))
    assert found[0].shape == shape
    np.testing.assert_allclose(*found, atol=1e-5)


def test_area_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    real, simulated = rng.normal(0.5, 1, 30), rng.normal(0, 1, 40)
    assert area(real, simulated) == pytest.approx((real[:, None] > simulated).mean())


@pytest.mark.slow
def test_a_flow_that_lowers_nothing_leaves_the_pool(learned):
    contrast, _, state = learned
    truth = np.asarray(contrast.scaling.to_scaled(problem().views["both"].truth["pulse"]), np.float32)
    how = FlowConfig(CriticConfig(TINY.critic_batch, precise=True), step=TINY.move, warm=TINY.alone, most=75)
    moved = flow(contrast, truth, held_rows(contrast, TINY), how, key=jax.random.key(1))
    assert not moved.use and moved.trace[-1][0] == 75  # it did move, in vain
    np.testing.assert_array_equal(moved.pool, truth)
    record, held = state.records[-1], len(held_rows(contrast, TINY))
    assert record["use"] == (record["area_before"] - record["area_after"] > area_error(held))
    assert area_error(1000) == pytest.approx(np.sqrt(1 / 6000), rel=1e-3)


def test_a_contrast_is_found_by_its_backgrounds():
    contrast = find_contrast(problem(), "pulse", Scaling())
    assert contrast is not None
    assert (contrast.view, contrast.alone) == ("both", "alone")
    assert find_contrast(problem(), "walk", Scaling()) is None
    # what the signal is made of comes back from it
    x = jax.random.uniform(jax.random.key(0), (LENGTH,))
    np.testing.assert_allclose(contrast.back(contrast.signal(x, 0), 0)[0], x, rtol=1e-5)
    y = contrast.y * contrast.unit + contrast.centre
    np.testing.assert_allclose(y, problem().views["both"].y, rtol=1e-5, atol=1e-6)


def test_backgrounds_are_of_the_kind_of_the_observation():
    n = 160
    rng = np.random.default_rng(1)
    gains = np.where(np.arange(n) % 2, 1.0, 3.0)[:, None] * np.ones((n, LENGTH))
    walks = rng.normal(size=(2 * n, LENGTH))
    gain = PerSample(Mask(gains))
    sources = {"walk": Source((LENGTH,)), "pulse": Source((LENGTH,))}
    views = {
        "alone": View(gains * walks[:n], {"walk": gain}, NOISE),
        "both": View(gains * walks[n:], {"walk": gain, "pulse": 1.0}, NOISE),
    }
    contrast = find_contrast(Problem(sources, views), "pulse", Scaling())
    assert contrast is not None
    assert list(contrast.count) == [n // 2, n // 2]
    keys = jax.random.split(jax.random.key(0), 40)
    strong = [float(jnp.abs(contrast.beside(0, key)).mean()) for key in keys]
    weak = [float(jnp.abs(contrast.beside(1, key)).mean()) for key in keys]
    assert np.mean(strong) == pytest.approx(3 * np.mean(weak), rel=0.15)


def test_without_a_network_the_denoiser_weighs_two_estimates():
    contrast = find_contrast(problem(), "pulse", Scaling())
    assert contrast is not None
    denoiser = ViewDenoiser.create(contrast, TINY.network, precise=True, key=jax.random.key(0))
    silent = jax.tree.map(jnp.zeros_like, denoiser.network.last)
    denoiser = eqx.tree_at(lambda d: (d.network.last, d.tau), denoiser, (silent, jnp.asarray([0.5])))
    x_t, e = jax.random.normal(jax.random.key(1), (2, LENGTH))
    known = Known(e, e, jnp.ones(LENGTH), jnp.asarray(0))
    expected = (x_t / 0.2**2 + e / 0.5**2) / (1 / 0.2**2 + 1 / 0.5**2)
    np.testing.assert_allclose(denoiser(x_t, jnp.asarray(0.2), known), expected, rtol=1e-5, atol=1e-6)


def test_what_is_kept_of_a_round_is_all_of_it(learned, tmp_path):
    contrast, _, state = learned
    save_rounds(state, tmp_path / "rounds.safetensors")
    again = load_rounds(tmp_path / "rounds.safetensors", contrast, TINY)
    assert again.records == state.records
    for a, b in zip(
        jax.tree.leaves((again.pool, again.denoiser)), jax.tree.leaves((state.pool, state.denoiser)), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_rounds_that_were_interrupted_go_on(learned):
    contrast, first, state = learned
    *_, again = rounds(contrast, TINY, first, key=jax.random.key(0))
    np.testing.assert_array_equal(again.pool, state.pool)


def test_a_learned_posterior_is_for_the_operators_it_was_learned_from(learned, tmp_path):
    contrast, _, state = learned
    LearnedPosterior.of(contrast, state, TINY).save(tmp_path / "both.safetensors")
    posterior = LearnedPosterior.load(tmp_path / "both.safetensors")
    view = problem().views["both"]
    assert len(posterior.contrast.of(view)) == len(view)
    with pytest.raises(ValueError, match="sample 0"):
        posterior.contrast.of(replace(view, noise=2 * NOISE).bind(problem().sources))


def test_a_learned_posterior_has_a_mean_by_regression(learned):
    contrast, _, state = learned
    silent = jax.tree.map(jnp.zeros_like, state.denoiser.network.last)  # then it is the first estimate
    state = replace(state, denoiser=eqx.tree_at(lambda d: d.network.last, state.denoiser, silent))
    view, key = problem().views["both"], jax.random.key(3)
    white = Gaussian(np.zeros(LENGTH), np.zeros((LENGTH, 0)), np.zeros(0), 1.0)
    priors = {"walk": GaussianFit({"walk": white}, [], True).prior("walk", (LENGTH,), FitConfig().schedule)}
    bound = LearnedPosterior.of(contrast, state, TINY).bind(view, {**priors, "pulse": priors["walk"]}, key=key)
    mean = bound.mean()
    assert list(mean) == ["walk", "pulse"]
    known = evidence(bound.contrast, state.regression, bound.contrast.y, np.arange(len(view)), times=2, key=key)
    expected = contrast.scaling.to_user(known.estimate)
    np.testing.assert_allclose(mean["pulse"], expected, atol=4 * 0.4 * float(state.denoiser.tau[0]) ** 2 / 16)
    # the walk has all that the pulse leaves, less the share of the noise
    np.testing.assert_allclose(mean["walk"], (view.y - 0.5 * mean["pulse"]) / (1 + NOISE**2), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_fit_by_the_law_ends_with_draws_that_fit_the_data(run):
    separated = run.separate(problem(), draws=2, share=1.0)
    draws = separated.draws("both", "pulse")
    assert draws.shape == (72, 2, LENGTH)
    assert draws.min() >= 0 and draws.max() <= 1
    # whatever the pulse, the walk takes up what it leaves
    assert 0.2 < np.mean(separated.chi_square["both"]) < 2
    again = Run(run.path, problem=problem()).separate(problem(), draws=2, share=1.0)
    np.testing.assert_array_equal(again.draws("both", "pulse"), draws)
    assert [record["lap"] for record in run.records] == [0, 1]
    (found,) = judged(run.records)
    assert found.view == "both" and 0 < found.area < 1 and found.first != found.area
    # what is diagnosed is what `separate` draws from; one half of the data has another noise
    view, key = problem().views["both"], jax.random.key(3)
    model = LearnedModel(run.priors, run.config.sampling, run.posteriors)
    bound = run.posteriors["both"].bind(view, run.priors, key=key)
    np.testing.assert_array_equal(
        model.given("both", view)(key)["pulse"], bound.draw(observation_keys(key, len(view))).samples["pulse"]
    )
    checked = diagnose(run, problem(), budget=Budget(fission=(64, 2)), checks=["fission"])
    (note,) = checked.results["fission"].notes
    assert (note.where, note.code) == ("view 'both'", "DC292") and "learned posterior" in note.text
    (width,) = widths(run.records)
    assert (width.view, width.source) == ("both", "pulse") and 0 <= width.half <= width.most <= 1
    assert width.sentence and width.sentence in checked.verdict.reasons


def test_a_plan_prices_the_rounds(monkeypatch):
    """Every piece takes a second."""
    monkeypatch.setattr("dichroic.plan.cost.time_mixtures", lambda *_: MixturesTimes(*[1.0] * 8, weights=100))
    config = FitConfig(law="mixtures", mixtures=TINY, draws=2, mean_share=1.0)
    found = estimate_costs(problem(96), {"own": config}, held_out=0.25)["own"]
    observations, held = 72, 24
    assert found.laps == 1
    assert found.seconds == {
        "Gaussian stage": 1,
        "compiling": 1,
        "first estimate": 3 + observations,
        "flows of the pool": 25 + 25,
        "conditional denoiser": 3 + 16,
        "draws of the pool": 2 * observations,
        "last judge": 2 * 25,
        "widths of draws": 128 * (19 + 1),
        "prior": 3,
        "final draws": held * (1 + 2),
    }
    assert found.optimizer_steps == 3 * 3
    assert found.evaluations == (observations + 2 * held) * (3 + 2)


@pytest.mark.slow
def test_pieces_of_rounds_are_timed():
    config = FitConfig(law="mixtures", mixtures=TINY)
    contrast = find_contrast(problem(), "pulse", Scaling())
    assert contrast is not None
    said: list[str] = []
    times = time_mixtures(contrast, problem(), config, said.append)
    assert len(said) == 7 and times.weights > 1000
    assert all(0 < seconds < 60 for name, seconds in vars(times).items() if name not in ("compiling", "weights"))


def test_the_law_is_not_for_views_that_show_nothing_alone():
    views = {"both": problem().views["both"]}
    with pytest.raises(RunError, match="adds one real source"):
        fit(Problem(problem().sources, views), FitConfig(law="mixtures", allow_unidentified=True), out="unused")
