"""Posterior samplers against the exact posterior: quality for the network evaluations and seconds of a draw.

    python benchmarks/posterior.py [--observations 64] [--pairs 4] [--only WORDS]
        [--without WORDS] [--shared] [--pair-steps 4096] [--out docs/benchmarks]

Two random manifolds in five dimensions, made mixtures of 256 Gaussians, are seen through random 3 x 5 matrices with
noise 0.01, so that denoisers and joint posterior are exact (`dichroic.studies.experiments.exact_components`). Every
observation has matrices of its own, or all the same with `--shared`. Writes a table and a figure. Every number is a
mean over `pairs` pairs of manifolds and their observations.
"""

import argparse
import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial import cKDTree  # pyright: ignore

from dichroic.diffusion import (
    DenoiserPrior,
    MLPConfig,
    NetworkDenoiser,
    Prior,
    Schedule,
    measure_spread,
)
from dichroic.posterior import (
    Auto,
    Bound,
    Candidates,
    Handover,
    Method,
    MomentMatching,
    observation_keys,
    read_method,
)
from dichroic.settings import PRESETS, preset
from dichroic.studies.experiments.exact_components import (
    ComponentsPosterior,
    components_along_manifolds,
    components_view,
    exact_prior,
)
from dichroic.studies.experiments.manifolds import manifolds

SCHEDULE = Schedule(5e-3, 20.0)
EXACT, NOISE = 32, 0.01
PUBLISHED = "published (PC, one CG iteration)"
OBSERVATIONS = 4096  # of an E-step, over which what all draws share is spread in the figure
AMORTISED = ((8, 0), (16, 0), (32, 0), (16, 2), (16, 4))  # steps, and steps of moment matching at the end


@dataclass
class Row:
    """A sampler: its family (one curve), settings, draws per observation, and where a warm one starts."""

    family: str
    label: str
    sampling: dict
    draws: int = 4
    warm: bool = False
    reference: bool = False  # candidates of the true components: a stochastic denoiser without error
    forwards: int | None = None  # evaluations as counted for exact stochastic denoisers
    score: dict = field(default_factory=dict)


def rows(pair_steps: int = 4096) -> list[Row]:
    """All samplers; `pair_steps`, optimiser steps of conditional denoisers."""
    found = []

    def add(family: str, numbers, settings: dict, **options) -> None:
        for n in numbers:
            few = {"draws": 2} if n >= 256 else {}
            settings = {"kind": "annealed", "steps": n, **settings}
            found.append(Row(family, f"{n} steps", settings, **few, **options))

    krylov = {"covariance": "krylov", "iterations": 3}
    add(PUBLISHED, (32, 64, 256, 1024), {"step": "pc", "covariance": "krylov", "iterations": 1})
    add("exact solve, PC", (8, 32, 64), {"step": "pc", "covariance": "exact"})
    add("exact solve, DDIM", (8, 32), {"step": "ddim", "covariance": "exact"})
    add("exact solve, Heun", (4, 16), {"step": "heun", "covariance": "exact"})
    add("exact solve, ancestral", (4, 8, 16, 64), {"step": "ancestral", "covariance": "exact"})
    add("exact solve, decoupled", (1, 2, 4, 8, 16, 24), {"covariance": "exact"})
    add("three CG iterations, ancestral", (8,), {"step": "ancestral", **krylov})
    add("three CG iterations, decoupled", (8,), {**krylov, "root_iterations": 4})
    add("measured covariance, decoupled", (8,), {"covariance": "surrogate"})
    warm = {"kind": "annealed", "covariance": "exact", "restart": 0.8}
    for step, n in (("ancestral", 4), ("ancestral", 8), ("decoupled", 4), ("decoupled", 8)):
        found.append(
            Row("warm start, exact solve", f"{step}, {n} steps", {**warm, "step": step, "warm_steps": n}, warm=True)
        )
    for steps, components, tuples, finish in (
        (4, 512, 1024, 1),
        (4, 512, 4096, 1),
        (8, 512, 4096, 0),
        (8, 512, 4096, 2),
    ):
        label = f"{steps} steps, {components} Gaussians, {tuples} pairs, {finish} network steps"
        first = {"kind": "candidates", "steps": steps, "components": components, "tuples": tuples}
        found.append(Row("candidates", label, _finished(first, finish, {}, 0.1)))
    for rounds in (4, 16, 64):
        inner = {"kind": "annealed", "covariance": "exact", "steps": 4}
        settings = {"kind": "gibbs", "rounds": rounds, "inner": inner}
        found.append(Row("each given the other, decoupled", f"{rounds} rounds of 4 steps", settings))
    for n, finish in AMORTISED:
        step = {"step": "ancestral"}
        label = f"{n} steps, {pair_steps:,} of training" + (f", {finish} by moment matching" if finish else "")
        first = {"kind": "amortised", **step, "steps": n, "pair_steps": pair_steps}
        found.append(Row("amortised", label, _finished(first, finish, step, 0.5)))
    for K in (16, 64):
        settings = {"kind": "candidates", "steps": 7, "tuples": K**2}
        label = f"{K} per source, 8 levels"
        found.append(Row("candidates, exact", label, settings, reference=True, forwards=8 * K))
    for row in found:
        names = [name for name in PRESETS if _same(preset(name).sampling, read_method(row.sampling))]
        row.label += "".join(f" (**{name}**)" for name in names if not row.warm)
    return found


def _finished(first: dict, steps: int, settings: dict, at: float) -> dict:
    """A method whose last steps are moment matching."""
    then = {"kind": "annealed", "steps": steps, **settings}
    return {"kind": "handover", "first": first, "then": then, "at": at} if steps else first


def _same(preset: Method, other: Method) -> bool:
    """Whether a preset draws two small sources as another method does."""
    assert isinstance(preset, Auto)
    if preset.candidates:
        first = Candidates(components=preset.components, tuples=preset.tuples, steps=min(preset.steps, 8))
        return isinstance(other, Handover) and (other.first, other.then.runs[0]) == (first, preset.finish_steps)
    exact = isinstance(other, MomentMatching) and other.covariance == "exact"
    return exact and (preset.step, preset.steps) == (other.step, other.steps)


class Pair:
    """Two manifolds with their observations, exact posterior draws, and draws of a blurred lap before."""

    def __init__(self, seed: int, n: int, most: int, shared: bool = False):
        self.sources = components_along_manifolds(2, seed)
        self.view, self.posteriors = components_view(self.sources, n, seed, noise=NOISE, shared=shared)
        self.n, self.seed, self.shared = n, seed, shared
        rng = np.random.default_rng(seed)
        self.exact = np.stack([_stack(p.sample(rng, EXACT)) for p in self.posteriors])
        self.variance = np.mean([np.diag(p.moments()[1]).mean() for p in self.posteriors])
        self.curves = [cKDTree(m(np.linspace(0, 1, 20001))) for m in manifolds(2, seed).values()]
        blurred = components_along_manifolds(2, seed, sd=0.3)
        before = [ComponentsPosterior.of(blurred, p.A, p.y, p.noise).sample(rng, most) for p in self.posteriors]
        self.before = {s: np.stack([b[s] for b in before], axis=1).astype(np.float32) for s in self.sources}
        self.exact_priors = {s: exact_prior(mixture, SCHEDULE) for s, mixture in self.sources.items()}
        self.priors = {s: _as_network(prior, k) for k, (s, prior) in enumerate(self.exact_priors.items())}
        self._bound: dict[Method, Bound] = {}

    def bound(self, method: Method, reference: bool) -> Bound:
        """A method as an E-step binds it; trained on draws of the sources, and on the operators of as many observations
        as an E-step has, those measured here not among them.
        """
        if method not in self._bound:
            view, pool = self.view, None
            if method.training[0]:
                rng = np.random.default_rng(self.seed)
                pool = {s: mixture.sample(rng, OBSERVATIONS * 4) for s, mixture in self.sources.items()}
                if not self.shared:
                    view, _ = components_view(self.sources, OBSERVATIONS, self.seed + 1000, noise=NOISE)
            priors = self.exact_priors if reference else self.priors
            self._bound[method] = method.bind(view, priors, key=jax.random.key(20 + self.seed), pool=pool)
        return self._bound[method]

    def tiled(self, draws: int):
        """Every observation `draws` times."""
        return self.view.select(np.tile(np.arange(self.n), draws))

    def untile(self, x: np.ndarray) -> np.ndarray:
        """Shape `(n, draws, d)` from tiled draws."""
        return np.swapaxes(x.reshape(-1, self.n, x.shape[-1]), 0, 1)

    def off(self, x: np.ndarray) -> float:
        """Mean distance of draws `(..., 10)` to the manifolds."""
        parts = np.split(x.reshape(-1, x.shape[-1]), 2, axis=1)
        return float(np.mean([tree.query(part)[0].mean() for tree, part in zip(self.curves, parts, strict=True)]))


def _as_network(prior: Prior, number: int) -> Prior:
    """The same denoiser as a network: nothing can be known of it but its values and its derivatives.

    The network adds zero to the exact denoiser, and carries the covariance of its errors.
    """
    denoiser = NetworkDenoiser.create(
        prior.shape, MLPConfig(width=8, depth=1), key=jax.random.key(0), base=prior.denoiser()
    )
    mixture, d = prior.denoiser(), prior.shape[0]
    rng = np.random.default_rng(number)
    x = np.asarray(mixture.means)[rng.integers(len(mixture.means), size=2048)]  # pyright: ignore
    x = x + np.sqrt(np.asarray(mixture.values).mean()) * rng.standard_normal(x.shape)  # pyright: ignore
    basis = jnp.asarray(np.linalg.svd(x - x.mean(0), full_matrices=False)[2].T, jnp.float32)
    spread = measure_spread(denoiser, SCHEDULE, jnp.asarray(x, jnp.float32), basis[:, :d], key=jax.random.key(1))
    return DenoiserPrior(replace(denoiser, spread=spread), SCHEDULE, prior.scaling)


def measure(row: Row, pairs: list[Pair]) -> dict:
    """Scores of one sampler."""
    method = read_method({**row.sampling, "batch": pairs[0].n * row.draws})
    energy, off, chi, variance, seconds = [], [], [], [], []
    drawn, shared = None, 0
    for number, pair in enumerate(pairs):
        view, bound = pair.tiled(row.draws), pair.bound(method, row.reference)
        keys, shared = observation_keys(jax.random.key(number), len(view)), bound.shared.total
        start = {s: x[: row.draws].reshape(-1, x.shape[-1]) for s, x in pair.before.items()} if row.warm else None
        begin = time.process_time()  # what other jobs do to the machine does not enter
        drawn = bound.on(view).draw(keys, start=start)
        seconds.append(time.process_time() - begin)
        x = np.stack([pair.untile(sample) for sample in drawn.samples.values()])
        x = np.concatenate(list(x), axis=-1)
        energy.append(energy_distances(x, pair.exact))
        off.append(pair.off(x))
        chi.append(drawn.chi_square.mean())
        variance.append(x.var(axis=1, ddof=1).mean() / pair.variance)
    assert drawn is not None
    found = np.concatenate(energy)
    return {
        "energy": found.mean(),
        "error": found.std() / np.sqrt(len(found)),
        "off": np.mean(off),
        "chi": np.mean(chi),
        "std": np.sqrt(np.mean(variance)),
        "calls": drawn.cost.forward,
        "evaluations": row.forwards or drawn.cost.total,
        "shared": shared,
        # the first pair compiles
        "seconds": np.mean(seconds[1:] or seconds) / len(pairs[0].tiled(row.draws)),
    }


def energy_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Energy distance of draws `(n, r, d)` and `(n, s, d)` for every observation, without bias."""
    between = np.linalg.norm(x[:, :, None] - y[:, None], axis=-1).mean((1, 2))
    return 2 * between - _within(x) - _within(y)


def _within(x: np.ndarray) -> np.ndarray:
    r = x.shape[1]
    return np.linalg.norm(x[:, :, None] - x[:, None], axis=-1).sum((1, 2)) / (r * (r - 1))


def _stack(x: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate(list(x.values()), axis=-1)


def table(found: list[Row], floor: dict) -> str:
    """The scores as Markdown."""
    columns = ["sampler", "setting", "denoiser calls", "evaluations per draw", "shared evaluations", "CPU ms per draw"]
    columns += ["energy distance", "off the manifold", "χ²", "std"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines.append(
        f"| exact posterior | | | | | | {floor['energy']:.3f} | {floor['off']:.3f} | {floor['chi']:.2f} | 1.00 |"
    )
    for row in found:
        s = row.score
        shared = f"{s['shared']:,}" if s["shared"] else ""
        milliseconds = f"{1e3 * s['seconds']:.2f}" if np.isfinite(s["seconds"]) else ""
        evaluations = f"{s['evaluations']}" if row.forwards is None else f"({s['evaluations']})"
        lines.append(
            f"| {row.family} | {row.label} | {s['calls'] or ''} | {evaluations} | {shared} "
            f"| {milliseconds} | {s['energy']:.3f} ± {s['error']:.3f} "
            f"| {s['off']:.3f} | {s['chi']:.2f} | {s['std']:.2f} |"
        )
    return "\n".join(lines)


def figure(found: list[Row], path: Path) -> None:
    """Energy distance against evaluations and against seconds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    families = list(dict.fromkeys(row.family for row in found))
    timed = all(np.isfinite(row.score["seconds"]) for row in found)
    panels = 2 if timed else 1
    fig, axes = plt.subplots(1, panels, figsize=(3 + 4 * panels, 5), sharey=True, layout="constrained", squeeze=False)
    axes = axes[0]
    colours = plt.get_cmap("tab20")
    least = 0.01  # below it a distance is the noise of the benchmark
    for number, family in enumerate(families):
        members = [row for row in found if row.family == family]
        y = [max(row.score["energy"], least) for row in members]
        e = [row.score["error"] for row in members]
        style = {"color": "black", "linewidth": 2.5} if family == PUBLISHED else {"color": colours(number % 20)}
        joined = "-" if "candidates" not in family and "warm" not in family else ""
        marker = "s" if "candidates" in family else "^" if "warm" in family else "o"
        costs = [
            [max(r.score["evaluations"] + r.score["shared"] / OBSERVATIONS, 1) for r in members],
            [1e3 * r.score["seconds"] for r in members],
        ]
        for axis, x in zip(axes, costs, strict=False):
            low = [min(a, b - least) for a, b in zip(e, y, strict=True)]
            axis.errorbar(
                x, y, yerr=[np.maximum(low, 0), e], marker=marker, linestyle=joined, label=family, capsize=2, **style
            )
    axes[0].set(xscale="log", yscale="log", xlabel="network evaluations per draw (a transposed product is one more)")
    axes[0].set_ylabel("energy distance to the exact posterior")
    if timed:
        axes[1].set(xscale="log", xlabel="CPU milliseconds per draw")
    for axis in axes:
        axis.grid(alpha=0.3)
    axes[0].annotate(
        "at or below the noise of the benchmark", (1, least), xytext=(4, 4), textcoords="offset points", fontsize=8
    )
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    fig.savefig(path, dpi=130)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--observations", type=int, default=64, help="per pair of manifolds")
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--only", default="", help="samplers whose family contains these words")
    parser.add_argument("--without", default="nothing", help="samplers whose family contains these words are left out")
    parser.add_argument("--pair-steps", type=int, default=4096, help="training of the amortised posterior")
    parser.add_argument("--shared", action="store_true", help="the same matrices for all observations")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument(
        "--resume", type=Path, help="a JSON file of rows, kept up to date; those in it are not repeated"
    )
    arguments = parser.parse_args()
    begin = time.perf_counter()
    found = [r for r in rows(arguments.pair_steps) if arguments.only in r.family and arguments.without not in r.family]
    pairs = [Pair(seed, arguments.observations, 4, arguments.shared) for seed in range(arguments.pairs)]
    halves = [energy_distances(p.exact[:, : EXACT // 2], p.exact[:, EXACT // 2 :]).mean() for p in pairs]
    residuals = []
    for p in pairs:
        A = np.stack([np.concatenate(list(q.A.values()), axis=1) for q in p.posteriors])
        y = np.stack([q.y for q in p.posteriors])
        residuals.append((((np.einsum("nij,nrj->nri", A, p.exact) - y[:, None]) / NOISE) ** 2).mean())
    floor = {"energy": np.mean(halves), "off": np.mean([p.off(p.exact) for p in pairs]), "chi": np.mean(residuals)}
    print(f"exact draws: {floor}", flush=True)
    done = json.loads(arguments.resume.read_text()) if arguments.resume and arguments.resume.exists() else {}
    for row in found:
        name = f"{row.family}, {row.label}"
        row.score = done[name] = done[name] if name in done else measure(row, pairs)
        if arguments.resume:
            arguments.resume.write_text(json.dumps(done, default=float))
        score = {k: round(float(v), 4) for k, v in row.score.items()}
        print(f"{time.perf_counter() - begin:5.0f} s  {name}: {score}", flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    name = "posterior_shared" if arguments.shared else "posterior"
    (arguments.out / f"{name}_table.inc").write_text(table(found, floor) + "\n")
    figure(found, arguments.out / f"{name}.png")
    print(f"{time.perf_counter() - begin:.0f} seconds; written to {arguments.out}")


if __name__ == "__main__":
    main()
