"""From the panel of checks to a verdict: the probable cause, and what to do next.

No single check suffices: chi-square hardly notices a wrong prior where the unknowns outnumber the data, replay never
sees the sampler, simulation sees nothing but the sampler. Their pattern tells causes apart.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from dichroic.design.finding import Level
from dichroic.diagnose.result import Question, Result, worst

__all__ = ["LABELS", "PATTERNS", "Cause", "Pattern", "Signs", "Verdict", "judge"]

_STEIN = "Stein's identity does not see modes that no draw is in, nor modes in the wrong proportions."
_INFORMED = 0.5  # contraction above which posteriors can contradict a prior


@dataclass(frozen=True)
class Signs:
    """The panel as the patterns see it: +1 and -1 for a clear deviation up or down, 0 for none."""

    chi_square: int  # residuals larger, smaller than the noise
    structure: bool  # residuals that repeat themselves or resemble their neighbours
    replay: int  # data vary more, less than replays
    replay_other: bool  # data differ from replays in another way, or a classifier tells them apart
    sampler: int  # draws of simulated posteriors too narrow (+1), too wide (-1)
    sampler_other: bool  # biased, or of the wrong shape
    prior: int  # pooled posteriors wider, narrower than the prior
    mixed: bool  # wider for one source, narrower for another; or different in another way
    diverged: bool
    leak: bool
    predictions: bool
    informed: bool = True  # whether observations say enough about every source for its prior to be judged by them

    @property
    def sampler_off(self) -> bool:
        """Whether the simulation points at the sampler."""
        return self.sampler != 0 or self.sampler_other

    @property
    def off(self) -> bool:
        """Whether model and data disagree in size or structure."""
        return self.replay != 0 or self.chi_square != 0 or self.structure

    @property
    def prior_off(self) -> bool:
        """Whether the pooled posteriors differ from the prior."""
        return self.prior != 0 or self.mixed


@dataclass(frozen=True)
class Cause:
    """What is probably wrong and what to do about it; `code` names the section of the documentation."""

    code: str
    cause: str
    action: str


@dataclass(frozen=True)
class Pattern:
    """A cause and the signs that point to it. Of all that fit, those of the highest `rank` are told."""

    code: str
    cause: str
    action: str
    fits: Callable[[Signs], bool]
    rank: int = 1


PATTERNS: tuple[Pattern, ...] = (
    Pattern(
        "DC308",
        "many posterior draws fail",
        "look at the worst observations and their noise; lower the training rate, or take more sampling steps",
        lambda s: s.diverged,
        3,
    ),
    Pattern(
        "DC303",
        "the sampler's draws are too narrow: their spread understates the uncertainty",
        "take more sampling steps and more solver iterations (sampling.steps, sampling.iterations), or another "
        "posterior method; the priors are not to blame",
        lambda s: s.sampler > 0,
        3,
    ),
    Pattern(
        "DC304",
        "the sampler's draws are too wide or biased",
        "take more sampling steps (sampling.steps) or another posterior method; the priors are not to blame",
        lambda s: s.sampler < 0 or (s.sampler == 0 and s.sampler_other),
        3,
    ),
    Pattern(
        "DC310",
        "the model does not make the data, and single observations say too little to tell why: the stated noise, an "
        "operator or a prior may be wrong",
        "compare the stated noise with repeated measurements or empty parts of the data; check the operators; look at "
        "the draws of every prior",
        lambda s: not s.sampler_off and not s.prior_off and not s.informed and s.off,
        2,
    ),
    Pattern(
        "DC301",
        "the stated noise is too small, or an operator is inexact: the data hold more than the model can make, and the "
        "priors agree with their posteriors",
        "compare the stated noise with repeated measurements or empty parts of the data; structure in the residual "
        "maps points to the operators",
        lambda s: (
            not s.sampler_off and not s.prior_off and s.informed and (s.replay > 0 or s.chi_square > 0 or s.structure)
        ),
        2,
    ),
    Pattern(
        "DC302",
        "the stated noise is too large: the data scatter less than it",
        "check that noise is a standard deviation, not a variance, and its unit",
        lambda s: not s.sampler_off and not s.prior_off and s.informed and (s.replay < 0 or s.chi_square < 0),
        2,
    ),
    Pattern(
        "DC305",
        "a prior is too narrow: the data call for more than it offers",
        "more laps, more training steps, or a larger network; check that held-out data resemble the training data",
        lambda s: not s.sampler_off and s.prior > 0 and not s.mixed,
        2,
    ),
    Pattern(
        "DC306",
        "a prior is too wide: it offers what the data do not contain",
        "more laps: EM has not converged, or it was stopped early",
        lambda s: not s.sampler_off and s.prior < 0 and not s.mixed,
        2,
    ),
    Pattern(
        "DC307",
        "a prior is of the wrong kind, or sources have been exchanged",
        "look at the draws of every prior; `dichroic check` says whether the design allows an exchange, and a view "
        "with fewer sources rules it out",
        lambda s: not s.sampler_off and s.mixed,
        2,
    ),
    Pattern(
        "DC307",
        "the priors do not make the data, though nothing else is amiss",
        "look at the draws of every prior; more laps or a larger network",
        lambda s: not s.sampler_off and not s.prior_off and s.replay == 0 and s.replay_other,
        1,
    ),
    Pattern(
        "DC309",
        "one check disagrees and the others do not",
        "look at its picture; repeat with a larger budget and another seed (dichroic diagnose --seed)",
        lambda s: s.leak or s.predictions or s.chi_square != 0,
        0,
    ),
)


LABELS: dict[Level, str] = {
    "green": "No fault found",
    "amber": "Look closer",
    "red": "Do not trust this result yet",
}


@dataclass(frozen=True)
class Verdict:
    """What is said of a result: `level`, the worst of what was looked at; `label`; `causes`, the probable ones, by the
    pattern of all checks; `sentence`, the numbers; `reasons` to look closer besides; `limits`, what none of it shows.
    """

    level: Level
    label: str
    causes: list[Cause]
    sentence: str = ""
    reasons: tuple[str, ...] = ()
    limits: tuple[str, ...] = (
        "No check sees an error that leaves all data unchanged: whether the mixing allows one, `dichroic check` says.",
        "Few held-out observations make all checks weak; green means that nothing was seen.",
    )

    def doubted(self, reasons: Sequence[str], level: Level = "amber") -> "Verdict":
        """With reasons to look closer, and at least that level where there are any."""
        if not reasons:
            return self
        level = worst([self.level, level])
        return replace(self, level=level, label=LABELS[level], reasons=(*self.reasons, *reasons))


def judge(results: Mapping[str, Result]) -> Verdict:
    """The verdict on the results of the checks, by name."""
    level = worst(result.level for result in results.values())
    label = LABELS[level]
    limits = (*Verdict.limits, *([_STEIN] if "stein" in results else []))
    if level == "green":
        return Verdict(level, label, [], limits=limits)
    signs = read(results)
    causes = _causes(signs)
    if signs.sampler_off and signs.replay:
        # replay never sees the sampler: something else is wrong too, and comes first
        causes = [*_causes(replace(signs, sampler=0, sampler_other=False)), *causes]
    return Verdict(level, label, causes or [Cause("DC309", PATTERNS[-1].cause, PATTERNS[-1].action)], limits=limits)


def _causes(signs: Signs) -> list[Cause]:
    fitting = [p for p in PATTERNS if p.fits(signs)]
    top = max((p.rank for p in fitting), default=0)
    return [Cause(p.code, p.cause, p.action) for p in fitting if p.rank == top]


def read(results: Mapping[str, Result]) -> Signs:
    """The signs that the patterns look for."""

    def parts(check: str, what: str = "") -> list[Question]:
        found = results[check].alarms if check in results else []
        return [part for part in found if part.what != "diverged" and part.what.startswith(what)]

    def sign(found: list[Question]) -> int:
        up, down = (any(part.effect * s > 0 for part in found) for s in (1, -1))
        return int(up) - int(down)

    widths = parts("gap", "width")
    up, down = any(p.effect > 0 for p in widths), any(p.effect < 0 for p in widths)
    sampler = sign(parts("sbc", "spread"))
    if sampler == 0 and "sbc" not in results:
        sampler = sign(parts("tarp", "spread"))
    other = [p for p in parts("sbc") if p.what != "spread"]
    replay = parts("replay", "size")
    return Signs(
        chi_square=sign([p for p in parts("chi_square") if p.what == "mean"]),
        structure=bool([p for p in parts("chi_square") if p.what.startswith(("mean residual", "neighbours"))]),
        replay=sign(replay),
        replay_other=(bool(parts("replay")) and not replay) or bool(parts("law")),
        sampler=sampler,
        sampler_other=bool(other) or bool(parts("tarp")),
        prior=int(up and not down) - int(down and not up),
        mixed=(up and down) or _reshaped(results.get("gap")),
        diverged=any(part.what == "diverged" for result in results.values() for part in result.alarms),
        leak=bool(parts("leakage")),
        predictions=bool(parts("fission")) or bool(parts("stein")),
        informed=_informed(results.get("maps")),
    )


def _reshaped(gap: Result | None) -> bool:
    """Whether some source's gap is larger than its change of width explains."""
    if gap is None:
        return False
    distance = {part.where: part.value for part in gap.about("distance")}
    width = {part.where: part.effect for part in gap.parts if part.what == "width"}
    return any(distance[s] > 2 * width[s] ** 2 + 0.02 for s in distance)


def _informed(result: Result | None) -> bool:
    """Whether some view contracts each source to less than half of its variance; true where nobody looked."""
    if result is None:
        return True
    best: dict[str, float] = {}
    for name, whole in result.arrays.items():
        if name.endswith("/whole"):
            source = name.split("/")[-2]
            best[source] = max(best.get(source, -1.0), float(whole))
    return all(contraction > _INFORMED for contraction in best.values())
