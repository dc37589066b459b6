"""The empirical prior as an oracle: how wide a method's states are at every noise level.

    python benchmarks/atoms.py [--atoms 128] [--observations 16] [--draws 64] [--steps 32] [--only WORDS]
        [--out docs/benchmarks]

With N atoms for a prior the posterior is one of N weights, exact for any operator, and so is the law of a state at
every noise level, sum_k w_k(y) N(mu_k, sigma^2 I). The atoms lie on a random manifold in five dimensions and are seen
through random 2 x 5 matrices with noise 0.05. Every method takes the same levels; a row is the root of the mean
variance of its states over the exact one, level by level, and the energy distance of its draws to exact ones. The
figure has width and energy distance at every level, in units of the width of states, of methods that differ by the
covariance alone that they take the sources to have.
"""

import argparse
import re
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from dichroic.diffusion import ComponentsDenoiser, DenoiserPrior, Scaling
from dichroic.operators import Dense, DiagonalNoise
from dichroic.posterior import Targeted, read_method
from dichroic.problem import Observation
from dichroic.studies.experiments.manifolds import manifolds
from dichroic.white import WhitenedObservation
from posterior import SCHEDULE, _as_network, energy_distances
from posterior_methods import SETTINGS

NOISE, SCALE = 0.05, 1.25
SHOWN = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03)
DRAWN = {
    "moment matching, ancestral": "Jacobian (moments)",
    "opc": "measured (opc)",
    "jfps": "of Gaussian sources (jfps)",
    "sda": "constant (sda)",
    "pigdm": "one variance (pigdm)",
    "tmpd": "row sums (tmpd)",
    "dmps": "that of a flat prior (dmps)",
    "dps": "none (dps)",
}


def main() -> None:
    """Measures everything and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, usual in (("atoms", 128), ("observations", 16), ("draws", 64), ("steps", 32)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--only", default="")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    arguments = parser.parse_args()
    begin, n, draws = time.process_time(), arguments.observations, arguments.draws
    rng = np.random.default_rng(0)
    (curve,) = manifolds(1, 0).values()
    mu = curve((np.arange(arguments.atoms) + 0.5) / arguments.atoms) / SCALE
    atoms = ComponentsDenoiser.from_covariances(np.ones(len(mu)), mu, np.zeros((len(mu), 5, 5)))
    prior = _as_network(DenoiserPrior(jax.tree.map(lambda a: np.asarray(a, np.float32), atoms), SCHEDULE, Scaling()), 0)
    A = rng.normal(size=(n, 2, 5))
    A /= np.linalg.norm(A, axis=2, keepdims=True)
    y = np.einsum("nij,nj->ni", A, mu[rng.integers(len(mu), size=n)]) + NOISE * rng.normal(size=(n, 2))
    log_w = -0.5 * (((y[:, None] - np.einsum("nij,kj->nki", A, mu)) / NOISE) ** 2).sum(-1)
    w = np.exp(log_w - log_w.max(1, keepdims=True))
    w /= w.sum(1, keepdims=True)
    variance = (w @ mu**2 - (w @ mu) ** 2).mean()
    exact = np.stack([mu[rng.choice(len(mu), size=draws, p=p)] for p in w])
    levels = SCHEDULE.levels(arguments.steps).astype(np.float32)
    columns = [int(np.argmin(np.abs(np.log(levels[1:] / level)))) for level in SHOWN]
    heads = [f"σ = {levels[1:][k]:.2g}" for k in columns]
    lines = [f"| method | evaluations | CPU ms per draw | {' | '.join(heads)} | draws | energy distance |"]
    lines.append("|---" * (len(heads) + 5) + "|")
    denoisers, curves, noise = {"x": prior.denoiser()}, {}, rng.normal(size=exact.shape)
    ends = np.append(levels[1:], 0)
    widths = np.sqrt(ends**2 + variance)
    for name, settings in SETTINGS.items():
        method = read_method(settings)
        if not isinstance(method, Targeted) or not re.search(arguments.only, name):
            continue
        costs = []

        def one(A, y, key, method=method, costs=costs):
            observation = Observation(y, np.ones(2, bool), {"x": Dense(A)}, DiagonalNoise(NOISE))
            whitened = WhitenedObservation.of(observation, {"x": Scaling()}, {"x": (5,)})
            target = method.build(method.prepared(denoisers), whitened, False)
            costs.append(method.walk.cost(target, arguments.steps).total)

            def step(state, at):
                t, s, k = at
                key_k = jax.random.fold_in(key, k)
                x, _ = method.walk(target, state, t, s, key_k)
                x = target.settled(x, s, jax.random.fold_in(key_k, 1))
                return x, x["x"]

            steps = jnp.asarray(levels), jnp.asarray(ends), jnp.arange(len(levels))
            return jax.lax.scan(step, target.start(levels[0], jax.random.fold_in(key, 2**31)), steps)[1]

        run = jax.jit(jax.vmap(jax.vmap(one, (None, None, 0)), (0, 0, 0)))
        inputs = A.astype(np.float32), y.astype(np.float32), jax.random.split(jax.random.key(1), (n, draws))
        x = np.asarray(run(*inputs))
        start = time.process_time()
        x = np.asarray(run(*inputs))
        seconds = (time.process_time() - start) / n / draws
        spread = x.var(axis=1, ddof=1).mean((0, 2))
        ratio = np.sqrt(spread) / widths
        distance = energy_distances(x[:, :, -1], exact)
        shown = " | ".join(f"{ratio[k]:.2f}" for k in [*columns, -1])
        if name in DRAWN:
            far = [
                energy_distances(x[:, :, k] / c, (exact + level * noise) / c).mean()
                for k, (level, c) in enumerate(zip(ends, widths, strict=True))
            ]
            curves[DRAWN[name]] = ratio, far
        lines.append(f"| {name} | {costs[0]} | {1e3 * seconds:.2f} | {shown} | {distance.mean():.2f} |")
        print(f"{time.process_time() - begin:5.0f} s {lines[-1]}", flush=True)
        jax.clear_caches()
    (arguments.out / "atoms_table.inc").write_text("\n".join(lines) + "\n")
    figure(curves, levels, arguments.out / "atoms.png")


def figure(curves: dict[str, tuple], levels: np.ndarray, path: Path) -> None:
    """Width and energy distance against the noise level, which goes down."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(9.5, 3.9), layout="constrained")
    axes = drawing.subplots(1, 2)
    for name, (ratio, distance) in curves.items():
        axes[0].plot(levels[1:], ratio[:-1], label=name)
        axes[1].plot(levels[1:], np.maximum(distance[:-1], 1e-3))
    axes[0].axhline(1, color="0.7", lw=0.8, zorder=0)
    for axis, what in zip(axes, ("width of states over the exact one", "energy distance to exact states"), strict=True):
        axis.set(xscale="log", yscale="log", xlabel="noise level", ylabel=what)
        axis.invert_xaxis()
    drawing.legend(loc="outside right center", fontsize=8, frameon=False, title="covariance")
    drawing.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
