"""Diagnoses: of the data before a fit, and of what was learned after it."""

from dichroic.diagnose.data import Finding, check_data

__all__ = ["Finding", "check_data"]
