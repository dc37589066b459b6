"""The codes of warnings. Each has a section in `docs/codes.md` that says what it means and what to do."""

from dichroic.diagnose.result import Question

__all__ = ["CODES", "WEAKLY_INFORMED", "code_of"]

WEAKLY_INFORMED = "DC271"

CODES: dict[str, str] = {
    "DC101": "The stated noise does not fit the data",
    "DC102": "A value that is too frequent",
    "DC103": "Values far from all others",
    "DC104": "Entries that never change",
    "DC105": "Copies among the observations",
    "DC106": "Held-out observations that were learned from",
    "DC107": "Few observations",
    "DC111": "Entries that no observation contains",
    "DC112": "Patterns of one source that leave no trace",
    "DC113": "Patterns that can move between sources",
    "DC114": "How well sources can be told apart",
    "DC115": "Covariances that can move between sources",
    "DC116": "Entries that are never seen together",
    "DC117": "A source that drowns",
    "DC118": "A design judged from some of the observations",
    "DC119": "Few observations for what is determined worst",
    "DC131": "A symmetry that does not hold",
    "DC132": "A range that does not hold",
    "DC201": "Residuals larger than the noise",
    "DC202": "Residuals smaller than the noise",
    "DC203": "Residuals of uneven size",
    "DC204": "Structure in the residuals",
    "DC205": "Residuals depend on the noise level",
    "DC211": "Predictions of real data are biased",
    "DC212": "Predictions of real data are too certain",
    "DC213": "Predictions of real data are too uncertain",
    "DC221": "The sampler is biased",
    "DC222": "The sampler's draws are too narrow",
    "DC223": "The sampler's draws are too wide",
    "DC224": "The sampler's draws have the wrong shape",
    "DC225": "Draws have not the score of their posterior",
    "DC231": "Joint coverage is off",
    "DC241": "The prior is narrower than what the data call for",
    "DC242": "The prior is wider than what the data call for",
    "DC243": "The prior differs from the pooled posterior",
    "DC251": "The data vary more than replays",
    "DC252": "The data vary less than replays",
    "DC253": "The data differ from replays",
    "DC254": "A classifier tells the data from simulated ones",
    "DC261": "An injected source is not given back as expected",
    "DC262": "An injected source shows in another",
    "DC271": "Observations say little about a source",
    "DC281": "Draws diverged",
    "DC291": "Few held-out observations",
    "DC292": "A check that does not apply",
    "DC301": "Cause: noise stated too small, or operator inexact",
    "DC302": "Cause: noise stated too large",
    "DC303": "Cause: sampler too narrow",
    "DC304": "Cause: sampler too wide or biased",
    "DC305": "Cause: prior too narrow",
    "DC306": "Cause: prior too wide",
    "DC307": "Cause: prior of the wrong kind, or sources exchanged",
    "DC308": "Cause: draws fail",
    "DC309": "Cause: unclear",
    "DC310": "Cause: noise, operator or prior",
}


def code_of(check: str, part: Question) -> str:
    """The code of a part that is not green."""
    up, what = part.effect > 0, part.what
    if what == "diverged":
        return "DC281"
    if check == "chi_square":
        if what == "mean":
            return "DC201" if up else "DC202"
        return {"width": "DC203", "noise level": "DC205"}.get(what, "DC204")
    if check == "fission":
        return "DC211" if what.startswith("bias") else "DC212" if up else "DC213"
    if check == "sbc":
        return {"bias": "DC221", "shape": "DC224"}.get(what, "DC222" if up else "DC223")
    if check == "gap":
        return "DC243" if what == "distance" else "DC241" if up else "DC242"
    if check == "replay":
        if what == "size":
            return "DC251" if up else "DC252"
        return "DC253"
    if check == "law":
        return "DC254"
    if check == "stein":
        return "DC225"
    if check == "tarp":
        return "DC231"
    return {"recovered": "DC261", "leaked": "DC262"}.get(what, "DC309")
