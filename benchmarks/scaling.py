"""Time and memory of the parts of a fit against what makes them grow, with fitted slopes.

    python benchmarks/scaling.py [--axes observations draws ...] [--out docs/benchmarks]

Every point is a process of its own, so that its memory is its own, and repeats its work: the second time nothing is
compiled. Writes `scaling.json`, a table to be included in a page, and a figure. The slope is that of the logarithm of
the time of the three largest points against the logarithm of what grows: 1 is proportional.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

AXES = {
    # what grows: its values, and what is timed
    "observations": ([1_000, 10_000, 100_000], ("check", "gaussian", "draws")),
    "dimension": ([8, 16, 32], ("gaussian", "draws", "training")),
    "sources": ([1, 2, 4], ("gaussian", "draws")),
    "views": ([1, 2, 4], ("gaussian",)),
    "draws": ([1, 4, 16], ("separate",)),
    "devices": ([1, 2, 4], ("draws",)),
}
USUAL = {"observations": 2_000, "dimension": 8, "sources": 2, "views": 1, "draws": 1, "devices": 1}


def problem_of(n: int, d: int, sources: int, views: int):
    """Gaussian sources of `d` numbers, seen through matrices of every observation's own, half as many data."""
    import numpy as np

    from dichroic.operators import Dense, PerSample
    from dichroic.problem import Problem, Source, View

    rng, m, names = np.random.default_rng(0), max(d // 2, 2), [f"s{i}" for i in range(sources)]
    found = {}
    for v in range(views):
        mixing = {s: PerSample(Dense(rng.standard_normal((n, m, d), np.float32))) for s in names}
        y = sum(
            np.einsum("nij,nj->ni", op.value.matrix, rng.standard_normal((n, d), np.float32)) for op in mixing.values()
        )
        found[f"v{v}"] = View(y + 0.1 * rng.standard_normal((n, m), np.float32), mixing, np.float32(0.1))
    return Problem({s: Source((d,)) for s in names}, found)


def works(n: int, d: int, sources: int, views: int, draws: int) -> dict:
    """What is timed, by name."""
    import jax
    import numpy as np

    from dichroic.closed import GaussianConfig, gaussian_em
    from dichroic.design import check_design
    from dichroic.diffusion import DenoiserPrior, MLPConfig, NetworkDenoiser, Schedule, TrainingConfig, train
    from dichroic.posterior import observation_keys, read_method
    from dichroic.run import separate

    problem = problem_of(n, d, sources, views)
    config, network, schedule = GaussianConfig(laps=3), MLPConfig(width=64, depth=2), Schedule(0.01, 10.0)
    view = next(iter(problem.views.values()))

    def priors():
        return {
            s: DenoiserPrior(NetworkDenoiser.create((d,), network, key=jax.random.key(i)), schedule)
            for i, s in enumerate(problem.sources)
        }

    def draw():
        bound = read_method({"kind": "annealed", "steps": 8}).bind(view, priors(), key=jax.random.key(0))
        return bound.draw(observation_keys(jax.random.key(1), len(view)))

    def learn():
        prior = next(iter(priors().values()))
        x = jax.device_put(np.random.default_rng(0).standard_normal((n, d)).astype(np.float32))
        return train(prior.denoiser(), schedule, x, TrainingConfig(steps=64, batch=512), key=jax.random.key(2))

    return {
        "check": lambda: check_design(problem),
        "gaussian": lambda: gaussian_em(problem, config),
        "draws": draw,
        "training": learn,
        "separate": lambda: separate(problem, priors(), key=jax.random.key(3), draws=draws, share=1.0),
    }


def one(setting: dict, names: list[str]) -> dict:
    """Seconds of the second time, processor seconds, and the peak of memory above that of an idle process (MB)."""
    import jax

    jax.devices()
    setting.pop("devices")
    renamed = {"n": "observations", "d": "dimension", "sources": "sources", "views": "views", "draws": "draws"}
    found = {}
    for name in names:
        idle, work = peak(), works(**{k: setting[v] for k, v in renamed.items()})[name]
        work()
        begin, cpu = time.perf_counter(), time.process_time()
        work()
        found[name] = {
            "seconds": time.perf_counter() - begin,
            "cpu": time.process_time() - cpu,
            "memory": peak() - idle,
        }
    return found


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def measured(axes: list[str]) -> dict:
    """All points, each in a process of its own."""
    rows: dict = {}
    for axis in axes:
        values, names = AXES[axis]
        for name in names:
            for value in values:
                setting = USUAL | {axis: value}
                flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={setting['devices']}"
                command = [sys.executable, __file__, "--point", json.dumps([setting, [name]])]
                done = subprocess.run(command, env={**os.environ, "XLA_FLAGS": flags}, capture_output=True, text=True)
                if done.returncode:
                    print(axis, name, value, done.stderr[-500:], flush=True)
                    continue
                rows.setdefault(axis, {}).setdefault(name, {})[value] = json.loads(done.stdout.splitlines()[-1])[name]
                print(axis, name, value, rows[axis][name][value], flush=True)
    return rows


def slope(points: dict, what: str) -> float:
    """Of the logarithms, through the three largest points."""
    import numpy as np

    x, y = np.array(sorted((float(k), max(v[what], 1e-3)) for k, v in points.items())[-3:]).T
    return float(np.polyfit(np.log(x), np.log(y), 1)[0]) if len(x) > 1 else float("nan")


def write(rows: dict, out: Path) -> None:
    """The numbers, the table and the curves."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    (out / "scaling.json").write_text(json.dumps(rows, indent=1) + "\n")
    lines = [
        "| grows | part | from | to | CPU s | slope | memory, MB | slope |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    figure, panels = plt.subplots(1, len(rows), figsize=(3 * len(rows), 3), squeeze=False)
    for panel, (axis, parts) in zip(panels[0], rows.items(), strict=True):
        for name, points in parts.items():
            points = {int(k): v for k, v in points.items()}
            first, last = min(points), max(points)
            numbers = (f"{points[first]['cpu']:.2f} to {points[last]['cpu']:.2f}", f"{slope(points, 'cpu'):.2f}")
            memory = (
                f"{points[first]['memory']:.0f} to {points[last]['memory']:.0f}",
                f"{slope(points, 'memory'):.2f}",
            )
            lines.append(f"| {axis} | {name} | {first:,} | {last:,} | " + " | ".join(numbers + memory) + " |")
            panel.loglog(list(points), [v["cpu"] for v in points.values()], "o-", label=name)
        panel.set(xlabel=axis, ylabel="CPU seconds" if panel is panels[0][0] else None)
        panel.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(out / "scaling.png", dpi=120)
    (out / "scaling_table.inc").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axes", nargs="+", choices=list(AXES), default=list(AXES))
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--point", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.point:
        setting, names = json.loads(arguments.point)
        print(json.dumps(one(setting, names)))
    else:
        write(measured(arguments.axes), arguments.out)


if __name__ == "__main__":
    main()
