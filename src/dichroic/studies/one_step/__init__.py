"""One-step generators of laws in the plane and of digits: the laws, the ways to a generator, tables and figures.

Source: Jayashankar's thesis, chapter 8, and the known answers that go with it.
"""

from dichroic.studies.one_step.figure import draw_rows
from dichroic.studies.one_step.laws import LAWS, Law
from dichroic.studies.one_step.pictures import PICTURES, Pictures
from dichroic.studies.one_step.table import as_table
from dichroic.studies.one_step.ways import TAUGHT, WAYS, configuration, draw, levels

__all__ = [
    "LAWS",
    "PICTURES",
    "TAUGHT",
    "WAYS",
    "Law",
    "Pictures",
    "as_table",
    "configuration",
    "draw",
    "draw_rows",
    "levels",
]
