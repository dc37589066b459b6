r"""Training of autoencoders by the gradient of an entropy, with a score that is learned beside them.

.. math:: -\log p(x \mid z) + \tfrac12 \|z\|^2 + \hat s(z) \cdot z, \qquad \hat s \text{ held fixed} ,

has the gradient of the variational bound if :math:`\hat s` is the score of the codes of one image (implicit variational
autoencoder), and that of reconstruction with the divergence of the codes of all images from the prior if it is the
score of those (Wasserstein autoencoder). Source: Jayashankar (2025), section 3.3; Song et al. (arXiv 1905.07088),
section 6.2.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.score import (
    PrincipalDirectionScore,
    ScoreTerms,
    directional_terms,
    lifted_loss,
    residual_terms,
    score_matching_loss,
    signs_of,
    sliced_terms,
    spectral_at_samples,
    stein_at_samples,
    track_alignment,
)
from dichroic.studies.autoencoders.networks import Autoencoder, Perceptron, log_likelihood

__all__ = ["SCORES", "Training", "train_autoencoder"]

# how the score of codes is known, and networks that learn it
SCORES = {"gaussian": 0, "stein": 0, "spectral": 0, "sliced": 1, "directions": 1, "residual": 2, "lifted": 1}
_KERNELS = {"stein": stein_at_samples, "spectral": spectral_at_samples}


class Training(NamedTuple):
    """`model`, `"vae"` or `"wae"`; `score`, one of `SCORES`; `latent`, numbers of a code; `width`, of hidden layers;
    Adam with `rate`, `steps` of `batch` images; `draws`, codes of an image where kernels estimate their score; `noise`,
    of the codes of a Wasserstein autoencoder.
    """

    model: Literal["vae", "wae"]
    score: str
    latent: int
    width: int = 256
    steps: int = 200_000
    batch: int = 128
    rate: float = 1e-3
    draws: int = 20
    noise: float = 0.2


def train_autoencoder(images: Float[np.ndarray, "n pixels"], training: Training, *, key: PRNGKeyArray) -> Perceptron:
    """The decoder of an autoencoder of images in [0, 1], which are drawn as zeros and ones afresh for every step."""
    model_key, score_key, run_key = jax.random.split(key, 3)
    model, score = _models(training, images.shape[1], model_key, score_key)
    return _train(model, score, jnp.asarray(images, jnp.float32), training, run_key)


def _models(training: Training, pixels: int, model_key: PRNGKeyArray, score_key: PRNGKeyArray) -> tuple[Any, Any]:
    d, width = training.latent, training.width
    implicit = training.model == "vae" and training.score != "gaussian"
    a, b = jax.random.split(model_key)
    encoder = Perceptron.create(
        (pixels, d) if implicit else (pixels,), width, d * (1 + (training.score == "gaussian")), a
    )
    model = Autoencoder(encoder, Perceptron.create((d,), width, pixels, b), 0.0 if implicit else training.noise)
    sizes = (d, pixels) if training.model == "vae" else (d,)
    levels = tuple(
        Perceptron.create(sizes, width, d, k) for k in jax.random.split(score_key, max(SCORES[training.score], 1))
    )
    basis = jnp.linalg.qr(jax.random.normal(score_key, (d, max(d // 2, 1))))[0]
    return model, (basis, levels)


def _fields(score: Any, training: Training, x: Float[Array, " pixels"] | None) -> list[Any]:
    """The levels of a score as functions of a code, of this image's codes if there is one."""
    basis, levels = score
    given = () if x is None else (x,)
    fields = [lambda z, f=f: f(z, *given) for f in levels]
    return [PrincipalDirectionScore(basis, fields[0])] if training.score == "directions" else fields


def _terms(score, training, x, z, key, signs) -> list[ScoreTerms]:
    def source(f):
        if training.score == "directions":
            return directional_terms(f, z, nesting=np.full(f.basis.shape[1], 1 / f.basis.shape[1]))
        return sliced_terms(f, z, key=key)

    return residual_terms(_fields(score, training, x), source, signs)


@eqx.filter_jit
def _train(model, score, images, training, key):
    d, vae = training.latent, training.model == "vae"
    draws = training.draws if vae and training.score in _KERNELS else 1
    adam = optax.adam(training.rate)
    weights, as_model = ravel_pytree(model)
    learned, as_score = ravel_pytree(score)
    reduce = lifted_loss if training.score == "lifted" else score_matching_loss

    def signs_in(alignment):
        return signs_of(alignment) if reduce is lifted_loss else jnp.ones_like(alignment)

    def codes(model, x, key):
        epsilon = jax.random.normal(key, (len(x), draws, d))
        return jax.vmap(lambda x, e: jax.vmap(lambda e: model.code(x, e))(e))(x, epsilon)

    def estimated(learned, x, z, signs):
        """The score of codes at themselves."""
        if training.score in _KERNELS:
            estimate = _KERNELS[training.score]
            return jax.vmap(estimate)(z) if vae else estimate(z[:, 0])[:, None]
        score = as_score(learned)

        def one(x, z):
            return sum(sign * f(z) for sign, f in zip(signs, _fields(score, training, x), strict=True))

        return jax.vmap(lambda x, z: jax.vmap(lambda z: one(x if vae else None, z))(z))(x, z)

    def score_loss(learned, x, z, key, alignment):
        signs, score = signs_in(alignment), as_score(learned)
        if vae:
            keys = jax.random.split(key, len(x))
            terms = jax.vmap(lambda x, z, key: _terms(score, training, x, z, key, signs))(x, z, keys)
            terms = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), terms)
        else:
            terms = _terms(score, training, None, z[:, 0], key, signs)
        return sum(reduce(t) for t in terms), track_alignment(alignment, terms)

    def model_loss(weights, x, key, learned, signs):
        model = as_model(weights)
        if training.score == "gaussian":
            mean, log_std = jax.vmap(model.gaussian)(x)
            z = (mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape))[:, None]
            regularised = jnp.sum(0.5 * (mean**2 + jnp.exp(2 * log_std)) - log_std, axis=1)
        else:
            z = codes(model, x, key)
            s = jax.lax.stop_gradient(estimated(learned, x, z, signs))
            regularised = jnp.mean(jnp.sum(0.5 * z**2 + s * z, axis=2), axis=1)
        fit = jax.vmap(lambda x, z: jnp.mean(jax.vmap(partial(log_likelihood, model.decoder, x))(z)))(x, z)
        return jnp.mean(regularised - fit)

    def step(i, carried):
        weights, state, learned, score_state, alignment = carried
        keys = jax.random.split(jax.random.fold_in(key, i), 5)
        x = images[jax.random.randint(keys[0], (training.batch,), 0, len(images))]
        x = jax.random.bernoulli(keys[1], x).astype(jnp.float32)
        if SCORES[training.score]:
            z = jax.lax.stop_gradient(codes(as_model(weights), x, keys[2]))
            gradient, alignment = jax.grad(score_loss, has_aux=True)(learned, x, z, keys[3], alignment)
            update, score_state = adam.update(gradient, score_state)
            learned = learned + update
        gradient = jax.grad(model_loss)(weights, x, keys[4], learned, signs_in(alignment))
        update, state = adam.update(gradient, state)
        return weights + update, state, learned, score_state, alignment

    start = weights, adam.init(weights), learned, adam.init(learned), jnp.zeros(max(SCORES[training.score], 1))
    return as_model(jax.lax.fori_loop(0, training.steps, step, start)[0]).decoder
