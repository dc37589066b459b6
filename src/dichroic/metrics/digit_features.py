"""Features of digits, or of whatever has classes: what a small classifier sees in an image."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["DigitFeatures"]


class DigitFeatures:
    """The last hidden layer of a classifier, before its activation, as features for :func:`frechet_distance`.

    A stand-in for the networks behind published Fréchet distances: a multilayer perceptron of scikit-learn, trained in
    seconds on images the user has. Distances by different classifiers are not comparable: keep one, by its `seed` and
    its training images, for all that is to be compared.
    """

    def __init__(self, classifier: Any, shape: tuple[int, ...], scale: float):
        self.classifier, self.shape, self.scale = classifier, shape, scale

    @classmethod
    def train(
        cls, images: ArrayLike, labels: ArrayLike, features: int = 64, epochs: int = 30, seed: int = 0
    ) -> "DigitFeatures":
        """Trains the classifier.

        **Arguments:** `images`, shape `(n, ...)`, in any units: they are divided by their standard deviation, and all
        that is compared later by the same number; `labels`, shape `(n,)`; `features`, how many; `epochs`, passes over
        the images; `seed`, on which the result depends.

        **Raises:** `ValueError` for images and labels of different number, or of one class only.
        """
        # imported here: it takes a second, and only this needs it
        import warnings

        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier

        images, labels = np.asarray(images, dtype=float), np.asarray(labels)
        if images.ndim < 2 or labels.shape != images.shape[:1]:
            raise ValueError(
                f"DigitFeatures: expected images (n, ...) and labels (n,), got {images.shape} and {labels.shape}"
            )
        if len(np.unique(labels)) < 2:
            raise ValueError(f"DigitFeatures: expected at least two classes, got {np.unique(labels).tolist()}")
        scale = float(images.std()) or 1.0
        classifier = MLPClassifier(
            (2 * features, features),
            batch_size=min(64, len(images)),  # pyright: ignore[reportArgumentType]
            learning_rate_init=2e-3,
            max_iter=epochs,
            random_state=seed,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the epochs are the user's choice
            classifier.fit(images.reshape(len(images), -1) / scale, labels)
        return cls(classifier, images.shape[1:], scale)

    def __call__(self, images: ArrayLike) -> np.ndarray:
        """Features of images, shape `(n, features)`.

        **Raises:** `ValueError` for images of another shape than those of the training.
        """
        h = self._flat(images)
        *hidden, _ = zip(self.classifier.coefs_, self.classifier.intercepts_, strict=True)
        for number, (weight, bias) in enumerate(hidden):
            h = np.maximum(h, 0) if number else h
            h = h @ weight + bias
        return h

    def accuracy(self, images: ArrayLike, labels: ArrayLike) -> float:
        """Share of images that the classifier knows: features of one that knows few of them say little."""
        return float(np.mean(self.classifier.predict(self._flat(images)) == np.asarray(labels)))

    def _flat(self, images: ArrayLike) -> np.ndarray:
        images = np.asarray(images, dtype=float)
        if images.shape[1:] != self.shape:
            wanted = ", ".join(["n", *map(str, self.shape)])
            raise ValueError(f"DigitFeatures: expected images of shape ({wanted}), got {images.shape}")
        return images.reshape(len(images), -1) / self.scale
