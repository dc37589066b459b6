"""Before the fit: is the data what it should be, and can the design be learned?"""

from dichroic.design.data import check_data
from dichroic.design.finding import Finding
from dichroic.design.instrument import InstrumentReport, check_instrument
from dichroic.design.report import DesignReport, check_design
from dichroic.design.spectrum import Direction, Spectrum

__all__ = [
    "DesignReport",
    "Direction",
    "Finding",
    "InstrumentReport",
    "Spectrum",
    "check_data",
    "check_design",
    "check_instrument",
]
