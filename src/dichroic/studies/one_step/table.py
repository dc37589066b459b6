"""The tables of one-step generators, with what is known beside."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["as_table"]

_TITLES = {
    "smd": "score-of-mixture distillation",
    "dmd": "reverse KL (DMD)",
    "smt": "score-of-mixture training",
    "gan": "GAN",
    "diffusion-gan": "Diffusion-GAN",
    "consistency": "consistency training",
    "stochastic": "stochastic denoiser, distilled",
    "teacher": "diffusion (Heun), the teacher",
    "diffusion": "diffusion (Heun)",
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


def as_table(cells: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Lines of Markdown: the laws in the plane, with the ablations, and the digits."""
    if plane := [cell for cell in cells if cell["law"] != "digits"]:
        yield (
            "| law | training | steps | CPU seconds | within 3 sd | parts hit | smallest share | energy distance | "
            "floor | known after 4000 steps: hit, smallest, within, distance |"
        )
        yield "|---|---|---|---|---|---|---|---|---|---|"
        for cell in plane:
            n = cell["numbers"]
            yield (
                f"| {cell['law']} | {_title(cell)} | {cell['steps']} | {n['seconds']:.0f} | {n['within']:.2f} | "
                f"{n['hit']} of {n['parts']} | {n['smallest']:.2f} | {n['energy']:.4f} | {n['floor']:.4f} | "
                f"{_KNOWN.get((cell['law'], cell['method']), '')} |"
            )
        yield ""
    if digits := [cell for cell in cells if cell["law"] == "digits"]:
        yield from ("| digits | steps | CPU seconds | Fréchet distance at so many evaluations |", "|---|---|---|---|")
        for cell in digits:
            n = cell["numbers"]
            at = [f"{d:.1f} at {name[3:]}" for name, d in n.items() if name.startswith("at ")]
            floor = f"; two halves of the data: {n['floor']:.1f}" if "floor" in n else ""
            steps = cell["steps"] * (1 + cell["method"].startswith(("teacher", "diffusion,")))
            yield f"| {_title(cell)} | {steps} | {n['seconds']:.0f} | {', '.join(at)}{floor} |"
        yield from ("", *_PUBLISHED.splitlines(), "")


def _title(cell: Mapping[str, Any]) -> str:
    way, comma, rest = cell["method"].partition(", ")
    return f"{_TITLES[way]}{comma}{rest}" + (f", seed {cell['seed']}" if cell["seed"] else "")
