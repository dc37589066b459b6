"""What share of the time of a lap goes into network evaluations, by kind of problem.

    python benchmarks/shares.py [--out benchmarks/results]

For every problem: the seconds of as many gradients of the network alone as an M-step takes, over those of the M-step;
and the seconds of as many forward passes and transposed products of the network alone as an E-step takes, over those of
the E-step; at the same batch size and precision, on one core. All programs are compiled first; the least of three runs
counts.

Then the draws of eight batches of the first problem, on the machine as it is and with processes beside them that keep a
core busy each: seconds, CPU seconds and context switches (voluntary, involuntary) of the median run.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from operator import itemgetter
from pathlib import Path
from time import perf_counter

from dichroic.cli.environment import prepare

prepare()  # threads as the commands have them

REPEATS = 3
# steps of training, steps of sampling, observations side by side: for an MLP what a fit takes by default, without which
# the calls themselves would count; for a U-Net as many as minutes allow
EFFORTS = {"mlp": (1024, 8, 512), "unet": (48, 4, 32)}


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    print(f"{'problem':<36} {'M-step':>7} {'E-step':>7} {'lap':>7}")
    rows = []
    for name, build in PROBLEMS.items():
        rows.append(row := measure(name, *build()))
        print(f"{name:<36} {row['m_step']:7.0%} {row['e_step']:7.0%} {row['lap']:7.0%}", flush=True)
    print(f"\n{'draws of eight batches':<36} {'wall s':>7} {'CPU s':>7} {'switches':>14}")
    for row in (loads := beside()):
        name, switches = f"beside {row['beside']} busy processes", f"{row['voluntary']} + {row['involuntary']}"
        print(f"{name:<36} {row['wall']:7.2f} {row['cpu']:7.2f} {switches:>14}", flush=True)
    rows += loads
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "shares.json").write_text(json.dumps(rows, indent=1) + "\n")


def manifolds(observations: int = 512):
    """Five numbers, three data, every observation its own matrix."""
    from dichroic.diffusion import MLPConfig
    from dichroic.studies.experiments import contrastive

    problem, _ = contrastive(observations, sources=2)
    return problem, MLPConfig(width=128)


def images(side: int, network: str):
    """Two textures seen in full, one of them faint, with noise."""

    def build():
        import numpy as np

        from dichroic.diffusion import MLPConfig, UNetConfig
        from dichroic.operators import Identity, Scale
        from dichroic.problem import Problem, Source, View

        y = np.random.default_rng(0).normal(size=(EFFORTS[network][2], side, side, 1)).astype(np.float32)
        sources = {s: Source((side, side, 1)) for s in ("grass", "digit")}
        problem = Problem(
            sources, {"both": View(y, {"grass": Identity((side, side, 1)), "digit": Scale(0.5, (side, side, 1))}, 0.1)}
        )
        return problem, MLPConfig(width=256) if network == "mlp" else UNetConfig()

    return build


PROBLEMS = {
    "manifolds, MLP 128": manifolds,
    "8 x 8 images, MLP 256": images(8, "mlp"),
    "28 x 28 images, U-Net": images(28, "unet"),
}


def measure(name: str, problem, network) -> dict:
    """The shares of one problem."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from dichroic.diffusion import Batch, DenoiserPrior, NetworkDenoiser, Scaling, Schedule, TrainingConfig, train
    from dichroic.posterior import Auto, observation_keys

    key, schedule = jax.random.key(0), Schedule(5e-3, 20.0)
    training_steps, steps, batch = EFFORTS[network.kind]
    shape = next(iter(problem.sources.values())).shape
    denoiser = NetworkDenoiser.create(shape, network, key=key)
    priors = {s: DenoiserPrior(denoiser, schedule, Scaling()) for s in problem.sources}
    view = list(problem.views.values())[-1]
    training = TrainingConfig(steps=training_steps, batch=16 if network.kind == "unet" else 512)
    samples = jax.random.normal(key, (512, *shape))

    @jax.jit
    def gradients(n):
        def gradient(i, carry):
            def loss(leaves):
                trained = jax.tree.unflatten(structure, leaves)
                keys = jax.random.split(jax.random.fold_in(key, i), training.batch)
                batch = Batch(samples[: training.batch], keys, schedule, i)
                return jnp.mean(training.objective.loss(trained, None, batch, key)[0])

            return jax.tree.map(lambda a, b: a + 1e-9 * b, carry, jax.grad(loss)(carry))

        return jax.lax.fori_loop(0, n, gradient, leaves)

    leaves, structure = jax.tree.flatten(denoiser)
    alone = best(lambda: gradients(training.steps))
    whole = best(lambda: train(denoiser, schedule, samples, training, key=key)[1])
    m_step = alone / whole

    part = view.select(np.arange(batch)) if len(view) > batch else view
    x = jax.random.normal(key, (batch, *shape))

    @jax.jit
    def forward(n):
        return jax.lax.fori_loop(0, n, lambda i, x: jax.vmap(lambda u: denoiser(u, jnp.float32(1.0)))(x), x)

    @jax.jit
    def both(n):
        def one(u):
            value, pull = jax.vjp(lambda v: denoiser(v, jnp.float32(1.0)), u)
            return pull(value)[0]

        return jax.lax.fori_loop(0, n, lambda i, x: jax.vmap(one)(x), x)

    forward_seconds = best(lambda: forward(steps)) / steps
    product_seconds = max(best(lambda: both(steps)) / steps - forward_seconds, 0.0)
    bound, keys = Auto(steps=steps, batch=batch).bind(part, priors, key=key), observation_keys(key, len(part))
    drawn = bound.draw(keys)
    seconds = best(lambda: bound.draw(keys).samples)
    evaluations = len(priors) * (drawn.cost.forward * forward_seconds + drawn.cost.products * product_seconds)
    e_step = evaluations / seconds
    # a default lap: 1,024 training steps of every source, 8 sampling steps of each of 4,096 observations
    m_lap, e_lap = 1024 * len(priors) * whole / training.steps, 4096 / batch * 8 / steps * seconds
    lap = (m_step * m_lap + e_step * e_lap) / (m_lap + e_lap)
    return {"problem": name, "m_step": m_step, "e_step": e_step, "lap": lap, "e_seconds": seconds, "m_seconds": whole}


def beside() -> list[dict]:
    """Draws of eight batches of the manifolds, alone, beside one busy process, and beside one for every core."""
    import jax

    from dichroic.diffusion import DenoiserPrior, NetworkDenoiser, Scaling, Schedule
    from dichroic.posterior import Auto, observation_keys

    _, steps, batch = EFFORTS["mlp"]
    problem, network = manifolds(8 * batch)
    key, shape = jax.random.key(0), next(iter(problem.sources.values())).shape
    denoiser = NetworkDenoiser.create(shape, network, key=key)
    priors = {s: DenoiserPrior(denoiser, Schedule(5e-3, 20.0), Scaling()) for s in problem.sources}
    view = list(problem.views.values())[-1]
    bound, keys = Auto(steps=steps, batch=batch).bind(view, priors, key=key), observation_keys(key, len(view))
    bound.draw(keys)
    rows = []
    for n in sorted({0, 1, os.cpu_count() or 1}):
        busy = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(n)]
        try:
            runs = sorted((used(lambda: bound.draw(keys)) for _ in range(5)), key=itemgetter("wall"))
            rows.append({"beside": n, **runs[2]})
        finally:
            for process in busy:
                process.kill()
                process.wait()
    return rows


def used(run) -> dict:
    """Seconds, CPU seconds and context switches of one call."""
    before, begin = resource.getrusage(resource.RUSAGE_SELF), perf_counter()
    run()
    wall, after = perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF)
    return {
        "wall": wall,
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "voluntary": after.ru_nvcsw - before.ru_nvcsw,
        "involuntary": after.ru_nivcsw - before.ru_nivcsw,
    }


def best(run) -> float:
    """The least time of a few runs, the program being compiled."""
    import jax

    jax.block_until_ready(run())
    times = []
    for _ in range(REPEATS):
        begin = perf_counter()
        jax.block_until_ready(run())
        times.append(perf_counter() - begin)
    return min(times)


if __name__ == "__main__":
    main()
