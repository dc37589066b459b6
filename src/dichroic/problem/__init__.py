"""Sources, views and the problem they make, in memory and as files."""

from dichroic.faults import ProblemError
from dichroic.problem.files import ProblemFile, load_problem
from dichroic.problem.functions import allow
from dichroic.problem.observation import Observation
from dichroic.problem.problem import Problem
from dichroic.problem.save import save_problem
from dichroic.problem.source import Source, as_complex, as_pairs, blocks_of, describe_source
from dichroic.problem.view import View
from dichroic.problem.windowed import windowed

__all__ = [
    "Observation",
    "Problem",
    "ProblemError",
    "ProblemFile",
    "Source",
    "View",
    "allow",
    "as_complex",
    "as_pairs",
    "blocks_of",
    "describe_source",
    "load_problem",
    "save_problem",
    "windowed",
]
