"""How good are scores from samples? The tables and figures of `docs/score.md`.

    python benchmarks/scores.py neural kernels denoiser speed table figure [--laws gauss-2 mix-2 ...] [--seeds 1]

`neural`: a network of two layers of 128, 3,000 steps of Adam from 1e-3 by a cosine, 256 fresh samples each, by every
objective. `kernels`: estimators from 512 samples (128 in 32 dimensions). `denoiser`: six narrow modes in eight
dimensions, preconditioned networks by the objectives of training (`scores_denoiser.py`). `speed`: seconds and memory of
estimators from 4,096 samples of 32 numbers. A result is kept in
`benchmarks/results/scores.json` when it is made: the same command goes on. `table` writes what is there beside what was
expected (`scores_printed.py`), and which bounds hold; `figure` makes `docs/_static/score.png`.
"""

import argparse
import json
import time
import tracemalloc
from functools import partial
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

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
TABLE = Path(__file__).parents[1] / "docs" / "benchmarks" / "scores_table.inc"
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


SLICED = {"sliced": "rademacher", "sliced Gaussian": "gaussian"}
# name: how the alignment is known, levels (or directions), reduction
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
    **{f"principal directions {L}": ("directions", L, score_matching_loss) for L in (1, 2, 4, 8)},
    **{f"nested directions {L}": ("nested", L, score_matching_loss) for L in (2, 4, 8)},
}
DIRECTIONS = [m for m in METHODS if "directions" in m]


def start(seed, how, levels, d):
    """Weights as one vector, whose updates compile in half of the time, and what makes models of it."""
    rng, sizes = np.random.default_rng(seed), (d, 128, 128, d)
    networks = [
        [(rng.uniform(-1, 1, (b, a)) / a**0.5, rng.uniform(-1, 1, b) / a**0.5) for a, b in pairwise(sizes)]
        for _ in range(1 if how in ("directions", "nested") else levels)
    ]
    basis = np.linalg.qr(rng.normal(size=(d, min(levels, d))))[0]
    flat, unravelled = ravel_pytree(jax.tree.map(np.float32, (basis, networks)))

    def network(layers, x):
        *hidden, (W, b) = layers
        for V, c in hidden:
            x = jax.nn.silu(V @ x + c)
        return W @ x + b

    def models(flat):
        basis, networks = unravelled(flat)
        fields = tuple(partial(network, layers) for layers in networks)
        return (PrincipalDirectionScore(basis, fields[0]),) if how in ("directions", "nested") else fields

    return flat, models


def neural(seed, name, method):
    """The relative Fisher error of a trained network on fresh samples."""
    means, variances = law(name)
    means = np.resize(means, (4, means.shape[1]))  # laws of one size share a program
    how, levels, _ = METHODS[method]
    flat = start(seed, how, levels, len(variances))[0]
    return float(_trained(flat, jax.random.key(seed), means, variances, method))


@partial(jax.jit, static_argnames=("method",))
def _trained(flat, key, means, variances, method):
    how, levels, reduce = METHODS[method]
    models = start(0, how, levels, means.shape[1])[1]
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-3, STEPS))

    def step(i, carried):
        flat, state, alignment = carried
        data, noise = jax.random.split(jax.random.fold_in(key, i))
        x = drawn(data, means, variances, BATCH)

        def source(f):
            if how == "exact":
                return exact_terms(f, x)
            if how in SLICED:
                return sliced_terms(f, x, key=noise, law=SLICED[how])
            if how in ("directions", "nested"):
                return directional_terms(f, x, nesting=np.full(levels, 1 / levels) if how == "nested" else None)
            epsilon = jax.random.normal(noise, x.shape)
            return denoising_terms(jax.vmap(f)(x + how * epsilon), -epsilon / how)

        def loss(flat):
            signs = signs_of(alignment) if reduce is lifted_loss else None
            terms = residual_terms(models(flat), source, signs)
            return sum(reduce(t) for t in terms), track_alignment(alignment, terms)

        gradient, alignment = jax.grad(loss, has_aux=True)(flat)
        update, state = optimizer.update(gradient, state)
        return flat + update, state, alignment

    count = len(models(flat))
    flat, _, alignment = jax.lax.fori_loop(0, STEPS, step, (flat, optimizer.init(flat), jnp.zeros(count)))
    signs = jnp.ones(count) if reduce is score_matching_loss else signs_of(alignment)
    model = ResidualScore(models(flat), signs)
    x = drawn(jax.random.fold_in(key, STEPS), means, variances, 4096)
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


def speed(name):
    """CPU seconds and the memory of arrays, of an estimate from 4,096 samples of 32 numbers asked at 256 points."""
    fit = {"Stein gradient": stein_gradient, "spectral": spectral_stein, "curl-free": tikhonov, "nu": nu_method}[name]
    x = np.random.default_rng(0).normal(size=(4096, 32))
    tracemalloc.start()
    begun = time.process_time()
    fit(x)(x[:256])
    seconds, (_, peak) = time.process_time() - begun, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"CPU seconds": round(seconds, 1), "megabytes": round(peak / 1e6)}


def main():
    from scores_denoiser import CASES, denoiser

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=["neural", "kernels", "denoiser", "speed", "table", "figure"])
    parser.add_argument("--laws", nargs="+", default=["gauss-2", "mix-2", "gauss-8", "mix-8", "gauss-32", "mix-32"])
    parser.add_argument("--methods", nargs="+", default=[m for m in METHODS if m not in DIRECTIONS])
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}

    def keep(name, make, *arguments):
        if name not in kept:
            begun = time.process_time()
            kept[name] = make(*arguments)
            KEPT.write_text(json.dumps(kept, indent=1) + "\n")
            print(f"{name:60s} {kept[name]}  {time.process_time() - begun:.1f} s", flush=True)

    for seed in range(given.seeds):
        for name in given.laws:
            for method in given.methods if "neural" in given.parts else ():
                if method != "exact" or not name.endswith("-32"):  # as many products as there are numbers
                    keep(f"neural/{name}/{method}/{seed}", neural, seed, name, method)
            if "kernels" in given.parts:
                keep(f"kernels/{name}/{seed}", kernels, name, seed)
        for case in CASES if "denoiser" in given.parts else ():
            keep(f"denoiser/{case}/{seed}", denoiser, seed, case)
    for name in ("Stein gradient", "spectral", "curl-free", "nu") if "speed" in given.parts else ():
        keep(f"speed/{name}/0", speed, name)
    if "table" in given.parts:
        from scores_printed import told

        lines = "\n".join(told(kept))
        print(lines)
        TABLE.write_text(lines + "\n")
    if "figure" in given.parts:
        from scores_figure import draw

        draw(kept, FIGURE)


if __name__ == "__main__":
    main()
