"""Random manifolds, contrastive, by closed-form stages alone: quality of the newest source against minutes.

    python benchmarks/mixtures.py [--sources 3] [--observations 65536] [--components 64] [--out benchmarks/results]
    python benchmarks/mixtures.py --figure docs/benchmarks/mixtures.png   # of what lies in --out

The problem of DDPRISM (arXiv 2510.05205), section 5.1, with views drawn independently. Gaussian EM and then EM of
Gaussian components; after every change that is kept, one exact posterior draw of every held-out observation. Of those,
512 per view judge the number of components, and the others are evaluated: PSNR of the draws of every source in every
view, and in the end the Sinkhorn divergence of the newest source in its view, as published (from at most 4,096 draws).
Minutes count from the start, with imports and compilation and without the evaluation.
"""

import argparse
import json
import time
from pathlib import Path

BEGIN = time.monotonic()
JUDGES = 512
PUBLISHED = {2: 38.27, 3: 19.78}  # dB: DDPRISM, table 1


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=int, default=2)
    parser.add_argument("--observations", type=int, default=4096, help="per view")
    parser.add_argument("--evaluated", type=int, default=4096, help="held-out observations per view")
    parser.add_argument("--components", type=int, default=64, help="at most, per source")
    parser.add_argument("--subset", type=int, default=16384, help="observations per view that components learn from")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path, help="draw the results in --out, and run nothing")
    arguments = parser.parse_args()
    if arguments.figure:
        figure(sorted(arguments.out.glob("mixtures-*.json")), arguments.figure)
        return

    import numpy as np

    from dichroic.algebra import Components
    from dichroic.closed import ComponentsConfig, components_em, gaussian_em
    from dichroic.metrics import bootstrap, halved_sinkhorn_divergence, psnr_per_sample
    from dichroic.studies.experiments import contrastive

    n, evaluated = arguments.observations, arguments.evaluated
    problem, fresh = contrastive(n, arguments.sources, arguments.seed, held_out=JUDGES + evaluated)
    assert fresh is not None
    judges = fresh.select({v: np.arange(JUDGES) for v in fresh.views})
    held_out = fresh.select({v: np.arange(JUDGES, JUDGES + evaluated) for v in fresh.views})
    curve = Curve(held_out)
    start = {s: Components.of(p) for s, p in gaussian_em(problem).populations.items()}
    curve.add(start)
    config = ComponentsConfig(components=arguments.components, subset=arguments.subset)
    found = components_em(
        problem, start, config, held_out=judges, seed=arguments.seed, kept=lambda fit: curve.add(fit.components)
    )
    assert not found.refused
    minutes = curve.now()
    newest, view = list(problem.sources)[-1], list(problem.views)[-1]
    draws, truth = curve.draws[view][newest], held_out.views[view].truth[newest]
    low, _, high = bootstrap(psnr_per_sample(draws, truth, peak=4.0))
    divergence = halved_sinkhorn_divergence(draws[:4096], truth[:4096])
    print(f"{newest} in {view}: {curve.rows[-1]['psnr'][view][newest]:.2f} dB ({low:.2f} to {high:.2f}), ", end="")
    print(
        f"Sinkhorn divergence {divergence:.3f}; {minutes:.1f} minutes, {len(found.log_likelihood)} laps of components"
    )
    record = {
        name: getattr(arguments, name) for name in ("sources", "observations", "evaluated", "components", "subset")
    }
    record |= {"seed": arguments.seed, "minutes": minutes, "sinkhorn": divergence, "interval": [low, high]}
    record |= {"laps": len(found.log_likelihood), "curve": curve.rows}
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / f"mixtures-{arguments.sources}-{n}.json").write_text(json.dumps(record, indent=1) + "\n")


class Curve:
    """Minutes and scores of everything that was reached."""

    def __init__(self, held_out):
        self.held_out, self.rows, self.draws, self.evaluating = held_out, [], {}, 0.0
        print(f"{'minutes':>8}  {'components':<14} PSNR of single draws (dB)")

    def now(self) -> float:
        """Minutes since the start, without those spent on evaluation."""
        return (time.monotonic() - BEGIN - self.evaluating) / 60

    def add(self, components) -> None:
        """Scores exact posterior draws of the held-out observations."""
        import jax

        from dichroic.closed.routes import bind_components
        from dichroic.metrics import psnr

        begin, minutes = time.monotonic(), self.now()
        shapes = {s: source.shape for s, source in self.held_out.sources.items()}
        scores = {}
        for name, view in self.held_out.views.items():
            bound = bind_components(view, shapes)
            assert bound is not None
            self.draws[name] = bound.draw(components, jax.random.split(jax.random.key(0), len(view)))
            scores[name] = {s: psnr(x, view.truth[s], peak=4.0) for s, x in self.draws[name].items()}
        components = {s: len(mixture) for s, mixture in components.items()}
        self.rows.append({"minutes": minutes, "components": components, "psnr": scores})
        self.evaluating += time.monotonic() - begin
        parts = "   ".join(" ".join(f"{value:.2f}" for value in row.values()) for row in scores.values())
        print(f"{minutes:8.2f}  {' '.join(map(str, components.values())):<14} {parts}", flush=True)


def figure(files: list[Path], path: Path) -> None:
    """Draws the newest source's PSNR in its view against minutes, a curve for every file, with what is published."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    fig, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for number, file in enumerate(files):
        record = json.loads(file.read_text())
        newest, view = f"source{record['sources']}", f"view{record['sources']}"
        minutes = [row["minutes"] for row in record["curve"]]
        scores = [row["psnr"][view][newest] for row in record["curve"]]
        label = f"{record['sources']} sources, {record['observations']:,} observations per view"
        axis.plot(minutes, scores, "o-", color=f"C{number}", markersize=4, label=label)
        if record["sources"] in PUBLISHED:
            axis.axhline(PUBLISHED[record["sources"]], color=f"C{number}", linestyle=":", linewidth=1)
    axis.set(xscale="log", xlabel="minutes since the start", ylabel="PSNR of the newest source (dB)")
    axis.set_xticks([0.5, 1, 2, 5, 10, 20], ["0.5", "1", "2", "5", "10", "20"], minor=False)
    axis.minorticks_off()
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    fig.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
