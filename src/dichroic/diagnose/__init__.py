"""Diagnoses: of the data before a fit, and of what was learned after it."""

from dichroic.diagnose.data import check_data
from dichroic.diagnose.finding import Finding

__all__ = ["Finding", "check_data"]
