"""Time and memory of the parts of a fit against what makes them grow, with fitted slopes.

    python benchmarks/scaling.py [--axes observations draws ...] [--out docs/benchmarks] [--figure docs/_static]
    python benchmarks/scaling.py --million     # 1,000,000 observations a view through checks, closed forms and one lap
    python benchmarks/scaling.py --images      # 128 x 128 images with masks and a PSF through a draft's first lap
    python benchmarks/scaling.py --budget      # data larger than the budget of memory, through all commands

Every point is a process of its own (forked: POSIX), so that its memory is its own, and repeats its work: the second
time nothing is compiled. Writes `scaling.json`, a table to be included in a page, and a figure. The slope is that of
the logarithm of the time of the three largest points against the logarithm of what grows: 1 is proportional. Memory is
what the second time takes beyond an idle process, at most. Devices are several in name
(`--xla_force_host_platform_device_count`), on the same cores: their slope of 0 says that they cost nothing.
"""

import argparse
import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path

AXES = {
    # what grows: its values, what is timed, and what else differs from the usual
    "observations": ([1_000, 10_000, 100_000], ("check", "gaussian", "draws"), {}),
    "dimension": ([8, 16, 32, 64], ("gaussian", "draws", "training"), {}),
    "pixels": ([128, 512, 2_048], ("check", "gaussian"), {"kind": "shared", "observations": 256, "sources": 1}),
    "side": ([32, 64, 128, 256], ("check", "gaussian", "draws"), {"kind": "images", "observations": 16, "sources": 1}),
    "sources": ([1, 2, 4], ("gaussian", "draws"), {}),
    "views": ([1, 2, 4], ("check", "gaussian"), {}),
    "draws": ([1, 4, 16], ("separate",), {}),
    "devices": ([1, 2, 4], ("draws",), {}),
}
_ABREAST = 4  # axes beside each other in the figure
USUAL = {
    "kind": "matrices",
    "observations": 2_000,
    "dimension": 8,
    "sources": 2,
    "views": 1,
    "draws": 1,
    "devices": 1,
    "pixels": 0,
    "side": 0,
}


def problem_of(n: int, d: int, sources: int, views: int):
    """Gaussian sources of `d` numbers, seen through matrices of every observation's own, half as many data."""
    import numpy as np

    from dichroic.operators import Dense, PerSample
    from dichroic.problem import Problem, Source, View

    rng, m, names = np.random.default_rng(0), max(d // 2, 2), [f"s{i}" for i in range(sources)]
    found = {}
    for v in range(views):
        mixing = {s: PerSample(Dense(rng.standard_normal((n, m, d), np.float32))) for s in names}
        y = sum(
            np.einsum("nij,nj->ni", op.value.matrix, rng.standard_normal((n, d), np.float32)) for op in mixing.values()
        )
        found[f"v{v}"] = View(y + 0.1 * rng.standard_normal((n, m), np.float32), mixing, np.float32(0.1))
    return Problem({s: Source((d,)) for s in names}, found)


def pixels_of(n: int, pixels: int):
    """Observations of all numbers of a source, alike: more unknowns than observations."""
    import numpy as np

    from dichroic.problem import Problem, Source, View

    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 8), np.float32) @ rng.standard_normal((8, pixels), np.float32)
    y = x + 0.1 * rng.standard_normal(x.shape, np.float32)
    return Problem({"x": Source((pixels,))}, {"v": View(y, {"x": 1.0}, 0.1)})


def images_of(n: int, side: int):
    """Images with masks of their own behind one PSF."""
    import numpy as np

    from dichroic.operators import Convolve
    from dichroic.problem import Problem, Source, View

    rng, kernel = np.random.default_rng(0), np.exp(-(np.mgrid[-3:4, -3:4] ** 2).sum(0) / 2)
    y = rng.standard_normal((n, side, side), np.float32)
    psf = Convolve((kernel / kernel.sum()).astype(np.float32), (side, side))
    return Problem({"x": Source((side, side))}, {"v": View(y, {"x": psf}, 0.1, rng.random(y.shape) < 0.9)})


def works(kind: str, n: int, d: int, sources: int, views: int, draws: int, pixels: int, side: int) -> dict:
    """What is timed, by name."""
    import jax
    import numpy as np

    from dichroic.algebra import Gaussian
    from dichroic.closed import GaussianConfig, gaussian_em
    from dichroic.design import check_design
    from dichroic.diffusion import DenoiserPrior, MLPConfig, NetworkDenoiser, Scaling, Schedule, TrainingConfig, train
    from dichroic.posterior import observation_keys, read_method
    from dichroic.run import separate

    made = {
        "matrices": lambda: problem_of(n, d, sources, views),
        "shared": lambda: pixels_of(n, pixels),
        "images": lambda: images_of(n, side),
    }
    problem = made[kind]()
    config = GaussianConfig(laps=3, large_rank=16)
    network, schedule = MLPConfig(width=64, depth=2), Schedule(0.01, 10.0)
    view = next(iter(problem.views.values()))

    def priors():
        if kind == "images":  # of few directions
            basis = np.linalg.qr(np.random.default_rng(1).standard_normal((side**2, 16)))[0]
            law = Gaussian(np.zeros(side**2), basis, np.ones(16), 0.1)
            return {"x": DenoiserPrior.of(law, (side, side), schedule, Scaling(0.0, 1.0), {})}
        return {
            s: DenoiserPrior(NetworkDenoiser.create((d,), network, key=jax.random.key(i)), schedule)
            for i, s in enumerate(problem.sources)
        }

    def draw():
        bound = read_method({"kind": "annealed", "steps": 8}).bind(view, priors(), key=jax.random.key(0))
        return bound.draw(observation_keys(jax.random.key(1), len(view)))

    def learn():
        prior = next(iter(priors().values()))
        x = jax.device_put(np.random.default_rng(0).standard_normal((n, d)).astype(np.float32))
        return train(prior.denoiser(), schedule, x, TrainingConfig(steps=64, batch=512), key=jax.random.key(2))

    return {
        "check": lambda: check_design(problem),
        "gaussian": lambda: gaussian_em(problem, config),
        "draws": draw,
        "training": learn,
        "separate": lambda: separate(problem, priors(), key=jax.random.key(3), draws=draws, share=1.0),
    }


def one(setting: dict, name: str) -> dict:
    """Seconds, processor seconds and the peak of memory above an idle process (MB), all of the second time."""
    import jax

    jax.devices()
    setting.pop("devices")
    setting["n"], setting["d"] = setting.pop("observations"), setting.pop("dimension")
    idle, work = peak(), works(**setting)[name]
    work()
    forget()
    begin, cpu = time.perf_counter(), time.process_time()
    work()
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    return {"seconds": round(seconds, 4), "cpu": round(cpu, 4), "memory": round(peak() - idle, 1)}


def forget() -> None:
    """What compiling took: its memory goes back to the system, and its peak is one no longer (Linux)."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def measured(axis: str) -> dict:
    """All points of an axis, each in a process of its own, by part and value."""
    values, names, differs = AXES[axis]
    rows: dict = {}
    for name in names:
        for value in values:
            found = apart(USUAL | differs | {axis: value}, name)
            print(axis, name, value, found, flush=True)
            if found is not None:
                rows.setdefault(name, {})[str(value)] = found
    return rows


def apart(setting: dict, name: str) -> dict | None:
    """`one`, in a process that has nothing to import, for this one has; None where it fails."""
    import dichroic.run  # noqa: F401

    reader, writer = os.pipe()
    child = os.fork()  # what JAX runs on is looked for in the child
    if not child:
        try:
            flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={setting['devices']}"
            os.environ["XLA_FLAGS"] = flags
            os.write(writer, json.dumps(one(dict(setting), name)).encode())
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        text = told.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else None


def million(n: int = 1_000_000) -> None:
    """Two sources on manifolds in two views of `n` observations with operators of their own."""
    from dichroic.algebra import Components
    from dichroic.closed import components_em, gaussian_em
    from dichroic.design import check_data, check_design
    from dichroic.em import Expectation, make_plan, run_stages, split, start_state
    from dichroic.problem import load_problem
    from dichroic.settings import FitConfig

    with tempfile.TemporaryDirectory() as folder:
        making = [sys.executable, __file__, "--make", str(n), folder]  # the memory that this takes is not the fit's
        subprocess.run(making, check=True)
        problem = load_problem(folder).problem
        said(f"read: {sum(map(len, problem.views.values())):,} observations")
        check_data(problem)
        check_design(problem)
        said("checked")
        small = {"kind": "mlp", "width": 32, "depth": 1}  # of the network batches are in memory, whatever the data
        few = {"training": {"steps": 64}, "sampling": {"kind": "annealed", "steps": 2}, "held_out_limit": 512}
        config = FitConfig(laps=1, network=small, **few)
        problem, held_out = split(problem, None, config)
        said("split")
        fit = gaussian_em(problem, config.gaussian.model_copy(update={"laps": 3}))
        said("Gaussian stage, 3 laps")
        start = {s: Components.of(x) for s, x in fit.populations.items()}
        four = config.components.model_copy(update={"components": 4})
        found = components_em(problem, start, four, held_out=held_out, seed=0)
        said("components")
        state = start_state(fit, {}, problem, config, found.components)
        context = Expectation(problem, held_out, config, make_plan(problem, "joint"), lambda *_: None)
        for lap, _ in zip(("first draws", "lap 1"), run_stages(state, context), strict=False):
            said(lap)


def made(n: int, folder: str) -> None:
    """The problem of `million`, as files."""
    from dichroic.problem import save_problem
    from dichroic.studies.experiments import contrastive

    save_problem(contrastive(n, sources=2, seed=0, held_out=64)[0], folder)


def images(n: int = 64, side: int = 128) -> None:
    """Images with masks of their own behind a PSF, through a draft with few steps: memory does not know how many."""
    import numpy as np

    rng, at = np.random.default_rng(0), np.arange(side) - side / 2
    shape = np.exp(-(at[:, None] ** 2 + at**2) / (2 * (side / 8) ** 2))
    x = shape * rng.uniform(0.5, 2, (n, 1, 1)) + 0.02 * rng.standard_normal((n, side, side))
    kernel = np.exp(-(np.mgrid[-3:4, -3:4] ** 2).sum(0) / 2)
    seen = rng.random((n, side, side)) < 0.9
    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/data.npz", y=x.astype(np.float32), seen=seen, psf=kernel / kernel.sum())
        text = f"""[sources.galaxy]
shape = [{side}, {side}]
[views.camera]
y = "data.npz:y"
observed = "data.npz:seen"
mixing.galaxy = {{ convolve = "data.npz:psf" }}
noise = 0.05
"""
        Path(f"{folder}/problem.toml").write_text(text)
        few = ["--preset", "draft", "--laps", "2", "--training.steps", "4", "--gaussian.laps", "2", "--draws", "1"]
        few += ["--mean-share", "1.0", "--allow-unidentified"]
        command(["fit", folder, "--out", f"{folder}/run", "--quiet", "--no-report", *few])


def large(folder: str, n: int = 13_500, side: int = 64) -> None:
    """The problem of `budget`, as files: images in single precision, noise maps and their truth in double."""
    import h5py
    import numpy as np

    rng = np.random.default_rng(0)
    with h5py.File(f"{folder}/data.h5", "w") as file:
        kinds = {"y": np.float32, "noise": float, "x": float}
        y, noise, truth = (file.create_dataset(name, (n, side, side), kind) for name, kind in kinds.items())
        for begin in range(0, n, 1000):
            rows = slice(begin, min(begin + 1000, n))
            x = np.broadcast_to(rng.standard_normal((rows.stop - rows.start, 1, 1), np.float32), y[rows].shape)
            std = 0.1 + 0.1 * rng.random(x.shape, np.float32)
            y[rows], noise[rows], truth[rows] = x + std * rng.standard_normal(x.shape, np.float32), std, x
        said(f"data: {(y.nbytes + noise.nbytes + truth.nbytes) / 1e9:.1f} GB")
    text = f"""[sources.x]
shape = [{side}, {side}]
[views.v]
y = "data.h5:y"
mixing.x = 1.0
noise = {{ std = "data.h5:noise", per_sample = true }}
truth.x = "data.h5:x"
[fit]
laps = 1
draws = 1
mean_share = 1.0
judged = "never"
law = "em"
training = {{ steps = 32, batch = 64 }}
gaussian = {{ laps = 2, large_rank = 4, large_subset = 64 }}
network = {{ kind = "mlp", width = 8, depth = 1 }}
sampling = {{ kind = "annealed", steps = 1, covariance = "krylov" }}
"""
    Path(f"{folder}/problem.toml").write_text(text)


def budget(size: str = "1GB") -> None:
    """Data larger than the budget, through all commands that take one."""
    with tempfile.TemporaryDirectory() as folder:
        large(folder)
        small = ["--sbc", "8x7", "--fission", "8x7", "--leakage", "8x7", "--maps", "8x7", "--observations", "64"]
        run, limit = f"{folder}/run", ["--memory", size]
        command(["check", folder, *limit])
        command(["fit", folder, "--out", run, "--quiet", "--no-report", *limit])
        command(["separate", run, folder, "--out", f"{folder}/all.zarr", "--draws", "1", "--quiet", *limit])
        command(["diagnose", run, "--quiet", "--no-report", *small, *limit])
        command(["report", run, *limit])


def command(words: list[str]) -> float:
    """Runs a command, and says what it took; returns the most memory it had resident, in MB."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dichroic", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    told = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds, most = used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3
    print(f"{words[0]}: {seconds:.0f} CPU s, at most {most:,.0f} MB, exit code {process.returncode}", flush=True)
    if process.returncode not in (0, 3):
        raise SystemExit(told[-3000:])
    return most


def said(what: str, since: list[float] = [0.0]) -> None:  # noqa: B006
    """Processor seconds since the last time, and the most memory so far."""
    now = time.process_time()
    print(f"{what}: {now - since[0]:.1f} CPU s, at most {peak():,.0f} MB so far", flush=True)
    since[0] = now


def slope(points: dict, what: str) -> float:
    """Of the logarithms, through the three largest points."""
    import numpy as np

    x, y = np.array(sorted((float(k), max(v[what], 1e-3)) for k, v in points.items())[-3:]).T
    return float(np.polyfit(np.log(x), np.log(y), 1)[0]) if len(x) > 1 else float("nan")


def write(rows: dict, out: Path, figure: Path) -> None:
    """The numbers, the table and the curves."""
    (out / "scaling.json").write_text(json.dumps(rows, indent=1) + "\n")
    lines = [
        "| grows | part | from | to | CPU s | slope | memory, MB | slope |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for axis, parts in rows.items():
        for name, points in parts.items():
            first, last = (points[k] for k in (min(points, key=float), max(points, key=float)))
            told = [f"{axis} | {name} | {int(min(points, key=float)):,} | {int(max(points, key=float)):,}"]
            for what, digits in (("cpu", 2), ("memory", 0)):
                told += [f"{first[what]:,.{digits}f} to {last[what]:,.{digits}f}", f"{slope(points, what):.2f}"]
            lines.append(f"| {' | '.join(told)} |")
    (out / "scaling_table.inc").write_text("\n".join(lines) + "\n")
    draw(rows, figure / "scaling.png")


def draw(rows: dict, file: Path) -> None:
    """Time and memory of every part against what grows; dotted, what is proportional to it."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator

    lines = -(-len(rows) // _ABREAST)
    figure, grid = plt.subplots(2 * lines, _ABREAST, figsize=(2.6 * _ABREAST, 4.4 * lines))
    colours = {name: f"C{i}" for i, name in enumerate(("check", "gaussian", "draws", "training", "separate"))}
    for panel in grid.flat:
        panel.set_visible(False)
    for number, (axis, parts) in enumerate(rows.items()):
        line, column = divmod(number, _ABREAST)
        panels = grid[2 * line : 2 * line + 2, column]
        for panel, what, label in zip(panels, ("cpu", "memory"), ("CPU seconds", "memory, MB"), strict=True):
            panel.set_visible(True)
            seen = [max(v[what], 1e-3) for points in parts.values() for v in points.values()]
            for name, points in parts.items():
                x, y = zip(*sorted((float(k), max(v[what], 1e-3)) for k, v in points.items()), strict=True)
                panel.loglog(x, y, "o-", color=colours[name], label=name, markersize=4)
                panel.plot(x, [y[-1] * a / x[-1] for a in x], ":", color=colours[name], alpha=0.5)  # proportional
            panel.set_ylabel(label if column == 0 else None)
            middle = (min(seen) * max(seen)) ** 0.5
            panel.set_ylim(min(0.8 * min(seen), middle / 4), max(1.25 * max(seen), 4 * middle))
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
            panel.yaxis.set_major_formatter("{x:g}")
            panel.minorticks_off()
            panel.set_xticks(x, [f"{a:g}" if a < 1e4 else f"$10^{len(str(int(a))) - 1}$" for a in x], fontsize=8)
        panels[0].legend(fontsize=8)
        panels[1].set_xlabel(axis)
    figure.tight_layout()
    figure.savefig(file, dpi=120)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axes", nargs="+", choices=list(AXES), default=list(AXES))
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--figure", type=Path, default=Path("docs/_static"), help="folder of scaling.png")
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--images", action="store_true")
    parser.add_argument("--budget", action="store_true")
    parser.add_argument("--make", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        made(int(arguments.make[0]), arguments.make[1])
    elif arguments.million or arguments.images or arguments.budget:
        (million if arguments.million else images if arguments.images else budget)()
    else:
        known = arguments.out / "scaling.json"  # axes that are not asked for stay as they were measured
        rows = json.loads(known.read_text()) if known.exists() else {}
        for axis in arguments.axes:  # each is written when it is done
            rows[axis] = measured(axis)
            write({axis: x for axis in AXES if (x := rows.get(axis))}, arguments.out, arguments.figure)


if __name__ == "__main__":
    main()
