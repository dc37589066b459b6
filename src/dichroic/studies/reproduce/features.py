"""Classifiers whose features Fréchet distances are computed from, trained once per process on labelled digits."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from dichroic.metrics import DigitFeatures
from dichroic.studies.experiments.digits import labelled_digits
from dichroic.studies.reproduce.generators import find_mnist

__all__ = ["features_of"]

_IMAGES, _EPOCHS = 20_000, 20  # of MNIST, enough for 97 % of unseen digits


def features_of(name: str | None, data: Path | None) -> Callable[[np.ndarray], np.ndarray] | None:
    """The features with a name: of all ten classes of MNIST (`mnist`) or of scikit-learn's digits (`digits`).

    The published distances come from another classifier, and are of another size.
    """
    return None if name is None else _train(name, data)


@cache
def _train(name: str, data: Path | None) -> DigitFeatures:
    if name == "digits":
        return DigitFeatures.train(*labelled_digits())
    if name == "mnist":
        from dichroic.studies.experiments.mnist import read_mnist

        images, labels = read_mnist(find_mnist(data))
        return DigitFeatures.train(images[:_IMAGES, ..., None] / 255, labels[:_IMAGES], epochs=_EPOCHS)
    raise ValueError(f"unknown features '{name}'; there are: mnist, digits")
