"""Diagnoses: of the data before a fit, and of what was learned after it."""

from dichroic.diagnose.case import Budget, Case
from dichroic.diagnose.codes import CODES
from dichroic.diagnose.model import GaussianModel, LearnedModel, Model
from dichroic.diagnose.nearer import COPIES, Nearer, nearer
from dichroic.diagnose.panel import CHECKS, default_checks, load_panel, run_panel
from dichroic.diagnose.result import Question, Result
from dichroic.diagnose.substitute import Failure, may_stand_in
from dichroic.diagnose.verdict import Verdict, judge

__all__ = [
    "CHECKS",
    "CODES",
    "COPIES",
    "Budget",
    "Case",
    "Failure",
    "GaussianModel",
    "LearnedModel",
    "Model",
    "Nearer",
    "Question",
    "Result",
    "Verdict",
    "default_checks",
    "judge",
    "load_panel",
    "may_stand_in",
    "nearer",
    "run_panel",
]
