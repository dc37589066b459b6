"""The gate before a fit: a design with a null space is refused, unless it is asked for."""

from collections.abc import Callable, Collection, Sequence

from dichroic.design.finding import Finding
from dichroic.design.instrument import check_instrument
from dichroic.design.report import DesignReport, check_design
from dichroic.problem import Problem
from dichroic.problem.portion import portion
from dichroic.run.folder import RunError

__all__ = ["Unidentified", "pass_design"]


class Unidentified(RunError):
    """A design that leaves something undetermined, however many observations there are. `report` says what."""

    def __init__(self, report: DesignReport | None, findings: Sequence[Finding]):
        self.report = report
        lines = [f"  - {f.where}: {f.text} [{f.code}]" for f in findings if f.level == "red"]
        super().__init__(
            "this design leaves something undetermined, however many observations there are:\n"
            + "\n".join(lines)
            + "\nChange the design, or fit it all the same with --allow-unidentified (allow_unidentified = true): what "
            "no data determines is then what the first guess makes of it"
        )


def pass_design(
    problem: Problem, known: Collection[str], allow_unidentified: bool, say: Callable[[str], None]
) -> DesignReport | None:
    """Judges the design; warnings are told to `say`.

    **Returns:** the report, None when there is nothing to learn.

    **Raises:** `Unidentified` for a design with a null space, and for unknowns of an instrument that cannot be learned,
    unless that is allowed.
    """
    problem = portion(problem)
    report, instrument = check_design(problem, known), check_instrument(problem, known)
    findings = [finding for found in (report, instrument) if found is not None for finding in found.findings()]
    lost = (report is not None and not report.identified) or (instrument is not None and instrument.null > 0)
    if lost and not allow_unidentified:
        raise Unidentified(report, findings)
    for finding in findings:
        if finding.level != "green":
            say(f"{finding.level}: {finding.where}: {finding.text} [{finding.code}]")
    return report
