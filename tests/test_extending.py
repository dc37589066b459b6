"""What docs/extending.md says is done: every file on the page is written, entered in its list, and used."""

import importlib.util
import json
import re
import sys
from importlib import import_module
from pathlib import Path

import jax
import numpy as np
import pytest

from diagnosis_cases import SMALL, make_case
from dichroic import FitConfig, GaussianDenoiser, Prior, Problem, Run, Source, View, fit, load_problem
from dichroic.cli import main
from dichroic.diagnose import run_panel
from dichroic.diffusion import DenoiserPrior
from dichroic.formats import Labels
from dichroic.metrics import METRICS
from dichroic.posterior import observation_keys, read_method
from dichroic.problem import ProblemError
from dichroic.problem.arrays import ArrayReader
from dichroic.run import Separation, export
from dichroic.settings import settle
from run_cases import tiny_arrays
from test_architecture import rows

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
FILES = re.findall(r"```python\n(# (\w+)\.py, entered as \"(\w+)\": ([^\n]+)\n.*?)```", PAGE, re.S)
PARTS = [row for row in rows("extending.md", "part") if row[0] != "baseline"]  # those need a problem of their own

PROBLEM = """\
[sources.sky]
shape = [2]
prior = "sky.safetensors"

[sources.star]
shape = [2]

[views.both]
y = "data.npz:both"
noise = 0.1
mixing = { sky = 1.0, star = { roll = {} } }
"""

LOGISTIC = """\
[sources.star]
shape = [2]

[views.v]
y = "data.npz:y"
noise = { logistic = 0.2 }
mixing = { star = 1.0 }

[fit]
laps = 1
held_out = 0.5
draws = 2
network = { kind = "mlp", width = 8, depth = 1, embedding = 4 }
training = { steps = 64, batch = 64 }
sampling = { kind = "annealed", steps = 12, batch = 128 }
"""
CHEAP = ["--check", "chi_square", "--check", "replay", "--check", "fission", "--check", "sbc", "--sbc", "64x7"]


@pytest.fixture(scope="module")
def entered(tmp_path_factory):
    """The modules of the page by the names of their entries, and the lists as they were afterwards."""
    folder = tmp_path_factory.mktemp("parts")
    modules, lists = {}, []
    assert len(FILES) == len(PARTS)
    for (text, name, entry, value), (_, package, registry, _) in zip(FILES, PARTS, strict=True):
        (folder / f"{name}.py").write_text(text)
        spec = importlib.util.spec_from_file_location(f"extending_{name}", folder / f"{name}.py")
        assert spec is not None and spec.loader is not None
        modules[entry] = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(modules[entry])
        known = getattr(import_module(package), registry)
        known[entry] = eval(value, vars(modules[entry]))
        lists.append((known, entry))
    yield modules
    for known, entry in lists:
        del known[entry]


SETTINGS = {
    "laps": 1,
    "held_out": 0.25,
    "allow_unidentified": True,
    "network": {"kind": "affine", "layers": 2},
    "training": {"steps": 8, "batch": 16, "objective": {"kind": "plain", "power": 0.5}},
    "sampling": {"target": "pulled", "zeta": 0.2, "step": {"kind": "churned", "eta": 0.5}, "steps": 3, "batch": 16},
    "draws": 2,
}


@pytest.fixture(scope="module")
def run(entered, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("extended")
    np.savez(folder / "data.npz", both=tiny_arrays(48)["both"])
    entered["constant"].Constant(np.array([1.0, 1.5], np.float32)).save(folder / "sky.safetensors")
    (folder / "problem.toml").write_text(PROBLEM)
    loaded = load_problem(folder / "problem.toml")
    config = FitConfig.model_validate({**SETTINGS, "sampling": {"kind": "annealed", **SETTINGS["sampling"]}})
    return fit(
        loaded.problem,
        config,
        out=folder / "run",
        frozen=loaded.frozen,
        source_file=folder / "problem.toml",
        track=["lines"],
    )


@pytest.mark.slow
def test_the_tracker_of_the_page_takes_every_lap(run):
    lines = [json.loads(line) for line in (run.path / "lines.jsonl").read_text().splitlines()]
    assert [line["lap"] for line in lines] == [1, 2] == list(range(1, len(run.records) + 1))
    assert lines[1]["views/both/chi_square"] == run.records[1]["views"]["both"]["chi_square"]


def test_a_fit_uses_every_part(entered, run):
    both = run.problem.views["both"]
    assert isinstance(both.mixing["star"], entered["roll"].Roll)
    assert isinstance(run.priors["sky"], entered["constant"].Constant)
    # trained once; that the best lap of so short a fit is the closed form's is no fault of the parts
    assert run.records[-1]["lap"] == 1 and np.isfinite(run.records[-1]["loss"]["star"])
    assert run.config.network == entered["affine"].AffineConfig(layers=2)
    config = run.config
    assert config.training.objective == entered["plain"].Plain(power=0.5)
    assert isinstance(config.sampling, entered["pulled"].Pulled) and config.sampling.step.eta == 0.5
    draws = Separation.open(run.separated).draws("both", "star")
    assert draws.shape[1:] == (2, 2) and np.isfinite(draws).all()


def test_priors_of_every_part_are_read_again(entered, run):
    again = Prior.load(run.path / "priors" / "star.safetensors")
    np.testing.assert_array_equal(
        again.sample(3, key=jax.random.key(0)), run.priors["star"].sample(3, key=jax.random.key(0))
    )


def test_flags_and_tables_say_the_same(entered):
    flags = {
        "network": {"kind": "affine", "layers": 2},
        "sampling": {"kind": "annealed", "target": "pulled", "zeta": 0.2},
    }
    config = settle(flags, {"training": {"objective": "plain"}})
    assert config == settle({}, {**flags, "training": {"objective": {"kind": "plain"}}})


def test_a_method_of_the_page_draws_the_exact_posterior(entered, getkey):
    """Many candidates of one Gaussian source of one number: mean and variance of the draws are those of the formula."""
    prior = DenoiserPrior(GaussianDenoiser(np.zeros(1), np.zeros((1, 0)), np.zeros(0), np.ones(())))
    y = np.full((4096, 1), 0.8, np.float32)
    view = Problem({"x": Source((1,))}, {"y": View(y, {"x": 1.0}, 0.5)}).views["y"]
    bound = read_method({"kind": "importance", "candidates": 8192}).bind(view, {"x": prior}, key=getkey())
    x = bound.draw(observation_keys(getkey(), len(view))).samples["x"]
    mean, variance = 0.8 / 1.25, 0.25 / 1.25
    # the pool's own scatter: about as many candidates count as the posterior is narrow
    error = (variance / (8192 * variance**0.5)) ** 0.5
    assert abs(x.mean() - mean) < 5 * error
    assert abs(x.var() / variance - 1) < 5 * (2 / (8192 * variance**0.5)) ** 0.5


def test_a_reader_of_the_page_reads_names_and_numbers(entered, tmp_path):
    (tmp_path / "t.csv").write_text("r,g,b\n1,2,3\n4,5,6\n")
    found = ArrayReader(tmp_path).open({"file": "t.csv", "columns": "b+r"})
    np.testing.assert_array_equal(found.values, [[3, 1], [6, 4]])
    assert list(found.axes[1].labels) == ["b", "r"]
    with pytest.raises(ProblemError, match=r"unknown key 'column' beside the file.*did you mean 'columns'"):
        ArrayReader(tmp_path).open({"file": "t.csv", "column": "b"})


def test_a_writer_of_the_page_writes_names_and_units(entered, tmp_path):
    x = np.arange(4.0, dtype=np.float32).reshape(2, 2, 1)
    checks = {"v": np.ones((2, 2))}, {"v": np.zeros((2, 2), bool)}
    found = Separation({"v": {"s": x}}, *checks, 1, labels={"v": Labels(ids=np.array(["a", "b"]))}, units={"s": "K"})
    assert export(found, tmp_path / "x.txt")[1] == "standard deviations and draws"
    assert (tmp_path / "x.txt").read_text() == "v\ta\ts\t0.5 K\nv\tb\ts\t2.5 K\n"


def test_a_metric_and_a_check_of_the_page(entered, getkey):
    x = np.arange(6.0).reshape(3, 2)
    assert METRICS["largest_error"].function(x, x + 0.5) == 0.5
    problem, model = make_case(0, n=40)
    found = run_panel(problem, model, key=getkey(), budget=SMALL, checks=["failures"])["failures"]
    assert found.level == "green" and found.observations == 40


def test_the_likelihood_of_the_page_is_read_and_normalised(entered, tmp_path):
    np.savez(tmp_path / "data.npz", both=tiny_arrays(4)["both"])
    text = PROBLEM.replace("noise = 0.1", "noise = { logistic = 0.3 }").replace('prior = "sky.safetensors"\n', "")
    (tmp_path / "problem.toml").write_text(text)
    logistic = load_problem(tmp_path / "problem.toml").problem.views["both"].observations.likelihood
    assert isinstance(logistic, entered["logistic"].Logistic)
    y = np.linspace(-8, 8, 20001)[:, None]
    density = np.exp(jax.vmap(lambda v: logistic.log_prob(v, np.zeros(1)))(y))
    assert np.trapezoid(density, y[:, 0]) == pytest.approx(1, abs=1e-4)


def test_the_likelihood_of_the_page_goes_through_every_command(entered, tmp_path, capsys):
    """Data with that noise are judged sound: what is simulated for the checks is drawn from the likelihood itself."""
    rng = np.random.default_rng(0)
    star = rng.normal(size=(256, 2)).astype(np.float32)
    np.savez(tmp_path / "data.npz", y=star + rng.logistic(scale=0.2, size=star.shape).astype(np.float32))
    (tmp_path / "problem.toml").write_text(LOGISTIC)
    said = {}
    folder = tmp_path / "run"
    for command in (
        ["check", str(tmp_path)],
        ["fit", str(tmp_path), "--out", str(folder), "-q", "--no-report"],
        ["separate", str(folder), "--out", str(tmp_path / "draws.npz"), "--draws", "2", "-q"],
        ["diagnose", str(folder), "-q", "--no-report", *CHEAP],
        ["report", str(folder)],
    ):
        code = main([*command, *(["--json"] if command[0] != "report" else [])])
        out = capsys.readouterr().out
        assert code == 0, (command, out)
        said[command[0]] = json.loads(out) if command[0] != "report" else out
    assert said["check"]["views"]["v"]["noise"] == "Logistic, σ = 0.363"
    assert not [finding for finding in said["check"]["findings"] if finding["level"] != "green"]
    checks = said["diagnose"]["checks"]
    assert {checks[name]["level"] for name in ("chi_square", "replay", "sbc")} == {"green"}
    assert [note["code"] for note in checks["fission"]["notes"]] == ["DC292"]
    assert said["separate"]["views"]["v"]["chi_square"] == pytest.approx(1, abs=0.2)
    assert "Logistic" in (folder / "report.html").read_text(encoding="utf-8")
