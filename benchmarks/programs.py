"""What a short fit compiles: how many programs, when, and the seconds it takes; side by side with another version.

    python benchmarks/programs.py [--beside CHECKOUT] [--runs 3] [--show] [--out benchmarks/results]

Two sources of two numbers, two views, a tiny network, three laps, and the separation of the held-out observations:
once with a fixed method (exact moment match), once with what the settings choose by themselves. Every run is a process
of its own, on one core, without a cache; the versions take turns and the least CPU time counts. What a phase compiles
before it says for the first time that it has done something counts as its own. `--show` names every program.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from time import process_time

LAPS = 3
FIXED = {"kind": "annealed", "target": "moments", "covariance": "exact"}
FIXED_BEFORE = {"posterior": "exact"}  # the same, in settings of versions before methods had their own
LOOP = {"step": "ddim", "steps": 3, "warm_steps": 2, "cold_laps": 0, "batch": 16}
SETTINGS = {
    "laps": LAPS,
    "held_out": 0.25,
    "sigma_max": 10.0,
    "gaussian": {"laps": 4},
    "network": {"kind": "mlp", "width": 8, "depth": 1, "embedding": 4},
    "training": {"steps": 100, "batch": 16},
    "draws": 2,
}


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beside", type=Path, help="another checkout of this repository")
    parser.add_argument("--runs", type=int, default=3, help="of every version and method")
    parser.add_argument("--show", action="store_true", help="names every program")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--one", choices=["fixed", "default"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(fitted(arguments.one == "fixed")))
        return
    checkouts = {"this": Path(__file__).parents[1]} | ({"beside": arguments.beside} if arguments.beside else {})
    rows = []
    print(f"{'method':<8} {'version':<8} {'programs':>8} {'laps 2 on':>9} {'compiling s':>12} {'fit CPU s':>10}")
    for method in ("fixed", "default"):
        runs = defaultdict(list)
        for _ in range(arguments.runs):
            for name, checkout in checkouts.items():
                runs[name].append(run(checkout, method))
        for name, found in runs.items():
            best = min(found, key=lambda one: one["cpu"])
            late = sum(p["programs"] for p in best["phases"] if isinstance(p["lap"], int) and p["lap"] > 1)
            row = {"method": method, "version": name, **best, "late": late}
            rows.append(row)
            print(f"{method:<8} {name:<8} {row['programs']:8d} {late:9d} {row['compiling']:12.2f} {row['cpu']:10.2f}")
            if arguments.show:
                for p in row["phases"]:
                    if p["programs"]:
                        print(f"  {p['lap']!s:<12} {p['phase']:<34} {p['programs']:3d}  {' '.join(p['names'])}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "programs.json").write_text(json.dumps(rows, indent=1) + "\n")


def run(checkout: Path, method: str) -> dict:
    """One fit by the version in a checkout, in a process of its own."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false"
    own = {"PYTHONPATH": str(checkout / "src"), "XLA_FLAGS": flags, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    own |= {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-W", "ignore", __file__, "--one", method]
    done = subprocess.run(command, env=os.environ | own, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def fitted(fixed: bool) -> dict:
    """The fit itself, in this process."""
    import jax.monitoring
    from pydantic import ValidationError

    from dichroic import FitConfig, fit

    config = FitConfig.model_validate(SETTINGS)
    if fixed:
        try:
            config = FitConfig.model_validate({**SETTINGS, "sampling": {**FIXED, **LOOP}})
        except ValidationError:
            config = FitConfig.model_validate({**SETTINGS, "sampling": {**FIXED_BEFORE, **LOOP}})
    ledger = Ledger()
    jax.monitoring.register_event_duration_secs_listener(ledger.compiled)
    with tempfile.TemporaryDirectory() as folder:
        fit(problem(), config, out=Path(folder) / "run", progress=ledger)
    return ledger.summary()


def problem():
    """One view of the first source, one of both."""
    import numpy as np

    from dichroic import Problem, Source, View

    rng = np.random.default_rng(0)
    sky, under = (rng.normal(size=(64, 2)) * [1.0, 0.4] + 1 for _ in range(2))
    star = np.sign(rng.normal(size=(64, 2))) * [0.3, 1.0]
    one, two = (x + 0.1 * rng.normal(size=(64, 2)) for x in (sky, under + 0.5 * star))
    views = {"one": View(one, {"sky": 1.0}, 0.1), "two": View(two, {"sky": 1.0, "star": 0.5}, 0.1)}
    return Problem({"sky": Source((2,)), "star": Source((2,))}, views)


class Ledger:
    """Progress of a fit that books what was compiled since it was last told something."""

    def __init__(self):
        self.rows, self.lap, self.programs, self.begin = [], "before laps", [], process_time()

    def compiled(self, event: str, seconds: float, fun_name: str = "", **_) -> None:
        """One program, as JAX tells it."""
        if event.endswith("backend_compile_duration"):
            self.programs.append((fun_name, seconds))

    def advance(self, fraction: float, what: str, left: float | None = None) -> None:
        """The end of a piece of work."""
        self.rows.append((self.lap, what, self.programs))
        self.programs = []

    def say(self, line: str) -> None:
        """The end of a lap, where it is one."""
        if line.startswith("compiling"):
            self.lap = 0
        elif isinstance(self.lap, int) and "chi²" in line:
            self.advance(0.0, "judge")
            self.lap = self.lap + 1 if self.lap < LAPS else "separation"

    def close(self) -> None:
        """Nothing is left open."""

    def summary(self) -> dict:
        """Programs, names and seconds of every phase of every lap, and in all."""
        cpu, phases = process_time() - self.begin, defaultdict(list)
        for lap, phase, programs in self.rows:
            phases[lap, phase] += programs
        every = [program for programs in phases.values() for program in programs]
        return {
            "programs": len(every),
            "compiling": sum(seconds for _, seconds in every),
            "cpu": cpu,
            "phases": [
                {"lap": lap, "phase": phase, "programs": len(found), "names": [name for name, _ in found]}
                | {"seconds": sum(seconds for _, seconds in found)}
                for (lap, phase), found in phases.items()
            ],
        }


if __name__ == "__main__":
    main()
