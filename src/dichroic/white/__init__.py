"""Views in units of their noise: real, flat, and as dense or matrix-free systems."""

from dichroic.white.observation import WhitenedObservation

__all__ = [
    "WhitenedObservation",
]
