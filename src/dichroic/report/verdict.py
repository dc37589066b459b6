"""The run in one sentence, and what that sentence does not say."""

from dataclasses import dataclass, field

import numpy as np

from dichroic.report.describe import number
from dichroic.report.material import Material
from dichroic.report.residuals import ChiSquare

__all__ = ["Verdict", "judge"]


@dataclass(frozen=True)
class Verdict:
    """`level` is "fine", "look" or "unfinished"; `label` names it; `sentence` gives the numbers; `reasons` what to do next;
    `limits` what the numbers cannot show."""

    level: str
    label: str
    sentence: str
    reasons: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)


def judge(material: Material, chi: dict[str, ChiSquare]) -> Verdict:
    """The verdict on a run. It is drawn from residuals, diverged draws and the replay score only, and says so."""
    reasons: list[str] = []
    parts = [_residuals(material, chi, reasons), _diverged(chi, reasons), _laps(material, reasons)]
    sentence = "; ".join(part for part in parts if part)
    sentence = sentence[:1].upper() + sentence[1:] + "." if sentence else "There is nothing to judge yet."
    limits = [
        "Residuals test the noise model and the fit of the sum of the sources; they cannot tell whether signal was given to "
        "the wrong source, and where unknowns outnumber the data they are nearly blind to a wrong prior.",
        "Nothing here sees an error that leaves all data unchanged. Whether the mixing allows such errors is a question to "
        "the design of the observations, not to this fit.",
    ]
    if not material.finished:
        return Verdict("unfinished", "Not finished", sentence, reasons, limits)
    if reasons:
        return Verdict("look", "Look closer", sentence, reasons, limits)
    if not chi:
        return Verdict("look", "Not judged", sentence, ["There are no residuals to judge by."], limits)
    return Verdict("fine", "No fault found by these checks", sentence, reasons, limits)


def _residuals(material: Material, chi: dict[str, ChiSquare], reasons: list[str]) -> str:
    known = {v: c for v, c in chi.items() if c.verdict != "unknown"}
    if not known:
        return ""
    off = {v: c for v, c in known.items() if c.verdict != "as stated"}
    numbers = ", ".join(f"{v}: {c.mean:.2f}" for v, c in known.items())
    for v, c in off.items():
        if c.verdict == "larger":
            reasons.append(
                f"View '{v}': the separated sources leave more residual than the stated noise (chi-square per value "
                f"{c.mean:.2f}, expected 1). The noise may be understated, an operator inexact, or the priors not yet good: "
                "more laps and more training steps are the first thing to try."
            )
        else:
            reasons.append(
                f"View '{v}': the draws follow the data more closely than the stated noise allows (chi-square per value "
                f"{c.mean:.2f}, expected 1). The noise may be overstated, or the draws too narrow: try more sampling steps."
            )
    for v, c in known.items():
        if v not in off and np.isfinite(c.expected_width) and c.width > 1.5 * c.expected_width:
            reasons.append(
                f"View '{v}': the residuals are right on average but vary {c.width / c.expected_width:.1f} times as much as "
                "noise would: look at the worst observations in section 6."
            )
    where = material.judged_on
    if not off:
        return f"residuals of {where} are consistent with the stated noise (chi-square per value {numbers}; 1 is expected)"
    which = "of every view" if len(off) == len(known) else "of " + ", ".join(f"view '{v}'" for v in off)
    return f"residuals {which}, on {where}, are not what the stated noise predicts (chi-square per value {numbers}; expected 1)"


def _diverged(chi: dict[str, ChiSquare], reasons: list[str]) -> str:
    total = sum(c.values.size for c in chi.values())
    if not total:
        return ""
    share = sum(c.diverged * c.values.size for c in chi.values()) / total
    if share > 0.01:
        reasons.append(
            f"{share:.1%} of the draws diverged and are left out everywhere: the noise may be understated for some "
            "observations, or the training rate too high."
        )
    return "no draw diverged" if share == 0 else f"{share:.2%} of the draws diverged"


def _laps(material: Material, reasons: list[str]) -> str:
    laps = [r for r in material.records if r.get("lap", 0) > 0]
    if not laps:
        return "no lap of training is done yet" if material.records else ""
    last = material.records[-1]
    stage = [r for r in material.records if r.get("stage") == last.get("stage")]
    done, best = last.get("lap", 0), last.get("best_lap", last.get("lap", 0))
    kept = next((r for r in stage if r.get("lap") == best), last)
    score, error = kept.get("score"), kept.get("score_error")
    if score is None or not np.isfinite(score):
        return f"the last of {done} laps is used, there being no held-out score to choose by"
    if best == 0:
        reasons.append(
            "Training has not improved on the Gaussian stage, whose priors are used: try more laps or more training steps "
            "per lap, or look whether there are enough observations."
        )
    text = f"lap {best} of {done} is used" + ("" if best == done else ", the best by its held-out score")
    first = stage[0].get("score")
    before = f", down from {number(first)} with the Gaussian stage's priors" if first is not None and first > score else ""
    if error is None or not np.isfinite(error):
        return text + f", with a held-out replay score of {number(score)}{before}"
    meaning = (
        "0 would mean that data simulated from the priors cannot be told from real data"
        if score > 3 * error
        else "consistent with 0: data simulated from the priors cannot be told from real data"
    )
    return text + f", with a held-out replay score of {number(score)} ± {number(error, 2)}{before} ({meaning})"
