"""The report of a run: one HTML file that can be mailed, read on a phone and printed."""

from dichroic.report.write import report

__all__ = ["report"]
