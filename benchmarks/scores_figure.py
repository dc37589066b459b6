"""The figure of `docs/score.md`: one panel for each thing that the theory says of scores from samples."""

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax

from dichroic.score import relative_fisher_error, spectral_stein

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ORDERS = (1, 2, 3, 4, 6, 8, 9, 12, 16, 24, 32, 64, 128)


def draw(kept, path):
    """Eight panels from the kept results; what is quick is computed here."""

    def found(name, part=None):
        values = [v if part is None else v[part] for key, v in kept.items() if key.rsplit("/", 1)[0] == name]
        return np.mean(values) if values else np.nan

    figure, axes = plt.subplots(2, 4, figsize=(16, 7.4), constrained_layout=True)
    panels = (floor, threshold, probes, bias, lifting, capacity, curl, nesting)
    for number, (panel, ax) in enumerate(zip(panels, axes.ravel(), strict=True), 1):
        panel(ax, found)
        ax.set_title(f"{number}. {panel.__doc__}", fontsize=10)
        if ax.get_legend_handles_labels()[0]:
            ax.legend(fontsize=8)
    figure.savefig(path, dpi=100)


def spectral(d, order, n=1200, seed=0):
    rng, v = np.random.default_rng(seed), np.linspace(0.25, 2, d)
    x, fresh = rng.normal(size=(n, d)) * np.sqrt(v), rng.normal(size=(2000, d)) * np.sqrt(v)
    return relative_fisher_error(spectral_stein(x, modes=order)(fresh), -fresh / v)


def floor(ax, found):
    """The floor of an order"""
    C = np.sort(1 / np.linspace(0.25, 2, 8))[::-1]
    orders = (1, 2, 4, 8)
    ax.plot(range(1, 9), [C[L:].sum() / C.sum() for L in range(1, 9)], "k-", label="the other eigenvalues")
    _points(
        ax, orders, [found(f"neural/gauss-8/principal directions {L}") for L in orders], label="principal directions"
    )
    ax.plot(orders, [spectral(8, L) for L in orders], "s", label="spectral Stein")
    ax.set(xlabel="order", ylabel="relative Fisher error")


def threshold(ax, found):
    """Spectral Stein needs d + 1 modes"""
    for i, d in enumerate((2, 4, 8, 16)):
        ax.loglog(ORDERS, [spectral(d, L) for L in ORDERS], f"C{i}.-", label=f"d = {d}")
        ax.axvline(d + 1, color=f"C{i}", ls=":")
    ax.set(xlabel="modes")


def _points(ax, x, y, label):
    if not np.isnan(np.add(x, y)).all():  # what was not run has no entry in the legend
        ax.plot(x, y, "o", label=label)


def _bars(ax, groups, methods, value):
    groups = [group for group in groups if not all(np.isnan(value(group, method)) for method in methods)]
    width = 0.8 / len(methods)
    for i, method in enumerate(methods):
        ax.bar(np.arange(len(groups)) + i * width, [value(group, method) for group in groups], width, label=method)
    ax.set_xticks(np.arange(len(groups)) + 0.4 - width / 2, groups)


def probes(ax, found):
    """Random directions cost variance"""
    laws = ("gauss-2", "gauss-8", "mix-2", "mix-8")
    _bars(ax, laws, ("exact", "sliced", "sliced Gaussian"), lambda law, m: found(f"neural/{law}/{m}"))
    ax.set_ylim(bottom=0)
    ax.margins(y=0.3)


def bias(ax, found):
    """Noise is a bias of the clean score"""
    sigma = np.geomspace(0.03, 1, 50)
    for i, d in enumerate((2, 8)):
        v = np.linspace(0.25, 2, d)[:, None]
        ax.loglog(
            sigma, np.sum(v * (1 / v - 1 / (v + sigma**2)) ** 2, 0) / np.sum(1 / v, 0), f"C{i}", label=f"bias, d = {d}"
        )
        at = [found(f"neural/gauss-{d}/denoising at {s}") for s in (0.1, 0.3)]
        ax.plot([0.1, 0.3], at, f"C{i}o", label=f"network, d = {d}")
        ax.axhline(found(f"neural/gauss-{d}/sliced"), color=f"C{i}", ls=":", label=f"without noise, sliced, d = {d}")
    ax.set(xlabel="noise", ylim=(1e-4, 1))


def lifting(ax, found):
    """Lifting changes nothing in the end"""
    ends = [1e-4, 1e-1]
    ax.loglog(ends, ends, "k-", lw=0.8)
    pairs = (("sliced", "lifted sliced"), ("denoising at 0.3", "lifted denoising at 0.3"))
    laws = ("gauss-2", "gauss-8", "mix-2", "mix-8", "gauss-32", "mix-32")
    for plain, lifted in pairs:
        _points(ax, *([found(f"neural/{law}/{m}") for law in laws] for m in (plain, lifted)), label=lifted)
    ax.set(xlabel="not lifted", ylabel="lifted")


def capacity(ax, found):
    """Levels help small networks"""
    cases = {
        "16 units": "denoising, 16 units",
        "two of 16": "residual, 16 units",
        "24 units": "denoising, 24 units",
        "64 units": "denoising",
        "two of 64": "residual",
        "90 units": "denoising, 90 units",
    }
    _bars(ax, tuple(cases), ("error",), lambda case, _: found(f"denoiser/{cases[case]}"))
    ax.get_legend_handles_labels()[0][0].set_label("_")
    ax.set(ylim=(0, None), xlabel="network", ylabel="relative error of a denoiser")
    ax.tick_params(axis="x", labelsize=7)


def curl(ax, found):
    """Kernels free of curl win as d grows"""
    laws = ("iso-2", "mix-2", "iso-8", "mix-8", "iso-32", "mix-32", "gauss-32")
    methods = ("spectral, best", "scalar, best", "curl-free, best", "chosen")
    _bars(ax, laws, methods, lambda law, method: found(f"kernels/{law}", method))
    ax.tick_params(axis="x", labelsize=7)
    ax.set_yscale("log")


def nesting(ax, found):
    """Nesting orders the directions"""
    values = np.array([4, 2, 1, 2 / 3, 0.5, 0.25])
    U = np.linalg.qr(np.random.default_rng(3).normal(size=(6, 6)))[0]
    Sigma = (U / values) @ U.T
    rng = np.random.default_rng(0)
    start = jnp.asarray(np.linalg.qr(rng.normal(size=(6, 4)))[0]), jnp.asarray(0.3 * rng.normal(size=(6, 6)))
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, 20_000))

    @jax.jit
    def cosines(m):
        def loss(model):
            V, G = model
            c = V.T @ G @ Sigma @ G.T @ V
            return -m @ jnp.sum(V * (G @ V), 0) + jnp.sum(jnp.minimum(m[:, None], m) * c * (V.T @ V)) / 2

        def step(_, carried):
            model, state = carried
            update, state = optimizer.update(jax.grad(loss)(model), state)
            return optax.apply_updates(model, update), state

        (V, _), _ = jax.lax.fori_loop(0, 20_000, step, (start, optimizer.init(start)))
        return jnp.abs(jnp.sum(V / jnp.linalg.norm(V, axis=0) * U[:, :4], 0))

    both = {"nested": cosines(jnp.array([1.0, 0.75, 0.5, 0.25])), "not nested": cosines(jnp.ones(4))}
    _bars(ax, range(1, 5), tuple(both), lambda i, kind: float(both[kind][i - 1]))
    ax.set(xlabel="direction", ylabel="cosine with the eigenvector", ylim=(0, 1.35))
