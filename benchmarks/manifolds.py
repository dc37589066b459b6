"""Random manifolds, contrastive, two sources: PSNR of posterior draws against minutes, from a cold start.

    python benchmarks/manifolds.py [--observations 4096] [--laps 14 40] [--out benchmarks/results]

The problem of DDPRISM (arXiv 2510.05205), section 5.1, with views drawn independently. Prints one line per lap and
writes a table: minutes since the start (imports and compilation included), PSNR of every source in every view that is
being learned, on held-out observations, and the share of diverged draws.
"""

import argparse
import json
import time
from pathlib import Path

BEGIN = time.monotonic()


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--observations", type=int, default=4096, help="per view")
    parser.add_argument("--laps", type=int, nargs=2, default=(14, 40), help="for the first and the second source")
    parser.add_argument("--training-steps", type=int, default=1024)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    from dichroic.run import fit
    from dichroic.settings import FitConfig
    from dichroic.studies.experiments import contrastive

    problem, held_out = contrastive(arguments.observations, sources=2, seed=arguments.seed, held_out=512)
    first, second = problem.sources
    config = FitConfig(
        plan="sequential",
        laps={first: arguments.laps[0], second: arguments.laps[1]},
        patience=0,
        held_out_limit=512,
        training={"steps": arguments.training_steps},  # pyright: ignore
        seed=arguments.seed,
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    curve = Curve()
    run_folder = arguments.out / f"manifolds-{arguments.observations}-{arguments.seed}-{int(time.time())}"
    fit(problem, config, out=run_folder, held_out=held_out, progress=curve)
    table = {"observations": arguments.observations, "seed": arguments.seed, "curve": curve.rows(run_folder)}
    (arguments.out / f"manifolds-{arguments.observations}.json").write_text(json.dumps(table, indent=1) + "\n")
    print(f"{'minutes':>8} {'stage':>10} {'lap':>4}  held-out PSNR of single draws (dB), diverged")
    for row in table["curve"]:
        scores = "  ".join(f"{s} {value:.2f}" for s, value in row["psnr"].items())
        print(f"{row['minutes']:8.2f} {row['stage']:>10} {row['lap']:4d}  {scores}  {row['diverged']:.2%}")


class Curve:
    """A progress meter that notes when every lap ended."""

    def __init__(self):
        self.minutes: list[float] = []

    def say(self, line: str) -> None:
        """Notes the time of lap lines and prints all lines."""
        if "| prediction" in line:
            self.minutes.append((time.monotonic() - BEGIN) / 60)
        print(f"{(time.monotonic() - BEGIN) / 60:6.2f} min  {line}", flush=True)

    def advance(self, fraction: float, what: str, left: float | None = None) -> None:
        """Ignored."""

    def close(self) -> None:
        """Ignored."""

    def rows(self, folder: Path) -> list[dict]:
        """One row per lap."""
        records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        rows = []
        for minutes, record in zip(self.minutes, records, strict=True):
            (view,) = record["views"].values()
            row = {"minutes": round(minutes, 3), "stage": record["stage"], "lap": record["lap"]}
            rows.append(row | {"psnr": view["held_out"]["psnr"], "diverged": view["diverged"]})
        return rows


if __name__ == "__main__":
    main()
