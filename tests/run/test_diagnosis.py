"""Diagnosing a run folder: from Python, from the command line, and in the report."""

import json
from types import SimpleNamespace

import pytest

from dichroic.cli import main
from dichroic.design.finding import Finding
from dichroic.diagnose import Budget
from dichroic.diffusion import Schedule
from dichroic.problem import load_problem
from dichroic.report import report
from dichroic.run import Run, RunError, RunFolder, diagnose
from dichroic.run.description import describe_run
from report_cases import make_gaussian
from run_cases import tiny_config, write_tiny

BUDGET = Budget(prior=64, replicates=2, fission=(24, 3), sbc=(24, 3), leakage=(24, 2), maps=(12, 2), law=(96, 2))


@pytest.fixture
def run(tmp_path):
    """A finished run with Gaussian priors, made by hand."""
    loaded = load_problem(write_tiny(tmp_path / "problem", n=96))
    folder = RunFolder(tmp_path / "run")
    description = describe_run(loaded.problem, loaded.held_out, {}, {}, loaded.path)
    folder.create(tiny_config(held_out_limit=4), description, {})
    fit = make_gaussian(loaded.problem)
    folder.save_priors({s: fit.prior(s, x.shape, Schedule()) for s, x in loaded.problem.sources.items()})
    return Run(folder.path)


def test_all_checks_of_a_run_and_the_report(run, tmp_path):
    found = diagnose(run, budget=BUDGET)
    # a quarter of 96 was held out, and all of it is used, not only what the stopping rule looked at
    assert found.results["chi_square"].observations == 48
    kept = json.loads((run.path / "diagnose" / "verdict.json").read_text())
    assert kept["level"] == found.verdict.level
    page = report(run, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Not shown: the diagnosis" not in page and "Not shown: the picture" not in page
    assert page.index(f'class="verdict {found.verdict.level}"') < page.index("What went in")
    for words in (
        "Calibration on real data",
        "Replay, view",
        "Injection and recovery",
        "Mean residual",
        "data or prior",
    ):
        assert words in page


def test_the_command_line(run, capsys):
    arguments = ["diagnose", str(run.path), "--check", "replay", "--no-report", "-q"]
    code = main([*arguments, "--json"])
    answer = json.loads(capsys.readouterr().out)
    # Gaussian priors of the wrong mean and width do not make these data
    assert answer["checks"]["replay"]["level"] == answer["verdict"]["level"] == "red"
    assert answer["checks"]["replay"]["alarms"][0]["code"].startswith("DC25")
    assert code == 3
    file = run.path / "diagnose" / "replay.safetensors"
    before = file.stat().st_mtime_ns
    assert main(arguments) == 3
    assert file.stat().st_mtime_ns == before  # read, not made again
    assert "Do not trust this result yet (red)" in capsys.readouterr().out
    assert main([*arguments, "--sbc", "many"]) == 1


def test_what_the_design_leaves_open_stands_below_the_checks(run, capsys, monkeypatch):
    found = [
        Finding("amber", "design", "sources may be exchanged", "DC119"),
        Finding("green", "design", "well", "DC114"),
    ]
    monkeypatch.setattr(RunFolder, "design", lambda self: SimpleNamespace(findings=lambda: found))
    arguments = ["diagnose", str(run.path), "--check", "chi_square", "--no-report", "-q"]
    main(arguments)
    assert "amber: design: sources may be exchanged [DC119]" in capsys.readouterr().out.replace("\n", " ")
    main([*arguments, "--json"])
    assert [finding["code"] for finding in json.loads(capsys.readouterr().out)["design"]] == ["DC119"]


def test_what_cannot_be_diagnosed(run):
    with pytest.raises(RunError, match="no check 'chi'; there are: replay"):
        diagnose(run, checks=["chi"])
    (run.path / "priors" / "index.json").unlink()
    with pytest.raises(RunError, match="not finished"):
        diagnose(Run(run.path))
