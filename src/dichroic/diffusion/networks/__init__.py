"""Networks: `(x, sigma, key) -> array` of the shape of `x`, for one sample. The key switches dropout on.

One that is faster in blocks of a batch says how many samples make a block, in the property `fast_block`.
"""

from typing import Annotated

from pydantic import Field

from dichroic.diffusion.networks.mlp import MLP, MLPConfig
from dichroic.diffusion.networks.unet import UNet, UNetConfig

# every network, by the `kind` of its settings
NETWORKS = {"mlp": MLP, "unet": UNet}
NetworkConfig = Annotated[MLPConfig | UNetConfig, Field(discriminator="kind")]

__all__ = ["MLP", "NETWORKS", "MLPConfig", "NetworkConfig", "UNet", "UNetConfig"]
