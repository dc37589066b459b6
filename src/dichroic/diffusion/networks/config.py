"""What the settings of every network have in common."""

from abc import ABC, abstractmethod

import equinox as eqx
from jaxtyping import PRNGKeyArray

from dichroic.kinds import Settings

__all__ = ["NetworkConfig"]


class NetworkConfig(Settings, ABC):
    """Settings of a network, and what makes one of them. `kind` is its name in `NETWORKS`."""

    kind: str

    @abstractmethod
    def build(self, shape: tuple[int, ...], *, key: PRNGKeyArray, out_scale: float = 1.0) -> eqx.Module:
        """A network with fresh weights for samples of a shape, with these settings as its `config`.

        **Arguments:** `out_scale`, of the weights of the last layer: with 0 the network begins as zero.
        """
