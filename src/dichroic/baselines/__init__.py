"""Classical methods behind the same calls as the fit: `fit`, `separate`, `sample`, `save` and `load`."""

from pathlib import Path

from dichroic.baselines.base import Baseline, BaselineConfig, read_header, separated
from dichroic.baselines.beside import Beside, Comparison, beside
from dichroic.baselines.border_median import BorderMedian, BorderMedianConfig
from dichroic.baselines.clvm_linear import CLVMLinear, CLVMLinearConfig
from dichroic.baselines.clvm_vae import CLVMVAE, CLVMVAEConfig
from dichroic.baselines.cpca import ContrastivePCA, ContrastivePCAConfig
from dichroic.baselines.fastica import FastICA, FastICAConfig
from dichroic.baselines.mean_subtraction import MeanSubtraction
from dichroic.baselines.nmf import NMF, NMFConfig
from dichroic.baselines.pcpca import PCPCA, PCPCAConfig
from dichroic.baselines.simple import simple_answers
from dichroic.baselines.stationary_wiener import StationaryWiener
from dichroic.baselines.wiener import Wiener, WienerConfig

# every baseline, by the name it has on the command line and in saved folders; the laws in tests/ run on each of them
BASELINES: dict[str, type[Baseline]] = {
    baseline.name: baseline
    for baseline in (
        *(PCPCA, ContrastivePCA, CLVMLinear, CLVMVAE, Wiener, FastICA, NMF),
        *(MeanSubtraction, BorderMedian, StationaryWiener),
    )
}


def load_baseline(folder: str | Path) -> Baseline:
    """Reads a fitted baseline, whichever it is.

    **Raises:** `FileNotFoundError`; `ValueError` when the folder holds something else.
    """
    name = read_header(folder)["baseline"]
    if name not in BASELINES:
        raise ValueError(f"{folder} holds a baseline '{name}', which this version does not know")
    return BASELINES[name].load(folder)


__all__ = [
    "BASELINES",
    "CLVMVAE",
    "NMF",
    "PCPCA",
    "Baseline",
    "BaselineConfig",
    "Beside",
    "BorderMedian",
    "BorderMedianConfig",
    "CLVMLinear",
    "CLVMLinearConfig",
    "CLVMVAEConfig",
    "Comparison",
    "ContrastivePCA",
    "ContrastivePCAConfig",
    "FastICA",
    "FastICAConfig",
    "MeanSubtraction",
    "NMFConfig",
    "PCPCAConfig",
    "StationaryWiener",
    "Wiener",
    "WienerConfig",
    "beside",
    "load_baseline",
    "separated",
    "simple_answers",
]
