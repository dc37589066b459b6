"""The problems of the papers, and small ones for a first look, as data generators, nearly all with known truth."""

from dichroic.studies.experiments.cells import case_and_control_cells
from dichroic.studies.experiments.corrupted import (
    masked,
    masked_cifar,
    masked_digits,
    masked_mnist,
    undersampled,
    undersampled_digits,
    undersampled_knees,
    undersampled_mnist,
)
from dichroic.studies.experiments.digits import grassy_digits
from dichroic.studies.experiments.exact_components import (
    ComponentsPosterior,
    components_along_manifolds,
    components_view,
)
from dichroic.studies.experiments.galaxies import hubble_galaxies, model_galaxies
from dichroic.studies.experiments.galaxies_psf import galaxies_through_psf
from dichroic.studies.experiments.manifolds import Manifold, contrastive, differing, manifolds, mixed, random_manifold
from dichroic.studies.experiments.references import Reference, oracle_wiener
from dichroic.studies.experiments.speech import speech_over_music

__all__ = [
    "ComponentsPosterior",
    "Manifold",
    "Reference",
    "case_and_control_cells",
    "components_along_manifolds",
    "components_view",
    "contrastive",
    "differing",
    "galaxies_through_psf",
    "grassy_digits",
    "hubble_galaxies",
    "manifolds",
    "masked",
    "masked_cifar",
    "masked_digits",
    "masked_mnist",
    "mixed",
    "model_galaxies",
    "oracle_wiener",
    "random_manifold",
    "speech_over_music",
    "undersampled",
    "undersampled_digits",
    "undersampled_knees",
    "undersampled_mnist",
]
