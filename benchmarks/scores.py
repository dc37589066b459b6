"""How good are scores from samples? The tables and figures of `docs/score.md`.

    python benchmarks/scores.py neural kernels denoiser figure [--laws gauss-2 mix-2 ...] [--seeds 1]

`neural`: a network of two layers of 128, 3,000 steps of Adam from 1e-3 by a cosine, 256 fresh samples each, by every
objective. `kernels`: estimators from 512 samples (128 in 32 dimensions). `denoiser`: six narrow modes in eight
dimensions, preconditioned networks by the objectives of training. A result is kept in `benchmarks/results/scores.json`
when it is made: the same command goes on. `figure` makes `docs/_static/score.png` from what is there.
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from dichroic.score import (
    PrincipalDirectionScore,
    ResidualScore,
    choose,
    denoising_terms,
    directional_terms,
    exact_terms,
    lifted_loss,
    nu_method,
    relative_fisher_error,
    residual_terms,
    score_matching_loss,
    signs_of,
    sliced_terms,
    spectral_stein,
    stein_gradient,
    tikhonov,
    track_alignment,
)

KEPT = Path(__file__).parent / "results" / "scores.json"
FIGURE = Path(__file__).parents[1] / "docs" / "_static" / "score.png"
STEPS, BATCH = 3000, 256


def law(name):
    """Means and variances of a mixture, by its name: `gauss`, `iso` or `mix`, and the dimension."""
    kind, d = name.split("-")
    d = int(d)
    if kind == "mix":
        means = np.random.default_rng(7).normal(size=(4, d))
        return 2.5 * means / np.linalg.norm(means, axis=1, keepdims=True), np.ones(d)
    return np.zeros((1, d)), np.ones(d) if kind == "iso" else np.linspace(0.25, 2, d)


def drawn(key, means, variances, n):
    a, b = jax.random.split(key)
    kind = jax.random.randint(a, (n,), 0, len(means))
    return jnp.asarray(means)[kind] + jnp.sqrt(jnp.asarray(variances)) * jax.random.normal(b, (n, len(variances)))


def true_score(x, means, variances):
    r = x[:, None] - means
    weight = jax.nn.softmax(-0.5 * jnp.sum(r**2 / variances, axis=2), axis=1)
    return -jnp.einsum("nk,nkd->nd", weight, r / variances)


# name: how the alignment is known, levels, reduction
SLICED = {"sliced": "rademacher", "sliced Gaussian": "gaussian"}
METHODS = {
    "exact": ("exact", 1, score_matching_loss),
    "sliced": ("sliced", 1, score_matching_loss),
    "sliced Gaussian": ("sliced Gaussian", 1, score_matching_loss),
    "lifted sliced": ("sliced", 1, lifted_loss),
    "residual sliced, 2 levels": ("sliced", 2, score_matching_loss),
    "residual lifted sliced, 2 levels": ("sliced", 2, lifted_loss),
    "denoising at 0.1": (0.1, 1, score_matching_loss),
    "denoising at 0.3": (0.3, 1, score_matching_loss),
    "lifted denoising at 0.3": (0.3, 1, lifted_loss),
    "tied denoising at 0.3": (0.3, 1, lambda t: jnp.mean(-(t.alignment**2) + t.energy**2 / 2)),
    "principal directions 1": ("directions", 1, score_matching_loss),
    "principal directions 2": ("directions", 2, score_matching_loss),
    "principal directions 4": ("directions", 4, score_matching_loss),
    "principal directions 8": ("directions", 8, score_matching_loss),
}


@partial(jax.jit, static_argnames=("method", "n_modes", "steps"))
def neural(key, means, variances, method, n_modes, steps=STEPS, rate=1e-3):
    """The relative Fisher error of a trained network on fresh samples."""
    how, levels, reduce = METHODS[method]
    d = len(variances)
    keys = jax.random.split(key, 3)

    def network(key):
        return eqx.nn.MLP(d, d, 128, 2, jax.nn.silu, key=key)

    if how == "directions":
        basis = jnp.linalg.qr(jax.random.normal(keys[0], (d, levels)))[0]
        models = (PrincipalDirectionScore(basis, network(keys[1])),)
    else:
        models = tuple(network(k) for k in jax.random.split(keys[0], levels))
    weights, rest = eqx.partition(models, eqx.is_inexact_array)
    optimizer = optax.adam(optax.cosine_decay_schedule(rate, steps))

    def step(i, carried):
        weights, state, alignment = carried
        data, noise = jax.random.split(jax.random.fold_in(keys[2], i))
        x = drawn(data, means, variances, BATCH)

        def source(f):
            if how == "exact":
                return exact_terms(f, x)
            if how in SLICED:
                return sliced_terms(f, x, key=noise, law=SLICED[how])
            if how == "directions":
                return directional_terms(f, x)
            epsilon = jax.random.normal(noise, x.shape)
            return denoising_terms(jax.vmap(f)(x + how * epsilon), -epsilon / how)

        def loss(weights):
            signs = signs_of(alignment) if reduce is lifted_loss else None
            terms = residual_terms(eqx.combine(weights, rest), source, signs)
            return sum(reduce(t) for t in terms), track_alignment(alignment, terms)

        gradient, alignment = jax.grad(loss, has_aux=True)(weights)
        update, state = optimizer.update(gradient, state)
        return optax.apply_updates(weights, update), state, alignment

    start = weights, optimizer.init(weights), jnp.zeros(len(models))
    weights, _, alignment = jax.lax.fori_loop(0, steps, step, start)
    signs = jnp.ones(len(models)) if reduce is score_matching_loss else signs_of(alignment)
    model = ResidualScore(eqx.combine(weights, rest), signs)
    x = drawn(jax.random.fold_in(key, 1), means, variances, 4096)
    s = true_score(x, means, variances)
    return jnp.sum((jax.vmap(model)(x) - s) ** 2) / jnp.sum(s**2)


def kernels(name, seed):
    """Errors of kernel estimators: by strengths, the best, and the one that held-out loss chooses."""
    means, variances = law(name)
    d, rng = len(variances), np.random.default_rng(seed)
    n = 128 if d == 32 else 512

    def sample(n):
        return means[rng.integers(len(means), size=n)] + rng.normal(size=(n, d)) * np.sqrt(variances)

    def R(score, x):
        return round(relative_fisher_error(score(x), np.asarray(true_score(x, means, variances))), 4)

    x, fresh = sample(n), sample(4000)
    modes = {
        f"spectral {L}": partial(spectral_stein, modes=L) for L in sorted({d + 1, 9, 12, 3 * d // 2, 2 * d, 3 * d})
    }
    free = {f"curl-free {t:g}": partial(tikhonov, strength=t) for t in (1e-4, 1e-3, 1e-2)}
    scalar = {f"imq {t:g}": partial(tikhonov, kernel="imq", strength=t) for t in (1e-4, 1e-3, 1e-2)}
    fits = {**modes, **free, **scalar, **{f"nu {t}": partial(nu_method, steps=t) for t in (8, 16, 24, 32)}}
    errors = {key: R(fit(x), fresh) for key, fit in fits.items()}
    chosen = choose(x, fits)[0]
    best = {
        kind: min(errors[k] for k in group)
        for kind, group in {"spectral, best": modes, "curl-free, best": free, "scalar, best": scalar}.items()
    }
    stein = min(R(stein_gradient(x, ridge=eta), x) for eta in (1e-3, 0.1, 1.0, 3.0))
    return {
        "Stein at its samples, best": stein,
        "spectral 0.99": R(spectral_stein(x, energy=0.99), fresh),
        **best,
        "chosen": errors[chosen],
        "chosen is": chosen,
        **errors,
    }


def denoiser(key, objective, width, rate, base):
    """A preconditioned network on six narrow modes, its relative error as a regression."""
    from dichroic.diffusion import (
        ComponentsDenoiser,
        Denoising,
        GaussianDenoiser,
        LiftedDenoising,
        MLPConfig,
        NetworkDenoiser,
        ResidualDenoising,
        Schedule,
        TrainingConfig,
        train,
    )

    rng, d = np.random.default_rng(0), 8
    means = rng.normal(size=(6, d))
    means *= 0.5 * d**0.5 / np.linalg.norm(means, axis=1, keepdims=True)
    std = np.full((6, d), 0.05)
    for k in range(6):
        std[k, rng.choice(d, 2, replace=False)] = 0.3
    kinds = rng.integers(6, size=100_000)
    x = means[kinds] + std[kinds] * rng.normal(size=(len(kinds), d))
    scale = np.sqrt(np.mean(x**2))
    x, means, std = x / scale, means / scale, std / scale
    truth = ComponentsDenoiser.of(
        ComponentsDenoiser(np.zeros(6) - np.log(6), means, np.tile(np.eye(d), (6, 1, 1)), std**2).population(), (d,)
    )
    known = GaussianDenoiser.of(truth.gaussian().population(), (d,)) if base else None
    chosen = {
        "denoising": Denoising(),
        "lifted": LiftedDenoising(),
        "lifted with denoising": LiftedDenoising(denoising=1.0),
        "residual": ResidualDenoising(),
        "residual lifted": LiftedDenoising(levels=2),
    }[objective]
    schedule, config = Schedule(2e-2, 20.0), MLPConfig(width=width, depth=3)
    model = NetworkDenoiser.create((d,), config, key=key, base=known)
    for level in range(1, getattr(chosen, "levels", 1)):
        model = NetworkDenoiser.create((d,), config, key=jax.random.fold_in(key, level), base=model, head=chosen.head)
    training = TrainingConfig(steps=STEPS, batch=256, rate=rate, objective=chosen)
    found, _ = train(model, schedule, jnp.asarray(x, jnp.float32), training, key=jax.random.fold_in(key, 9))

    @eqx.filter_jit
    def parts(found, x, keys):
        def one(x, key):
            a, b = jax.random.split(key)
            sigma = schedule.training_sigma(a)
            x_t = x + sigma * jax.random.normal(b, x.shape)
            c_out, skipped = sigma / jnp.sqrt(1 + sigma**2), x_t / (1 + sigma**2)
            F, wanted = ((D(x_t, sigma) - skipped) / c_out for D in (found, truth))
            return jnp.sum((F - wanted) ** 2), jnp.sum(wanted**2)

        error, energy = jax.vmap(one)(x, keys)
        return jnp.sum(error) / jnp.sum(energy)

    return float(parts(found, jnp.asarray(x[:8192], jnp.float32), jax.random.split(jax.random.key(5), 8192)))


# objective, units of a layer, learning rate, whether a Gaussian of the true moments is corrected
DENOISERS = [
    *((objective, 16, 1e-3, False) for objective in ("denoising", "residual", "lifted")),
    *(("denoising", 24, 1e-3, False), ("denoising", 16, 1e-3, True), ("residual lifted", 16, 1e-3, False)),
    *((objective, 64, 1e-3, False) for objective in ("denoising", "residual", "lifted", "lifted with denoising")),
    *(("denoising", 90, 1e-3, False), ("denoising", 64, 1e-3, True), ("residual lifted", 64, 1e-3, False)),
    *((objective, 64, 4e-3, False) for objective in ("denoising", "residual", "lifted")),
    ("denoising", 90, 4e-3, False),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=["neural", "kernels", "denoiser", "figure"])
    parser.add_argument("--laws", nargs="+", default=["gauss-2", "gauss-8", "mix-2", "mix-8"])
    parser.add_argument("--methods", nargs="+", default=[m for m in METHODS if not m.startswith("principal")])
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}

    def keep(name, make):
        if name not in kept:
            start = time.process_time()
            kept[name] = make()
            KEPT.write_text(json.dumps(kept, indent=1) + "\n")
            print(f"{name:60s} {kept[name]}  {time.process_time() - start:.1f} s", flush=True)

    for seed in range(given.seeds):
        for name in given.laws:
            means, variances = law(name)
            for method in given.methods if "neural" in given.parts else ():
                keep(
                    f"neural/{name}/{method}/{seed}",
                    lambda m=method, a=means, v=variances, i=seed: float(neural(jax.random.key(i), a, v, m, len(a))),
                )
            if "kernels" in given.parts:
                keep(f"kernels/{name}/{seed}", lambda n=name, i=seed: kernels(n, i))
        for case in DENOISERS if "denoiser" in given.parts else ():
            label = "/".join(map(str, case))
            keep(f"denoiser/{label}/{seed}", lambda c=case, i=seed: denoiser(jax.random.key(i), *c))
    if "figure" in given.parts:
        from scores_figure import draw

        draw(kept, FIGURE)


if __name__ == "__main__":
    main()
