"""Pictures with classes: CIFAR-10 and ImageNet at 64 x 64, of the user's own copy, with the settings that the thesis
has for them (section 8.4).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dichroic.diffusion import NetworkConfig, TrainingConfig, UNetConfig
from dichroic.onestep import OneStepConfig
from dichroic.studies.experiments.cifar import labelled_images

__all__ = ["PICTURES", "Pictures"]

Read = Callable[[Path], tuple[np.ndarray, np.ndarray]]


class Pictures(NamedTuple):
    """How a set of pictures is read, and how generators of them are trained.

    **Fields:** `files`, how the first of its files is called, and `read(file)`, pictures in [0, 1], shape
    `(n, H, W, C)`, and labels; `network`; `steps` of a generator, and of the denoiser it is distilled from; `batch`;
    `rates`, by the way, of generator and critic; `classes`, whether generators are told them; `judged`, draws.
    """

    files: str
    read: Read
    network: NetworkConfig
    steps: tuple[int, int]
    batch: int
    rates: Mapping[str, tuple[float, float]]
    classes: bool
    judged: int = 50_000

    def config(self, way: str) -> OneStepConfig:
        """The settings of a way to a generator."""
        rate, critic = self.rates[way]
        training = TrainingConfig(steps=self.steps[0], batch=self.batch, rate=rate, decay="linear", ema=0.999, clip=10)
        return OneStepConfig(training=training, critic_rate=critic, sigma_min=0.004, sigma_max=160.0)


def _cifar10(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """The binary version, in five files."""
    parts = [labelled_images(part.read_bytes(), str(part)) for part in sorted(file.parent.glob("data_batch_*.bin"))]
    images, labels = map(np.concatenate, zip(*parts, strict=True))
    return images.astype(np.float32) / 255, labels.astype(int)


def _imagenet64(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Downsampled ImageNet: `data`, 3 x 64 x 64 bytes each, and `labels`, from 1 on, in ten files."""
    parts = [np.load(part, allow_pickle=False) for part in sorted(file.parent.glob("train_data_batch_*.npz"))]
    images = np.concatenate([p["data"] for p in parts]).reshape(-1, 3, 64, 64).transpose(0, 2, 3, 1)
    return images.astype(np.float32) / 255, np.concatenate([p["labels"] for p in parts]) - 1


# at the published sizes: DDPM++ and ADM in the terms of this library's U-Net
PICTURES = {
    "cifar10": Pictures(
        "data_batch_1.bin",
        _cifar10,
        UNetConfig(channels=(256, 256, 256), blocks=(4, 4, 4), heads=(0, 4, 0), embedding=512, dropout=0.13),
        (150_000, 400_000),
        280,
        {"smt": (1e-4, 5e-4), "smd": (5e-5, 5e-5)},
        classes=False,
    ),
    "imagenet64": Pictures(
        "train_data_batch_1.npz",
        _imagenet64,
        UNetConfig(channels=(192, 384, 576, 768), blocks=(3, 3, 3, 3), heads=(0, 6, 9, 12), embedding=768, dropout=0.0),
        (200_000, 400_000),
        280,
        {"smt": (5e-6, 5e-5), "smd": (2e-6, 2e-6)},
        classes=True,
    ),
}
