"""The problems of the papers, and a small one for a first look, as data generators with known truth."""

from dichroic.experiments.digits import grassy_digits
from dichroic.experiments.exact_mixture import MixturePosterior, mixture_view, mixtures_along_manifolds
from dichroic.experiments.manifolds import Manifold, contrastive, differing, manifolds, mixed, random_manifold
from dichroic.experiments.references import Reference, mean_subtraction, oracle_wiener

__all__ = [
    "Manifold",
    "MixturePosterior",
    "Reference",
    "contrastive",
    "differing",
    "grassy_digits",
    "manifolds",
    "mean_subtraction",
    "mixed",
    "mixture_view",
    "mixtures_along_manifolds",
    "oracle_wiener",
    "random_manifold",
]
