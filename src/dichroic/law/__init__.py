"""Learning a source by the law of the mixtures that show it, where another view shows alone what is beside it."""

from dichroic.law.config import MixturesConfig
from dichroic.law.contrast import Contrast, Sources, find_contrast, refusals
from dichroic.law.learned import LearnedPosterior, load_rounds, save_rounds
from dichroic.law.rounds import Rounds, held_rows, rounds, told_apart

__all__ = [
    "Contrast",
    "LearnedPosterior",
    "MixturesConfig",
    "Rounds",
    "Sources",
    "find_contrast",
    "held_rows",
    "load_rounds",
    "refusals",
    "rounds",
    "save_rounds",
    "told_apart",
]
