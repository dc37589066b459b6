"""The verdict on a run: that of the checks, where they were made, with what the fit itself shows."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dichroic.diagnose import CHECKS, Result, Verdict, judge
from dichroic.diagnose.result import worst
from dichroic.diagnose.verdict import LABELS
from dichroic.report.describe import number
from dichroic.report.material import Material
from dichroic.report.residuals import ChiSquare
from dichroic.run import choices, judged, widths
from dichroic.run.judged import used

__all__ = ["CHECK_NAMES", "judge_run"]

_MOST_DIVERGED, _MOST_STOPPED = 0.01, 0.05  # shares of draws that are worth a warning

CHECK_NAMES = {
    "replay": "Replay",
    "law": "Law of the mixtures",
    "chi_square": "Residuals",
    "gap": "Prior against posteriors",
    "fission": "Split data",
    "sbc": "Simulated truths",
    "tarp": "All sources together",
    "leakage": "Injection and recovery",
    "stein": "Stein's identity",
    "maps": "Data or prior",
}

_LIMITS = (
    "Residuals test the noise and the sum of the sources. They do not show whether signal was given to the wrong "
    "source, and where the unknowns outnumber the data they hardly notice a wrong prior.",
    "No number here sees an error that leaves all data unchanged; whether the mixing allows one is a question to the "
    "design of the observations.",
)


def judge_run(material: Material, chi: Mapping[str, ChiSquare], results: Mapping[str, Result]) -> Verdict:
    """The verdict on a run, from the checks that were made and from residuals, failed draws and the prediction score of
    the fit; it says which.
    """
    reasons: list[str] = []
    calm = results["chi_square"].level == "green" if "chi_square" in results else False
    parts = [_residuals(material, chi, reasons, calm), _diverged(chi, reasons), _laps(material, reasons)]
    reasons += [x.sentence for x in (*judged(material.records), *widths(material.records)) if x.sentence]
    sentence = "; ".join(part for part in parts if part)
    sentence = sentence[:1].upper() + sentence[1:] + "." if sentence else "There is nothing to judge yet."
    if material.finished and not reasons and not any(np.isfinite(c.mean) for c in chi.values()):
        reasons.append("There are no residuals to judge by.")
    found = judge(results)
    level = worst([found.level, "amber" if reasons or not material.finished else "green"])
    label = LABELS[level] if results or level != "green" else "No fault found by these numbers"
    return replace(
        found,
        level=level,
        label=label if material.finished else "Not finished",
        sentence=f"{_panel(results)} {sentence}".strip(),
        reasons=tuple(reasons),
        limits=_LIMITS,
    )


def _panel(results: Mapping[str, Result]) -> str:
    if not results:
        return ""
    loud = [CHECK_NAMES[name].lower() for name, result in results.items() if result.level != "green"]
    judging = sum(CHECKS[name].judges for name in results)
    if not loud:
        return f"None of {judging} checks on held-out observations saw a fault."
    return f"{len(loud)} of {judging} checks on held-out observations saw something: {', '.join(loud)}."


def _residuals(material: Material, chi: Mapping[str, ChiSquare], reasons: list[str], calm: bool) -> str:
    """What residuals say; nothing against the noise where the check of residuals, which is calibrated, is `calm`."""
    known = {v: c for v, c in chi.items() if c.verdict != "unknown"}
    if not known:
        return ""
    off = {} if calm else {v: c for v, c in known.items() if c.verdict != "as stated"}
    numbers = ", ".join(f"{v} {c.mean:.2f}" for v, c in known.items())
    for v, c in () if calm else known.items():
        if c.verdict == "larger":
            reasons.append(
                f"View “{v}”: the separated sources leave more residual than the stated noise. The noise may be "
                "understated, an operator inexact, or the priors not yet good; try more laps and training steps first."
            )
        elif c.verdict == "smaller":
            reasons.append(
                f"View “{v}”: the draws follow the data more closely than the stated noise allows. The noise may be "
                "overstated, or the draws too narrow; try more sampling steps."
            )
        elif np.isfinite(c.expected_width) and c.width > 1.5 * c.expected_width:
            reasons.append(
                f"View “{v}”: residuals are right on average but vary {c.width / c.expected_width:.1f} times as much "
                "as noise would; look at the worst observations in section 5."
            )
    where = material.judged_on
    if not off:
        return f"residuals of {where} agree with the stated noise (chi-square per value {numbers}; 1 is expected)"
    which = "of all views" if len(off) == len(known) else "of " + ", ".join(f"view “{v}”" for v in off)
    return (
        f"residuals {which}, on {where}, disagree with the stated noise (chi-square per value {numbers}; 1 is expected)"
    )


def _diverged(chi: Mapping[str, ChiSquare], reasons: list[str]) -> str:
    total = sum(c.values.size for c in chi.values())
    if not total:
        return ""
    share = sum(c.diverged * c.values.size for c in chi.values()) / total
    if share > _MOST_DIVERGED:
        reasons.append(
            f"{share:.1%} of the draws diverged and are left out everywhere: the noise may be understated for some "
            "observations, or the training rate too high."
        )
    return "no draw diverged" if share == 0 else f"{share:.2%} of the draws diverged"


def _laps(material: Material, reasons: list[str]) -> str:
    records = material.records
    if not any(r.get("lap", 0) > 0 for r in records):
        return "no lap of training is done yet" if records else ""
    kept, last = used(records), records[-1]
    stage = [r for r in records if r.get("stage") == last.get("stage")]
    _solver(kept, reasons)
    priors = choices(records, material.description).values()
    text = f"priors used: {', '.join(choice.sentence for choice in priors)}"
    score, start = (_finite(x) for x in (kept.get("score"), stage[0].get("score")))
    if score is None:
        return f"{text}, there being no held-out score to choose by"
    text += f"; held-out prediction score {number(score, 4)} (lower is better"
    best = kept.get("lap")
    if best != 0:
        text += f"; {number(start, 4)} with the closed-form stages' priors)" if start is not None else ")"
    else:
        least = min((x for r in stage[1:] if (x := _finite(r.get("score"))) is not None), default=None)
        text += ")" if least is None else f"; {number(least, 4)} in the best of the others)"
    if last.get("proof"):  # says more than the gain in prediction does
        return text
    found = judged(records)
    if best == 0 and found and not any(j.told for j in found):  # there was nothing to be added
        return text
    if best == 0:
        reasons.append(
            "No lap predicts hidden values of held-out observations better than the closed-form stages' priors do, "
            "which are used: the laps have added nothing yet. Try more laps, more training steps per lap, or a larger "
            "network."
        )
        return text
    gain, error = (_finite(kept.get(key)) for key in ("gain", "gain_error"))
    if gain is None and start is not None:  # records of before gains were kept
        gain, error = start - score, _finite(last.get("score_error"))
    if gain is not None and gain <= 2 * (error or 0.0):
        reasons.append(
            "Hidden values of held-out observations are predicted hardly better than with the closed-form stages' "
            f"priors: by {number(gain, 2)}, with a standard error of {number(error or 0.0, 2)}. Try more laps, more "
            "training steps per lap, or a larger network."
        )
    return text


def _solver(record: dict[str, Any], reasons: list[str]) -> None:
    for v, numbers in record.get("views", {}).items():
        stopped = _finite(numbers.get("solver_stopped"))
        if stopped is not None and stopped > _MOST_STOPPED:
            reasons.append(
                f"View “{v}”: for {stopped:.0%} of the draws of the lap that is used a linear solve stopped early, "
                "which makes them less exact; see “Failed draws” in section 4."
            )


def _finite(x: Any) -> float | None:
    return float(x) if isinstance(x, int | float) and np.isfinite(x) else None
