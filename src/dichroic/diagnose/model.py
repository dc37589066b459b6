"""What is believed about the sources: draws from their priors, and from their posteriors given observations.

Every check after a fit knows the sources through these two questions alone, so the same checks judge exact Gaussian
posteriors, whose answers are known, and learned diffusion priors with approximate posteriors.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import numpy as np
import scipy.linalg
from jaxtyping import PRNGKeyArray

from dichroic.algebra import Components, conditional, root
from dichroic.diagnose.white import WhiteView, generator
from dichroic.diffusion import DenoiserPrior, Prior
from dichroic.posterior import Auto, Bound, Method, ViewPosterior, observation_keys
from dichroic.problem import View, blocks_of
from dichroic.score import tweedie_score

__all__ = ["GaussianModel", "LearnedModel", "Model", "PosteriorSampler"]

PosteriorSampler = Callable[[PRNGKeyArray], dict[str, np.ndarray]]

_EXACT = 1024  # numbers of a source with a closed form, up to which its covariances are factorised
_LEVEL = 0.05  # noise at which a denoiser is asked for its score: in single precision less is lost in rounding
_MEMORY = 2**22  # entries of prior draws that are made at once


@runtime_checkable
class Model(Protocol):
    """Priors, and a sampler of their posterior.

    One that has `score(source, x)`, too, the gradients of the log-density of a prior at samples `(n, ...)`, or None,
    can be asked whether draws have the score of their posterior.
    """

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every source."""
        ...

    def sample(self, source: str, n: int, key: PRNGKeyArray) -> np.ndarray:
        """`n` independent draws of a source from its prior, shape `(n, ...)`."""
        ...

    def given(self, name: str, view: View) -> PosteriorSampler:
        """The sampler of all sources of observations of the view of a name: each call gives one joint draw per
        observation, `{source: (n, ...)}`.

        A draw that failed is NaN in every source.

        **Raises:** `ValueError` where that view's sampler is not for these observations, in words.
        """
        ...


@dataclass(frozen=True)
class LearnedModel:
    """Learned priors, with posterior draws as `separate` makes them: by a method, or as `learned` for a view."""

    priors: Mapping[str, Prior]
    sampling: Method = field(default_factory=Auto)
    learned: Mapping[str, ViewPosterior] = field(default_factory=dict)

    def __post_init__(self):
        if self.sampling.returns != "draws":
            raise ValueError(
                f"method {self.sampling.kind!r} gives one estimate per observation; checks of calibration need draws"
            )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every source."""
        return {s: prior.shape for s, prior in self.priors.items()}

    def sample(self, source: str, n: int, key: PRNGKeyArray) -> np.ndarray:
        """Draws from a prior: exact ones of a closed form, those of its own sampler of others."""
        prior = self.priors[source]
        few = isinstance(prior, DenoiserPrior) and int(np.prod(prior.shape)) <= _EXACT
        if few and (law := prior.components()) is not None:
            return _exact(law, n, generator(key)).reshape(n, *prior.shape).astype(np.float32)
        batch = min(n, max(16, _MEMORY // int(np.prod(prior.shape))))
        # whole batches: one program serves all of them
        parts = [np.asarray(prior.sample(batch, key=jax.random.fold_in(key, begin))) for begin in range(0, n, batch)]
        return np.concatenate(parts)[:n]

    def score(self, source: str, x: np.ndarray) -> np.ndarray | None:
        """The score of a prior, smoothed by noise of a twentieth of its width; None where it has no denoiser."""
        denoiser, scaling = self.priors[source].denoiser(), self.priors[source].scaling
        if denoiser is None:
            return None
        z = scaling.to_scaled(np.asarray(x, np.float32))
        return np.asarray(_scores(denoiser, np.asarray(z, np.float32)), float) / scaling.scale

    def given(self, name: str, view: View) -> PosteriorSampler:
        """Draws of the view's learned posterior or of the method, bound at the first of them; NaN where they diverged.

        **Raises:** `ValueError` where the learned posterior is for other operators, noise or missing entries.
        """
        bound: list[Bound] = []
        posterior = self.learned.get(name)
        if posterior is not None:
            posterior.check(view, self.priors)

        def draw(key: PRNGKeyArray) -> dict[str, np.ndarray]:
            if not bound:
                bound.append((posterior or self.sampling).bind(view, self.priors, key=key))
            drawn = bound[0].draw(observation_keys(key, len(view)))
            for x in drawn.samples.values():
                x[drawn.diverged] = np.nan
            return drawn.samples

        return draw


def _exact(law: Components, n: int, rng: np.random.Generator) -> np.ndarray:
    kinds = rng.choice(len(law), n, p=law.weights)
    z, x = rng.standard_normal((n, law.means.shape[1])), np.empty((n, law.means.shape[1]))
    for k in range(len(law)):
        x[kinds == k] = law.means[k] + z[kinds == k] @ root(law.covariances[k]).T
    return x


@dataclass(frozen=True)
class GaussianModel:
    r"""Independent Gaussian sources with their exact posterior,

    .. math:: x = \mu + K (y' - A' \mu) + w P^{1/2} z, \qquad z \sim \mathcal N(0, I) ,

    with the gain `K` and the covariance `P` of :func:`~dichroic.algebra.conditional`, and `w = width`: 1 is exact,
    anything else a sampler that is wrong on purpose, for trying the checks.

    **Arguments:** `means`, `{source: (...)}`; `covariances`, `{source: (d, d)}`, positive definite.
    """

    means: Mapping[str, np.ndarray]
    covariances: Mapping[str, np.ndarray]
    width: float = 1.0

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every source."""
        return {s: np.shape(mean) for s, mean in self.means.items()}

    def sample(self, source: str, n: int, key: PRNGKeyArray) -> np.ndarray:
        """Draws from a prior."""
        mean, L = np.asarray(self.means[source]), np.linalg.cholesky(self.covariances[source])
        return mean + (generator(key).standard_normal((n, mean.size)) @ L.T).reshape(n, *mean.shape)

    def score(self, source: str, x: np.ndarray) -> np.ndarray:
        """The score of a prior."""
        r = (np.asarray(x, float) - self.means[source]).reshape(len(x), -1)
        return -np.linalg.solve(self.covariances[source], r.T).T.reshape(x.shape)

    def given(self, name: str, view: View) -> PosteriorSampler:
        """The exact posterior of a view (its matrices are formed, so the view is to be small)."""
        white = WhiteView(view, self.shapes)
        A, names = white.matrices(), white.sources
        mu = np.concatenate([np.ravel(self.means[s]) for s in names])
        R = scipy.linalg.block_diag(*[root(np.asarray(self.covariances[s])) for s in names])
        K, T = conditional(R, A @ R)
        mean = mu + (K @ (white.y - A @ mu)[..., None])[..., 0]
        # the root of P that is upper triangular
        P = (T @ T.swapaxes(1, 2))[:, ::-1, ::-1]
        upper = np.linalg.cholesky(P)[:, ::-1, ::-1]

        def draw(key: PRNGKeyArray) -> dict[str, np.ndarray]:
            z = generator(key).standard_normal(mean.shape)
            stacked = mean + self.width * (upper @ z[..., None])[..., 0]
            return {s: stacked[:, at].reshape(len(mean), *white.shapes[s]) for s, at in blocks_of(white.shapes).items()}

        return draw


@eqx.filter_jit
def _scores(denoiser, x):
    return jax.vmap(tweedie_score(denoiser, _LEVEL))(x)
