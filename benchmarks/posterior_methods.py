"""Every way of drawing posteriors at equal network evaluations, beside the exact posterior.

    python benchmarks/posterior_methods.py [--observations 32] [--pairs 2] [--evaluations 100 400] [--only WORDS]
        [--swept] [--out docs/benchmarks]

Two manifolds in five dimensions through random 3 x 5 matrices with noise 0.01, as in `benchmarks/posterior.py`, whose
scores these are: priors of networks that are exact, and of which nothing can be known but values and derivatives.
Every method gets the number of steps that costs about so many evaluations a draw. Writes one table.
"""

import argparse
import re
import time
from pathlib import Path

import jax
import numpy as np

from dichroic.posterior import METHODS, TARGETS, Method, read_method
from posterior import EXACT, Pair, Row, energy_distances, measure

# kinds that are no contenders here: they choose or combine others, are for discrete sources, or read one off the data
_OTHER = ("auto", "annealed", "closed_form", "candidates", "amortised", "gibbs", "handover")
_OTHER += ("alpha_rgs", "reverse_diffusion", "matched_filter", "successive_cancellation", "lmmse")
# names of rows, and the settings of each
SETTINGS: dict[str, dict] = {
    "moment matching, decoupled (default)": {"kind": "annealed", "covariance": "exact"},
    "moment matching, ancestral": {"kind": "annealed", "covariance": "exact", "step": "ancestral"},
    **{name: {"kind": "annealed", "target": name} for name in TARGETS if name != "moments"},
    **{kind: {"kind": kind} for kind, cls in METHODS.items() if kind not in _OTHER and not cls.needs_exact},
    # few particles leave evaluations for steps
    "tds": {"kind": "tds", "particles": 4},
    "tds, opc": {"kind": "tds", "twist": "opc", "particles": 4},
    "mcgdiff": {"kind": "mcgdiff", "particles": 4},
    "basis": {"kind": "basis", "rounds": 5},
    # what the settings that papers tune per problem do, of which the default was chosen
    **{f"dps, zeta = {zeta:g}": {"kind": "dps", "zeta": zeta} for zeta in (0.1, 0.3)},
    **{f"sda, gamma = {gamma:g}": {"kind": "annealed", "target": "sda", "gamma": gamma} for gamma in (0.01, 1.0)},
}


def _swept(kind: str, **values: tuple) -> dict[str, dict]:
    """A method with each value of one setting, all others being the defaults."""
    return {
        f"{kind}, {name} = {value:g}" if isinstance(value, int | float) else f"{kind}, {name} = {value}": {
            "kind": kind,
            name: value,
        }
        for name, some in values.items()
        for value in some
    }


# what other defaults were chosen of, `--swept`
SWEPT: dict[str, dict] = {
    **_swept("mcg", zeta=(0.1, 0.3, 1.0, 3.0, 10.0)),
    **{
        f"diffpir, weight = {weight:g}, fresh = {fresh:g}": {"kind": "diffpir", "weight": weight, "fresh": fresh}
        for weight, fresh in ((1, 0.3), (3, 0.3), (8, 0.3), (30, 0.3), (8, 0.1), (8, 1), (1, 1))
    },
    **_swept("ddrm", eta=(0.5, 0.85, 1.0), eta_data=(0.5,)),
    **_swept("snips", length=(0.1, 0.2, 0.5), rounds=(1, 10)),
    **_swept("red_diff", weight=(0.03, 0.25, 2.0), rate=(0.03, 0.3)),
    **_swept("msdm", gamma=(0.7, 1.0, 1.4, 2.0), churn=(0.1, 0.3, 1.0), width=("level",)),
}


def counted(settings: dict, evaluations: int, bind) -> Method | None:
    """A method with as many steps as cost about so many evaluations; None where the first one costs more, or steps
    cost nothing.
    """
    method = read_method(settings)
    two, three = (bind(method.counting(n, n)).cost.total for n in (2, 3))
    if two == three:
        return None
    steps = 2 + round((evaluations - two) / (three - two))
    return method.counting(steps, steps) if steps >= 1 else None


def main() -> None:
    """Measures everything and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--observations", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--evaluations", type=int, nargs="+", default=[100, 400])
    parser.add_argument("--only", default="")
    parser.add_argument("--swept", action="store_true", help="settings of methods, in place of methods")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    arguments = parser.parse_args()
    begin = time.process_time()
    pairs = [Pair(seed, arguments.observations, 4) for seed in range(arguments.pairs)]
    halves = [energy_distances(p.exact[:, : EXACT // 2], p.exact[:, EXACT // 2 :]).mean() for p in pairs]
    off = np.mean([p.off(p.exact) for p in pairs])
    lines = [
        "| method | steps | evaluations per draw | CPU ms per draw | energy distance | off the manifold | χ² | std |",
        "|---" * 8 + "|",
        f"| exact posterior | | | | {np.mean(halves):.3f} | {off:.3f} | 1.00 | 1.00 |",
    ]
    for evaluations in arguments.evaluations:
        for name, settings in (SWEPT if arguments.swept else SETTINGS).items():
            if not re.search(arguments.only, name):
                continue
            method = counted(settings, evaluations, lambda m: pairs[0].bound(m, False))
            if method is None:
                continue
            row = Row(name, f"{evaluations}", method.model_dump(exclude_none=True))
            s = measure(row, pairs)
            lines.append(
                f"| {name} | {method.runs[0]} | {s['evaluations']} | {1e3 * s['seconds']:.2f} "
                f"| {s['energy']:.2f} ± {s['error']:.2f} | {s['off']:.3f} | {s['chi']:.2f} | {s['std']:.2f} |"
            )
            print(f"{time.process_time() - begin:5.0f} s {lines[-1]}", flush=True)
            jax.clear_caches()
    arguments.out.mkdir(parents=True, exist_ok=True)
    table = "posterior_settings_table.inc" if arguments.swept else "posterior_methods_table.inc"
    (arguments.out / table).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
