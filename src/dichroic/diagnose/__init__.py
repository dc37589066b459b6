"""Diagnoses: of the data before a fit, and of what was learned after it."""

from dichroic.diagnose.case import Budget, Case
from dichroic.diagnose.codes import CODES
from dichroic.diagnose.data import check_data
from dichroic.diagnose.design import DesignReport, check_design
from dichroic.diagnose.finding import Finding
from dichroic.diagnose.model import GaussianModel, LearnedModel, Model
from dichroic.diagnose.panel import CHECKS, load_panel, run_panel
from dichroic.diagnose.result import Part, Result
from dichroic.diagnose.spectrum import Direction, Spectrum
from dichroic.diagnose.verdict import Verdict, judge

__all__ = [
    "CHECKS",
    "CODES",
    "Budget",
    "Case",
    "DesignReport",
    "Direction",
    "Finding",
    "GaussianModel",
    "LearnedModel",
    "Model",
    "Part",
    "Result",
    "Spectrum",
    "Verdict",
    "check_data",
    "check_design",
    "judge",
    "load_panel",
    "run_panel",
]
