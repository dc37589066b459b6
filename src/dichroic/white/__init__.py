"""Views in units of their noise: one observation, what its fellows share with it, and all of them as arrays."""

from dichroic.white.observation import WhitenedObservation

__all__ = [
    "WhitenedObservation",
]
