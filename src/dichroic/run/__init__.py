"""Runs: fitting, resuming, separating, and the folder that holds it all."""

from dichroic.run.choices import Choice, choices
from dichroic.run.diagnosis import Diagnosis, diagnose
from dichroic.run.export import export
from dichroic.run.fit import Stopped, fit, resume
from dichroic.run.folder import RunError, RunFolder
from dichroic.run.gate import Unidentified
from dichroic.run.judged import Judged, judged
from dichroic.run.known import complete_priors, known_priors
from dichroic.run.progress import Progress, Quiet, Terminal
from dichroic.run.run import Run
from dichroic.run.separating import separate
from dichroic.run.separation import Separation
from dichroic.run.stitching import stitched
from dichroic.run.summary import summarize
from dichroic.run.widths import Widths, widths

__all__ = [
    "Choice",
    "Diagnosis",
    "Judged",
    "Progress",
    "Quiet",
    "Run",
    "RunError",
    "RunFolder",
    "Separation",
    "Stopped",
    "Terminal",
    "Unidentified",
    "Widths",
    "choices",
    "complete_priors",
    "diagnose",
    "export",
    "fit",
    "judged",
    "known_priors",
    "resume",
    "separate",
    "stitched",
    "summarize",
    "widths",
]
