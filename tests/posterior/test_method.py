"""Methods as settings: what is in the lists is read, written and drawn with unasked, and old tables become new ones."""

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pydantic import Field, PositiveFloat, ValidationError

from dichroic.algebra import Info
from dichroic.diffusion import DDIM, STEPS, Cost, Decoupled, Denoiser, PredictorCorrector, Target, pure_noise
from dichroic.operators import take
from dichroic.posterior import METHODS, TARGETS, Annealed, Auto, ClosedForm, MomentMatching, observation_keys
from dichroic.posterior import read_method as read
from dichroic.posterior.annealed import AnyStep
from dichroic.settings import FitConfig, preset
from dichroic.white import WhitenedObservation
from golden_cases import N, gaussian_priors, golden_view, opaque_priors

# all that an older version wrote for a fit
OLD = {
    **{"step": "decoupled", "steps": 24, "warm_steps": 8, "restart": 1.0, "refresh": 0.1, "cold_laps": 2},
    **{"posterior": "auto", "iterations": 4, "root_iterations": 4, "components": 512, "tuples": 4096},
    **{"finish_steps": 2, "rounds": 0, "handover": 0.5, "pair_steps": 4096, "pair_batch": 512, "pair_width": 256},
    **{"corrections": 1, "tau": 0.1},
}
LAST = {"kind": "annealed", "steps": 2}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {"kind": "auto"}),
        ({"posterior": "best", "components": 64}, {"kind": "auto", "candidates": True, "components": 64}),
        ({"posterior": "krylov", "iterations": 1}, {"kind": "annealed", "covariance": "krylov", "iterations": 1}),
        ({"step": "pc", "tau": 0.2, "posterior": "exact"}, {
            "kind": "annealed", "covariance": "exact", "step": {"kind": "pc", "tau": 0.2},
        }),
        ({"posterior": "candidates"}, {"kind": "handover", "first": "candidates", "then": LAST, "at": 0.1}),
        ({"posterior": "candidates", "finish_steps": 0}, {"kind": "candidates"}),
        ({"posterior": "amortised", "handover": 0.3}, {
            "kind": "handover", "first": "amortised", "then": LAST, "at": 0.3,
        }),
        ({"rounds": 3, "batch": 7}, {"kind": "gibbs", "rounds": 3, "inner": "annealed", "batch": 7}),
    ],
)  # fmt: skip
def test_old_tables_become_new_ones(old, new):
    with pytest.warns(UserWarning, match=f"settings of an older version: .* became kind = .{new['kind']}"):
        found = read({**OLD, **old})
    assert found == read(new)


def test_old_settings_are_laid_over_a_preset():
    with pytest.warns(UserWarning, match="tau = 0.08 became"):
        found = preset("ddprism", {"sampling": {"tau": 0.08}})
    assert found == preset("ddprism", {"sampling": {"step": {"tau": 0.08}}})
    assert found.sampling.step == PredictorCorrector(1, 0.08)  # pyright: ignore
    with pytest.warns(UserWarning, match="rounds = 8 became"):
        found = preset("ddprism-gibbs", {"sampling": {"rounds": 8, "steps": 3}})
    assert found == preset("ddprism-gibbs", {"sampling": {"rounds": 8, "inner": {"steps": 3}}})


@pytest.mark.parametrize("kind", METHODS)
def test_every_method_is_written_and_read(kind):
    method = read({"kind": kind, **({"first": "candidates"} if kind == "handover" else {}), "batch": 3})
    if method.returns == "draws" and method.in_laps:  # a fit takes no other
        config = FitConfig(sampling=method)
        assert FitConfig.model_validate(config.model_dump(mode="json", exclude_none=True)) == config
    assert hash(method) == hash(read(method.model_dump(mode="json", exclude_none=True)))
    assert method.title


class Pulled(Target):
    """The priors' means, pulled to the data by one gradient step."""

    denoisers: dict[str, Denoiser]
    observation: WhitenedObservation
    scale: float

    def mean(self, x_t, sigma):
        D = {s: denoiser(x_t[s], sigma) for s, denoiser in self.denoisers.items()}
        pull = self.observation.adjoint(self.observation.y - self.observation.forward(D))
        return jax.tree.map(lambda d, g: d + self.scale * sigma**2 / (1 + sigma**2) * g, D, pull), Info.none()

    def start(self, sigma, key):
        return pure_noise(key, self.observation.shapes, sigma, self.observation.dtype)

    @property
    def mean_cost(self):
        return Cost(1)


class Pull(Annealed):
    """A target that a user may add: one file, one entry."""

    kind: Literal["annealed"] = "annealed"
    target: Literal["pulled"] = "pulled"
    step: AnyStep = Field(default_factory=DDIM)
    scale: PositiveFloat = 0.01

    def build(self, denoisers, observation, alike):
        return Pulled(denoisers, observation, self.scale)


class Halved(DDIM):
    """A step that a user may add."""

    share: float = 0.5


def test_a_new_target_and_a_new_step_are_known_unasked(monkeypatch):
    monkeypatch.setitem(TARGETS, "pulled", Pull)
    monkeypatch.setitem(STEPS, "halved", Halved)
    table = {
        "kind": "annealed",
        "target": "pulled",
        "scale": 0.02,
        "steps": 3,
        "step": {"kind": "halved", "share": 0.25},
    }
    config = FitConfig.model_validate({"sampling": table})
    assert FitConfig.model_validate(config.model_dump(mode="json", exclude_none=True)) == config
    assert isinstance(config.sampling, Pull) and config.sampling.step == Halved(share=0.25)
    bound = config.sampling.bind(golden_view(), opaque_priors(), key=jax.random.key(0))
    drawn = bound.draw(observation_keys(jax.random.key(0), N))
    assert drawn.cost == Cost(4) and np.isfinite(drawn.chi_square).all()
    with pytest.raises(ValidationError, match="step 'decoupled' asks for draws, and target 'pulled' has only a mean"):
        read({**table, "step": "decoupled"})


class Point(ClosedForm):
    """A method that gives a single answer."""

    returns: ClassVar[Literal["draws", "estimate"]] = "estimate"


def test_what_gives_no_draws_is_refused_where_draws_are_needed():
    from dichroic.diagnose import LearnedModel

    with pytest.raises(ValidationError, match="gives one estimate per observation, and EM learns from draws"):
        FitConfig(sampling=Point())
    with pytest.raises(ValueError, match="gives one estimate per observation; checks of calibration need draws"):
        LearnedModel({}, Point())


def test_what_cannot_be_had_is_refused_in_words():
    view, key = golden_view(), jax.random.key(0)
    with pytest.raises(ValueError, match=r"no closed form .*: the prior of source 'b' is neither a Gaussian nor"):
        ClosedForm().bind(view, opaque_priors(), key=key)
    with pytest.raises(ValueError, match=r"needs a covariance for source '[ab]', and its prior has none"):
        MomentMatching(covariance="surrogate").bind(view, opaque_priors(), key=key)
    with pytest.raises(ValueError, match="no prior for source 'b'"):
        Auto().bind(view, {}, key=key)
    for table, match in (
        ({"kind": "magic"}, "unknown kind 'magic'; known: auto, annealed, closed_form, candidates"),
        ({"kind": "annealed", "target": "magic"}, "unknown target 'magic'; known: moments"),
        ({"step": "magic"}, "unknown step 'magic'; known: ddim, ancestral"),
        ({"step": {"kind": "pc", "size": 2}}, "step 'pc' has no setting 'size'; it has: corrections, tau"),
        ({"step": {"kind": "pc", "tau": -1}}, "tau is to be a positive number, got -1"),
        ({"kind": "handover", "first": "gibbs"}, "method 'gibbs' does not go through noise levels"),
        ({"kind": "gibbs", "inner": "amortised"}, "method 'amortised' draws all sources together"),
    ):
        with pytest.raises(ValueError, match=match):
            read(table)


def test_the_posterior_of_one_observation_is_what_a_view_of_it_draws():
    view, priors, key = golden_view(), gaussian_priors(), jax.random.key(5)
    method = MomentMatching(steps=3, step=Decoupled())
    keys = observation_keys(key, N)
    drawn = method.bind(view, priors, key=key).draw(keys)
    shapes = {s: prior.shape for s, prior in priors.items()}
    whitened = WhitenedObservation.of(take(view.observations, 2), {s: p.scaling for s, p in priors.items()}, shapes)
    denoisers = {s: prior.denoiser() for s, prior in priors.items()}
    posterior = method.posterior(denoisers, whitened, priors["a"].schedule)  # pyright: ignore
    z, _ = posterior.sample(keys[2])
    for s, prior in priors.items():
        np.testing.assert_allclose(prior.scaling.to_user(z[s]), drawn.samples[s][2], rtol=1e-4, atol=1e-5)
    again, _ = posterior.sample(keys[2], start=z)
    assert not np.allclose(jnp.asarray(again["a"]), z["a"])
