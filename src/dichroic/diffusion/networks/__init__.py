"""Networks: `(x, sigma, key) -> array` of the shape of `x`, for one sample. The key switches dropout on.

One that is faster in blocks of a batch says how many samples make a block, in the property `fast_block`.
"""

from typing import Annotated

from dichroic.diffusion.networks.causal import Causal, CausalConfig
from dichroic.diffusion.networks.config import NetworkConfig
from dichroic.diffusion.networks.conv import Conv, ConvConfig
from dichroic.diffusion.networks.diffwave import DiffWave, DiffWaveConfig
from dichroic.diffusion.networks.mlp import MLP, MLPConfig
from dichroic.diffusion.networks.unet import UNet, UNetConfig
from dichroic.kinds import OneOf

# the settings of every network, by their `kind`; they build it
NETWORKS: dict[str, type[NetworkConfig]] = {
    "mlp": MLPConfig,
    "unet": UNetConfig,
    "conv": ConvConfig,
    "diffwave": DiffWaveConfig,
    "causal": CausalConfig,
}
AnyNetwork = Annotated[NetworkConfig, OneOf(NETWORKS, "mlp")]

__all__ = [
    "MLP",
    "NETWORKS",
    "AnyNetwork",
    "Causal",
    "CausalConfig",
    "Conv",
    "ConvConfig",
    "DiffWave",
    "DiffWaveConfig",
    "MLPConfig",
    "NetworkConfig",
    "UNet",
    "UNetConfig",
]
