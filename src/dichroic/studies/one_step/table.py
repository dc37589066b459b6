"""The tables of one-step generators, with what is known beside."""

from collections.abc import Sequence

from dichroic.studies.one_step.rows import Row

__all__ = ["as_table"]

_TITLES = {
    "smd": "score-of-mixture distillation",
    "dmd": "reverse KL (DMD)",
    "smt": "score-of-mixture training",
    "gan": "GAN",
    "diffusion-gan": "Diffusion-GAN",
    "consistency": "consistency training",
    "stochastic": "stochastic denoiser, distilled",
    "teacher": "diffusion, the teacher (Heun)",
}
# after 4000 steps of a generator, one seed each: hit, smallest share, within, energy distance
_KNOWN = {
    ("ring", "smd"): "8 of 8, 0.83, 0.87, 0.000",
    ("ring", "smt"): "8 of 8, 0.48, 0.67, 0.005",
    ("roll", "smt"): "40 of 40, –, 0.61, 0.003",
    ("grid", "smd"): "17 of 25, –, 0.29, 0.003",
}
_PUBLISHED = """Published Fréchet distances of CIFAR-10, one evaluation unless said otherwise (thesis, table 8.3), which
are of other features and not to be compared with these: diffusion (EDM, 35 evaluations) 1.97; from samples, consistency
training 8.70, improved 2.83, score-of-mixture training 3.13; distilled, reverse KL 5.58 without and 2.66 with its
regression, DMD2 with a GAN term 2.43, score-of-mixture distillation 2.22."""


def as_table(found: Sequence[Row]) -> str:
    """Markdown: the laws in the plane, with the ablations, and the digits."""
    parts = []
    if plane := [row for row in found if row.law != "digits"]:
        lines = [
            "| law | training | steps | CPU seconds | within 3 sd | parts hit | smallest share | energy distance | "
            "floor | known after 4000 steps: hit, smallest, within, distance |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        for row in plane:
            s = row.scores
            lines.append(
                f"| {row.law} | {_title(row.way)} | {s['steps']:.0f} | {s['seconds']:.0f} | {s['within']:.2f} | "
                f"{s['hit']:.0f} of {s['parts']:.0f} | {s['smallest']:.2f} | {s['energy']:.4f} | {s['floor']:.4f} | "
                f"{_KNOWN.get((row.law, row.way), '')} |"
            )
        parts.append("\n".join(lines))
    if digits := [row for row in found if row.law == "digits"]:
        lines = ["| digits | steps | CPU seconds | Fréchet distance at so many evaluations |", "|---|---|---|---|"]
        for row in digits:
            at = [f"{d:.1f} at {name[3:]}" for name, d in row.scores.items() if name.startswith("at ")]
            floor = f"; two halves of the data: {row.scores['floor']:.1f}" if "floor" in row.scores else ""
            steps, seconds = row.scores["steps"], row.scores["seconds"]
            lines.append(f"| {_title(row.way)} | {steps:.0f} | {seconds:.0f} | {', '.join(at)}{floor} |")
        parts += ["\n".join(lines), _PUBLISHED]
    return "\n\n".join(parts) + "\n"


def _title(way: str) -> str:
    first, _, rest = way.partition(", ")
    return f"{_TITLES[first]}, {rest}" if rest else _TITLES[first]
