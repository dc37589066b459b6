"""Sources, views and the problem they make, in memory and as files."""

from dichroic.problem.files import load_problem
from dichroic.problem.problem import Problem
from dichroic.problem.source import Source
from dichroic.problem.validate import ProblemError
from dichroic.problem.view import Observation, View

__all__ = ["Observation", "Problem", "ProblemError", "Source", "View", "load_problem"]
