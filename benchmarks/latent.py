"""Posteriors in the latents of an autoencoder, beside those in pixels: latent MAP, latent DPS and PSLD.

    python benchmarks/latent.py [--seen 0.3] [--noise 0.1] [--images 64] [--seed 0]

Digits of 8 x 8 pixels of which a share is seen, each with noise. An autoencoder of 16 latents and a denoiser of them
are trained beside a denoiser of the pixels, all on the same 1,438 clean digits. Latent MAP (Jayashankar, 9.2.1)
descends a latent by the score of its noisy copies and by the residual behind the decoder; latent DPS (Chung et al.,
arXiv 2209.14687, in latents) and PSLD (Rout et al., arXiv 2307.00619, with its eta = 1 and gamma = 0.1) go down the
noise levels. The latent estimate is also a start of moment matching in pixels. Prints PSNR of held-out digits,
chi-square of the pixels that were seen, evaluations of a draw, and CPU milliseconds.
"""

import argparse
import time
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dichroic.diffusion import DenoiserPrior, MLPConfig, NetworkDenoiser, Scaling, Schedule, TrainingConfig, train
from dichroic.metrics import psnr
from dichroic.onestep import gaussian_of
from dichroic.posterior import observation_keys, read_method
from dichroic.problem import View
from dichroic.studies.experiments.corrupted import small_images

LATENTS, HIDDEN, DRAWS = 16, 128, 4
SCHEDULE = Schedule(0.02, 10.0)
TRAINING = TrainingConfig(steps=1500, batch=128, ema=0.995)


def perceptron(rng, *sizes):
    return [(rng.normal(size=(b, a)) / a**0.5, np.zeros(b)) for a, b in pairwise(sizes)]


def applied(layers, x):
    *hidden, (W, b) = layers
    for V, c in hidden:
        x = jax.nn.silu(x @ V.T + c)
    return x @ W.T + b


def autoencoder(x, seed, steps=3000):
    """`encode` and `decode` of arrays `(..., d)`, with latents of unit variance; noise on them keeps them smooth."""
    rng = np.random.default_rng(seed)
    layers = perceptron(rng, x.shape[1], HIDDEN, LATENTS), perceptron(rng, LATENTS, HIDDEN, x.shape[1])
    optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, steps))

    def loss(layers, x, noise):
        z = applied(layers[0], x)
        return jnp.mean((applied(layers[1], z + 0.1 * noise) - x) ** 2) + 1e-3 * jnp.mean(z**2)

    @jax.jit
    def trained(layers, key):
        def step(i, carried):
            layers, state = carried
            a, b = jax.random.split(jax.random.fold_in(key, i))
            batch = x[jax.random.randint(a, (128,), 0, len(x))]
            gradient = jax.grad(loss)(layers, batch, jax.random.normal(b, (128, LATENTS)))
            update, state = optimizer.update(gradient, state)
            return optax.apply_updates(layers, update), state

        return jax.lax.fori_loop(0, steps, step, (layers, optimizer.init(layers)))[0]

    layers = trained(jax.tree.map(jnp.float32, layers), jax.random.key(seed))
    z = applied(layers[0], x)
    mean, std = z.mean(0), z.std(0)
    return lambda x: (applied(layers[0], x) - mean) / std, lambda z: applied(layers[1], z * std + mean)


def denoiser(x, seed):
    """Of vectors, by the library's own training, correcting their Gaussian."""
    key = jax.random.key(seed)
    fresh = NetworkDenoiser.create(x.shape[1:], MLPConfig(width=128), key=key, base=gaussian_of(np.asarray(x)))
    return train(fresh, SCHEDULE, np.asarray(x, np.float32), TRAINING, key=key)[0]


def latent_map(f, decode, variance, steps, y, seen, key):
    """Adam from 0.1 down on a latent; the weight of the data grows to what the noise says, a hundredfold."""
    optimizer = optax.adam(optax.cosine_decay_schedule(0.1, steps, 1e-5))

    def step(i, carried):
        theta, state = carried
        a, b, c = jax.random.split(jax.random.fold_in(key, i), 3)
        sigma = 0.05 * 20 ** jax.random.uniform(a)
        z_t = theta + sigma * jax.random.normal(b, theta.shape)
        score = (f(z_t, sigma) - z_t) / sigma**2
        noise = 0.05 * jax.random.normal(c, theta.shape)

        def misfit(theta):
            return jnp.sum(seen * (y - decode(f(theta + noise, jnp.float32(0.05)))) ** 2) / (2 * variance)

        update, state = optimizer.update(100.0 ** (i / steps - 1) * jax.grad(misfit)(theta) - score, state)
        return optax.apply_updates(theta, update), state

    theta = jnp.zeros(LATENTS)
    return decode(jax.lax.fori_loop(0, steps, step, (theta, optimizer.init(theta)))[0])


def latent_dps(f, encode, decode, gamma, steps, y, seen, key):
    """Ancestral steps, each with a move against the residual's length, and for PSLD against how far the latent is from
    that of its own image with the pixels seen put in.
    """
    levels = SCHEDULE.sigma_min * (SCHEDULE.sigma_max / SCHEDULE.sigma_min) ** jnp.linspace(1, 0, steps)

    def lengths(z_t, sigma):
        z = f(z_t, sigma)
        x = decode(z)
        r = jnp.sum(seen * (y - x) ** 2)
        glue = jnp.sum((z - encode(jnp.where(seen > 0, y, x))) ** 2)
        return jnp.sqrt(r + 1e-12) + gamma * jnp.sqrt(glue + 1e-12), z

    def step(z_t, turn):
        sigma, lower, key = turn
        back, z = jax.grad(lengths, has_aux=True)(z_t, sigma)
        share = lower**2 / sigma**2
        spread = lower * jnp.sqrt(1 - share)
        return z + share * (z_t - z) + spread * jax.random.normal(key, z.shape) - back, None

    first, rest = jax.random.split(key)
    z_t = levels[0] * jax.random.normal(first, (LATENTS,))
    z_t, _ = jax.lax.scan(step, z_t, (levels[:-1], levels[1:], jax.random.split(rest, steps - 1)))
    return decode(f(z_t, levels[-1]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seen", type=float, default=0.3)
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    begin, rng = time.process_time(), np.random.default_rng(a.seed)
    learned, held_out = (np.asarray(x, np.float32).reshape(len(x), -1) for x in small_images())
    scaling, truth = Scaling(float(learned.mean()), float(learned.std())), held_out[: a.images]
    x = jnp.asarray(scaling.to_scaled(learned), jnp.float32)
    encode, decode = autoencoder(x, a.seed)
    f, pixels = denoiser(np.asarray(encode(x)), a.seed), denoiser(np.asarray(x), a.seed)
    scaled = np.asarray(scaling.to_scaled(truth), np.float32)
    rebuilt = np.asarray(decode(encode(scaled)))
    error = float(np.mean((rebuilt - scaled) ** 2))
    print(f"trained: {time.process_time() - begin:.0f} CPU s; the autoencoder's own PSNR is ", end="")
    print(f"{psnr(scaling.to_user(rebuilt), truth, 1.0):.2f} dB", flush=True)

    seen = rng.random(truth.shape) < a.seen
    y = np.where(seen, truth + a.noise * rng.normal(size=truth.shape), np.nan).astype(np.float32)
    view = View(y, {"digit": 1.0}, a.noise, truth={"digit": truth})
    prior = DenoiserPrior(pixels, SCHEDULE, scaling)
    white, mask = jnp.asarray(np.where(seen, scaling.to_scaled(y), 0), jnp.float32), jnp.asarray(seen, jnp.float32)
    print("| | draws | of the mean of draws | chi-square | evaluations | CPU ms a draw |\n|---|---|---|---|---|---|")

    def told(name, drawn, evaluations, milliseconds):
        chi = np.mean(((drawn - y) ** 2)[:, seen]) / a.noise**2
        one, mean = (psnr(d, truth, 1.0) for d in (drawn[0], drawn.mean(0)))
        print(f"| {name} | {one:.2f} dB | {mean:.2f} dB | {chi:.2f} | {evaluations} | {milliseconds:.2f} |", flush=True)

    def latent(name, evaluations, one, draws=DRAWS):
        drawn = jax.jit(jax.vmap(one))
        keys = [jax.random.split(jax.random.key(k), a.images) for k in range(draws)]
        drawn(white, mask, keys[0])
        begin = time.process_time()
        found = np.stack([np.asarray(scaling.to_user(drawn(white, mask, key))) for key in keys])
        told(name, found, evaluations, 1e3 * (time.process_time() - begin) / found[:, :, 0].size)
        return found[0]

    def pixelwise(name, start=None, **settings):
        bound = read_method(settings).bind(view, {"digit": prior}, key=jax.random.key(0))
        keys = [observation_keys(jax.random.key(k), a.images) for k in range(DRAWS)]
        how = {} if start is None else {"start": {"digit": start}}
        bound.draw(keys[0], **how)
        begin = time.process_time()
        drawn = [bound.draw(key, **how) for key in keys]
        found = np.stack([d.samples["digit"] for d in drawn])
        told(name, found, drawn[0].cost.total, 1e3 * (time.process_time() - begin) / found[:, :, 0].size)

    variance = (a.noise / scaling.scale) ** 2 + error  # what the decoder cannot say is noise, too
    best = latent("latent MAP, 300 steps", 600, partial(latent_map, f, decode, variance, 300), draws=1)
    latent("latent DPS, 100 steps", 100, partial(latent_dps, f, encode, decode, 0.0, 100))
    latent("PSLD, 100 steps", 100, partial(latent_dps, f, encode, decode, 0.1, 100))
    pixelwise("DPS in pixels, 100 steps", kind="dps", steps=100)
    matched = {"kind": "annealed", "covariance": "exact"}
    pixelwise("moment matching in pixels, 24 steps", **matched, steps=24)
    pixelwise("moment matching in pixels, 4 steps", **matched, steps=4)
    pixelwise("the same, begun at latent MAP", best, **matched, warm_steps=4, restart=0.5)


if __name__ == "__main__":
    main()
