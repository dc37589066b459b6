r"""The contrastive latent variable model with networks (Severson, Ghosh and Ng, AAAI 2019; DDPRISM, appendix).

Every source is decoded from latents of its own, :math:`x_s = D_s(z_s)`, and enters every view through the operator it
has there. An encoder per view and source gives the mean and variance of its latents. The bound

.. math:: \mathrm E_{q(z \mid y)} \Big[ -\tfrac12 \big\| \Sigma^{-1/2} \big( y - \textstyle\sum_s A_{vs} D_s(z_s) \big)
    \big\|^2 \Big] - \sum_s \mathrm{KL}\big(q(z_s \mid y) \,\big\|\, \mathcal N(0, I)\big)

is climbed with one reparameterised draw per observation, every observation counting once.

Two of the published choices can be had by name. `amplitudes = "published"` sends the background of a mixture through
the target's operator, as the published program does for downsampled images: where the target has amplitude one half,
the background is wrong by a factor of two. `encoders = "shared"` has one encoder per source for all views.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from pydantic import PositiveInt

from dichroic.baselines.base import Baseline
from dichroic.baselines.coders import CoderConfig, MLPCoderConfig, make_decoder, make_encoder
from dichroic.baselines.contrast import required_contrasts
from dichroic.baselines.elbo import train_elbo
from dichroic.baselines.features import features, standards
from dichroic.baselines.latents import LatentConfig
from dichroic.closed import GaussianConfig, gaussian_em
from dichroic.diffusion import Cost, Scaling, TrainingConfig
from dichroic.faults import names
from dichroic.problem import Problem, ProblemError, View
from dichroic.white import WhitenedObservation

__all__ = ["CLVMVAE", "CLVMVAEConfig"]


class CLVMVAEConfig(LatentConfig):
    """Settings of `CLVMVAE`.

    `components`, latents of every source or `{source: latents}`; `network`, of all encoders and decoders, `"mlp"` or
    `"conv"`; `training`, as for denoisers; `scaling_laps`, of the Gaussian EM that gives every source its mean and
    spread, two numbers that the networks' outputs are in units of. `encoders` and `amplitudes`: see the module.
    """

    network: CoderConfig = MLPCoderConfig()
    training: TrainingConfig = TrainingConfig(steps=8192, batch=256, rate=1e-3, ema=0.99)
    scaling_laps: PositiveInt = 16
    encoders: Literal["per_view", "shared"] = "per_view"
    amplitudes: Literal["correct", "published"] = "correct"

    def encoder_name(self, view: str, source: str) -> str:
        """The encoder of a source in a view."""
        return source if self.encoders == "shared" else f"{view}/{source}"


class CLVMVAE(Baseline):
    """Contrastive latent variables with networks: approximate posterior of all sources in the views of the fit."""

    name = "clvm-vae"
    title = "CLVM-VAE"
    Config = CLVMVAEConfig

    @classmethod
    def applicable(cls, problem: Problem, config: Any = None) -> None:
        required_contrasts(problem, cls.title)
        config = config or cls.Config()
        if isinstance(config.network, MLPCoderConfig):
            return
        flat = [s for s, source in problem.sources.items() if len(source.real_shape) != 3]
        if flat:
            wanted = "images of shape (height, width, channels)"
            raise ProblemError([f"{cls.title} with convolutions needs {wanted}; not so: source {names(flat)}"])

    @classmethod
    def _fit(cls, problem: Problem, config: CLVMVAEConfig, seed: int) -> tuple[Mapping[str, Any], dict[str, Any]]:
        fit = gaussian_em(problem, GaussianConfig(laps=config.scaling_laps, ties=0.0), seed=seed)
        scalings = {s: fit.scaling(s) for s in problem.sources}
        views = _as_modelled(problem, config)
        shapes = {s: source.real_shape for s, source in problem.sources.items()}
        image = not isinstance(config.network, MLPCoderConfig)
        raw = {(v, s): features(view, s, shapes[s], image) for v, view in views.items() for s in view.mixing}
        inputs: dict[str, tuple[str, tuple[int, ...]]] = {}
        pooled: dict[str, list[np.ndarray]] = {}
        for (v, s), found in raw.items():
            name = config.encoder_name(v, s)
            if inputs.setdefault(name, (s, found.shape[1:])) != (s, found.shape[1:]):
                sizes = f"{inputs[name][1]} elsewhere and {found.shape[1:]} in view '{v}'"
                raise ProblemError([f"encoders cannot be shared: source '{s}' has features of shape {sizes}"])
            pooled.setdefault(name, []).append(found)
        standard = {name: standards(np.concatenate(found)) for name, found in pooled.items()}
        key, training_key = jax.random.split(jax.random.key(seed))
        networks = _build(config, shapes, inputs, key)
        data = {
            v: (view, {s: _standardised(raw[v, s], standard[config.encoder_name(v, s)]) for s in view.mixing})
            for v, view in views.items()
        }
        encoders = tuple((v, s, config.encoder_name(v, s)) for v, s in raw)
        bound = Bound(encoders, scalings, tuple(config.components_of(s) for _, s in raw), config.network.dropout > 0)
        networks, elbo = train_elbo(networks, bound, data, config.training, key=training_key)
        arrays = {f"network{name}": leaf for name, leaf in _named(networks)}
        for name, parts in standard.items():
            arrays |= {f"standard/{name}/{part}": a for part, a in parts.items()}
        return arrays, {
            "elbo": elbo,
            "inputs": {name: [s, list(shape)] for name, (s, shape) in inputs.items()},
            "scaling": {s: [scaling.shift, scaling.scale] for s, scaling in scalings.items()},
            "contrasts": [c.describe(problem) for c in required_contrasts(problem, cls.title)],
        }

    def modelled(self) -> list[str]:
        return list(self.shapes)

    @cached_property
    def networks(self) -> dict[str, dict[str, Any]]:
        """The networks by role: `"encoders"`, those of the views, and `"decoders"`, those of the sources."""
        inputs = {name: (s, tuple(shape)) for name, (s, shape) in self.record["inputs"].items()}
        skeleton = eqx.filter_eval_shape(lambda key: _build(self.config, self.shapes, inputs, key), jax.random.key(0))
        paths, treedef = jax.tree_util.tree_flatten_with_path(skeleton)
        filled = [jnp.asarray(self.arrays[f"network{jax.tree_util.keystr(path)}"]) for path, _ in paths]
        return jax.tree_util.tree_unflatten(treedef, filled)

    def _estimate(self, problem: Problem, view: str, key: PRNGKeyArray | None) -> Mapping[str, Any]:
        observed = self._modelled(problem, view)
        image = not isinstance(self.config.network, MLPCoderConfig)
        found = {}
        for number, s in enumerate(observed.mixing):
            name = self.config.encoder_name(view, s)
            if name not in self.record["inputs"]:
                wanted = f"{self.title} has no encoder of source '{s}' in a view '{view}'"
                raise ProblemError([f"{wanted}; its encoders: {names(self.record['inputs'])}"])
            raw = features(observed, s, self.shapes[s], image)
            wanted = tuple(self.record["inputs"][name][1])
            if raw.shape[1:] != wanted:
                raise ProblemError(
                    [f"view '{view}': the encoder of '{s}' takes {wanted}, the data gives {raw.shape[1:]}"]
                )
            standard = {part: self.arrays[f"standard/{name}/{part}"] for part in ("shift", "scale")}
            coders = (self.networks["encoders"][name], self.networks["decoders"][s])
            own = None if key is None else jax.random.fold_in(key, number)
            found[s] = self._scaling(s).to_user(_through(coders, _standardised(raw, standard), own))
        return found

    def _sample(self, source: str, n: int, key: Any) -> Any:
        z = jax.random.normal(key, (n, self.config.components_of(source)))
        return self._scaling(source).to_user(np.asarray(_decode(self.networks["decoders"][source], z)))

    @property
    def _cost(self) -> Cost:
        return Cost(forward=1)

    def _scaling(self, source: str) -> Scaling:
        return Scaling(*self.record["scaling"][source])

    def _modelled(self, problem: Problem, view: str) -> View:
        shown = set(problem.views[view].mixing)
        targets = [c["target"] for c in self.record["contrasts"] if set(c["shown"]) == shown]
        found = problem.views[view]
        return _published(found, targets[0]) if targets and self.config.amplitudes == "published" else found


class Bound(eqx.Module):
    """The bound of one observation, `bound(networks, view, observation, features, chance)`; `bound.chance(key, view,
    n)` is the `chance` of `n` observations.
    """

    encoders: tuple[tuple[str, str, str], ...] = eqx.field(static=True)  # of a view and a source, by its name
    scalings: dict[str, Scaling]
    latents: tuple[int, ...] = eqx.field(static=True)  # as many as encoders
    dropout: bool = eqx.field(static=True)

    def chance(self, key: PRNGKeyArray, view: str, n: int) -> tuple[Array, Array | None]:
        """Normal numbers for the latents, and keys for dropout. Drawn for all at once, which compiles much faster."""
        size = sum(q for q, (v, _, _) in zip(self.latents, self.encoders, strict=True) if v == view)
        if not self.dropout:
            return jax.random.normal(key, (n, size)), None
        key, dropout_key = jax.random.split(key)
        return jax.random.normal(key, (n, size)), jax.random.split(dropout_key, n)

    def __call__(
        self,
        networks: Any,
        view: str,
        observation: Any,
        seen: dict[str, Array],
        chance: tuple[Array, Array | None],
    ) -> Array:
        encoder = {(v, s): networks["encoders"][name] for v, s, name in self.encoders}
        epsilon, key = chance
        dropout = [None] * (2 * len(seen)) if key is None else jax.random.split(key, 2 * len(seen))
        coded = {s: encode(encoder[view, s], f, dropout[i]) for i, (s, f) in enumerate(seen.items())}
        x, divergence, begin = {}, jnp.zeros(()), 0
        for i, (s, (mean, log_variance)) in enumerate(coded.items()):
            z = mean + jnp.exp(0.5 * log_variance) * epsilon[begin : begin + mean.size]
            x[s] = self.scalings[s].to_user(networks["decoders"][s](z, dropout[len(seen) + i]))
            divergence += 0.5 * jnp.sum(jnp.exp(log_variance) + mean**2 - 1 - log_variance)
            begin += mean.size
        w = WhitenedObservation.unscaled(observation, {s: a.shape for s, a in x.items()})
        return -0.5 * jnp.sum((w.y - w.forward(x)) ** 2) - divergence


def encode(encoder: Any, seen: Array, key: PRNGKeyArray | None) -> tuple[Array, Array]:
    """Mean and log-variance of the latents."""
    mean, log_variance = jnp.split(encoder(seen, key), 2)
    return mean, jnp.clip(log_variance, -20, 10)


@eqx.filter_jit
def _coded(coders, seen, key, indices):
    def one(f, index):
        mean, log_variance = encode(coders[0], f, None)
        if key is not None:
            own = jax.random.fold_in(key, index)
            mean = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(own, mean.shape)
        return coders[1](mean)

    return jax.vmap(one)(seen, indices)


def _through(coders: tuple[Any, Any], seen: np.ndarray, key: PRNGKeyArray | None) -> np.ndarray:
    n, parts = len(seen), []
    batch = min(512, 1 << (n - 1).bit_length())
    for begin in range(0, n, batch):
        rows = np.minimum(np.arange(begin, begin + batch), n - 1)
        parts.append(np.asarray(_coded(coders, jnp.asarray(seen[rows]), key, jnp.asarray(rows)))[: n - begin])
    return np.concatenate(parts)


@eqx.filter_jit
def _decode(decoder, z):
    return jax.vmap(decoder)(z)


def _build(
    config: CLVMVAEConfig,
    shapes: Mapping[str, tuple[int, ...]],
    inputs: Mapping[str, tuple[str, tuple[int, ...]]],
    key: PRNGKeyArray,
) -> Any:
    """Fresh networks; `inputs` names the source of every encoder and the shape of its features."""
    encoder_key, decoder_key = jax.random.split(key)
    latents = {s: config.components_of(s) for s in shapes}
    encoders = {
        name: make_encoder(config.network, shape, 2 * latents[s], jax.random.fold_in(encoder_key, i))
        for i, (name, (s, shape)) in enumerate(inputs.items())
    }
    decoders = {
        s: make_decoder(config.network, latents[s], tuple(shape), jax.random.fold_in(decoder_key, i))
        for i, (s, shape) in enumerate(shapes.items())
    }
    return {"encoders": encoders, "decoders": decoders}


def _named(tree: Any) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]]


def _standardised(found: np.ndarray, standard: Mapping[str, np.ndarray]) -> np.ndarray:
    return (found - standard["shift"]) / standard["scale"]


def _as_modelled(problem: Problem, config: CLVMVAEConfig) -> dict[str, View]:
    """The views, with the operators that the model gives them."""
    views = dict(problem.views)
    if config.amplitudes == "published":
        for contrast in required_contrasts(problem, CLVMVAE.title):
            views[contrast.mixture] = _published(views[contrast.mixture], contrast.target)
    return views


def _published(view: View, target: str) -> View:
    mixing = {s: view.mixing[target] for s in view.mixing}
    return View(view.y, mixing, view.noise, view.observed, view.truth, view.common_mask)
