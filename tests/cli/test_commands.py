"""The commands from end to end, what they print and how they end."""

import inspect
import json
import shutil
from pathlib import Path
from typing import get_type_hints

import jax
import numpy as np
import pytest

from dichroic.cli import main
from dichroic.cli.app import app
from dichroic.cli.fit import fit_app
from dichroic.cli.options import Hosts
from dichroic.cli.separate import doubts, separate_app
from dichroic.diffusion import Prior
from dichroic.em import Diverged
from dichroic.run import Run, Separation, Widths
from run_cases import PROBLEM_FILE, results, write_tiny


@pytest.fixture(autouse=True)
def plain(monkeypatch, tmp_path):
    """No terminal, and a folder of its own."""
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def ready(tmp_path_factory) -> Path:
    """A folder with a problem and a run of it."""
    place = tmp_path_factory.mktemp("commands")
    write_tiny(place)
    assert main(["fit", str(place), "--out", str(place / "run"), "--no-report", "--quiet"]) == 0
    return place


@pytest.fixture
def cli(capsys):
    """Runs a command; its exit code and what it wrote."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "\x1b" not in out + err
        assert "Traceback" not in err
        return code, out, err

    return run


class TestCheck:
    def test_words(self, cli, ready):
        code, out, _ = cli("check", ready)
        assert code == 0
        assert "Tiny" in out
        assert "sky + star" in " ".join(out.replace("(as it is)", "").split()) or "star" in out
        assert "held out: 25% of every view" in out
        assert "The data looks sound." in out

    def test_json(self, cli, ready):
        code, out, err = cli("check", ready / "problem.toml", "--json")
        found = json.loads(out)
        assert code == 0
        assert err == ""
        assert found["sources"]["sky"] == {"shape": [2], "unit": "", "views": ["empty", "both"], "known": False}
        assert found["views"]["both"]["observations"] == 64
        assert found["views"]["both"]["missing"] == 0
        assert found["stages"] == [{"stage": "joint", "learns": ["sky", "star"], "from": ["empty", "both"]}]
        assert [(finding["level"], finding["code"]) for finding in found["findings"]] == [
            ("green", ""),
            ("green", "DC114"),
        ]
        assert found["design"]["identified"]
        assert found["design"]["means"]["condition"] == pytest.approx((3 + 5**0.5) / 2)

    def test_warnings(self, cli, tmp_path):
        write_tiny(tmp_path, text=PROBLEM_FILE.replace("noise = 0.1", "noise = 10.0"))
        code, out, _ = cli("check", tmp_path)
        assert code == 0  # only the owner of the data knows
        assert "amber: view 'empty': the stated noise is" in out
        assert "looks sound" not in out

    def test_what_is_said_of_a_source_is_shown_and_doubted(self, cli, tmp_path):
        said = '[sources.star]\nsymmetry = ["flip"]\nrange = [100, inf]'
        write_tiny(tmp_path, text=PROBLEM_FILE.replace("[sources.star]", said))
        code, out, _ = cli("check", tmp_path)
        assert code == 0
        assert "flip" in out and "100" in out and "[DC132]" in out
        code, out, _ = cli("check", tmp_path, "--json")
        star = json.loads(out)["sources"]["star"]
        assert star["symmetry"] == ["flip"] and star["range"] == [100, None]

    def test_a_design_that_cannot_be_learned(self, cli, tmp_path):
        both = "mixing = { sky = 1.0, star = 0.5 }"
        write_tiny(tmp_path, text=PROBLEM_FILE.replace("mixing = { sky = 1.0 }", both))
        code, out, _ = cli("check", tmp_path)
        assert code == 3
        assert "infinite" in out
        assert "red: sources 'sky' and 'star': 2 patterns can move from 'star' to 'sky'" in out
        assert "[DC113]" in out
        code, _, err = cli("fit", tmp_path, "--out", "run", "-q")
        assert code == 1
        assert "--allow-unidentified" in err
        assert not Path("run").exists()
        assert cli("fit", tmp_path, "--out", "run", "-q", "--laps", 1, "--no-report", "--allow-unidentified")[0] == 0

    def test_faults_come_all_at_once(self, cli, tmp_path):
        write_tiny(tmp_path, text=PROBLEM_FILE.replace("noise = 0.1", "noise = -0.1"))
        code, out, err = cli("check", tmp_path)
        assert (code, out) == (1, "")
        assert err.startswith("error: 2 faults\n  - view 'empty': noise")
        assert "view 'both': noise" in err

    def test_settings_are_checked_too(self, cli, tmp_path):
        write_tiny(tmp_path, lapse=4)
        code, _, err = cli("check", tmp_path)
        assert code == 1
        assert err == "error: lapse: unknown setting; did you mean 'laps'?\n"

    def test_the_order_of_stages_is_checked_too(self, cli, tmp_path):
        text = PROBLEM_FILE.replace("mixing = { sky = 1.0 }", "mixing = { star = 1.0, sky = 1.0 }")
        write_tiny(tmp_path, text=text, plan="sequential")
        code, _, err = cli("check", tmp_path)
        assert code == 1
        assert "the sequential plan cannot go on" in err

    def test_known_priors_are_checked_too(self, cli, ready, tmp_path):
        text = PROBLEM_FILE.replace("[sources.sky]", "[sources.sky]\nprior = 'sky.safetensors'")
        write_tiny(tmp_path, text=text)
        code, _, err = cli("check", tmp_path)
        assert code == 1
        assert "source 'sky': prior: no file 'sky.safetensors'" in err
        shutil.copy(ready / "run" / "priors" / "sky.safetensors", tmp_path)
        code, out, _ = cli("check", tmp_path, "--json")
        assert code == 0
        assert json.loads(out)["sources"]["sky"]["known"]
        assert json.loads(out)["stages"][0]["learns"] == ["star"]

    def test_no_file(self, cli, tmp_path):
        code, _, err = cli("check", tmp_path / "problm.toml")
        assert code == 1
        assert err.startswith("error: no problem file 'problm.toml'")


class TestFit:
    def test_from_beginning_to_end(self, cli, ready, tmp_path):
        code, out, err = cli("fit", ready, "--out", tmp_path / "run", "--no-report")
        assert code == 0
        assert results(tmp_path / "run") == results(ready / "run")
        assert f"run:    {tmp_path / 'run'}" in out
        assert "star, mean (dB)" in out
        lines = err.splitlines()
        assert "NO GPU FOUND" in lines[0]
        assert sum("joint lap" in line for line in lines) == 3

    def test_json(self, cli, ready):
        code, out, err = cli("fit", ready, "--out", ready / "run", "--no-report", "--quiet", "--json")
        found = json.loads(out)
        assert (code, err) == (0, "")
        assert found["finished"]
        assert found["stages"][0]["laps"] == 2
        assert found["held_out"]["both"]["observations"] == 16
        assert set(found["held_out"]["both"]["psnr"]) == {"star"}
        assert found["report"] is None

    @pytest.mark.slow
    def test_a_report_at_the_end(self, cli, ready):
        code, out, _ = cli("fit", ready, "--out", ready / "run", "--quiet")
        assert code == 0
        assert f"report: {ready / 'run' / 'report.html'}" in out
        assert (ready / "run" / "report.html").stat().st_size > 10_000

    def test_a_folder_of_its_own(self, cli, ready, tmp_path):
        code, out, _ = cli("fit", ready, "--no-report", "-q", "--laps", "1")
        assert code == 0
        assert "run:    runs/tiny-1" in out
        assert (tmp_path / "runs" / "tiny-1" / "priors" / "index.json").exists()

    def test_flags_of_another_run(self, cli, ready):
        code, _, err = cli("fit", ready, "--out", ready / "run", "--training.steps", "9", "-q")
        assert code == 1
        assert err.startswith("error: the run in ")
        assert "other settings (training)" in err

    @pytest.mark.slow
    def test_known_priors(self, cli, ready, tmp_path):
        text = PROBLEM_FILE.replace("[sources.sky]", "[sources.sky]\nprior = 'sky.safetensors'")
        write_tiny(tmp_path, text=text)
        shutil.copy(ready / "run" / "priors" / "sky.safetensors", tmp_path)
        assert cli("fit", tmp_path, "--out", "run", "--laps", 1, "--no-report", "-q")[0] == 0
        learned = (tmp_path / "run" / "priors" / "sky.safetensors").read_bytes()
        assert learned == (tmp_path / "sky.safetensors").read_bytes()
        assert cli("resume", "run", "--no-report")[0] == 0

    def test_resume(self, cli, ready):
        before = results(ready / "run")
        code, out, _ = cli("resume", ready / "run", "--no-report", "--json", "-q")
        assert code == 0
        assert json.loads(out)["finished"]
        assert results(ready / "run") == before

    def test_no_run(self, cli, tmp_path):
        for command in ("resume", "separate", "report"):
            code, _, err = cli(command, tmp_path / "nothing")
            assert code == 1
            assert err.startswith("error: there is no run in")


class TestSeparate:
    def test_a_store(self, cli, ready, tmp_path):
        code, out, _ = cli("separate", ready / "run", "--draws", 3, "-q")
        assert code == 0
        assert "draws: separated.zarr" in out
        assert Separation.open(tmp_path / "separated.zarr").draws("both", "star").shape == (48, 3, 2)

    def test_arrays(self, cli, ready, tmp_path):
        write_tiny(tmp_path / "new", n=5, seed=3)
        arguments = ("separate", ready / "run", tmp_path / "new", "--draws", 2, "--out", "out.npz", "--json")
        code, out, _ = cli(*arguments)
        found = json.loads(out)
        assert code == 0
        assert found["views"]["both"]["observations"] == 5
        assert set(found["views"]["both"]["psnr"]["star"]) == {"mean", "draw", "seen"}
        with np.load("out.npz") as file:
            assert file["both/star/draws"].shape == (5, 2, 2)
            assert file["both/star/mean"].shape == file["both/star/std"].shape == (5, 2)
        first = Path("out.npz").read_bytes()
        assert cli(*arguments)[0] == 1
        assert cli(*arguments, "--overwrite")[0] == 0
        assert Path("out.npz").read_bytes() == first
        assert cli(*arguments, "--overwrite", "--seed", 1)[0] == 0
        assert Path("out.npz").read_bytes() != first

    def test_larger_residuals_are_doubted(self):
        views = {"few": {"chi_square": 1.5}, "many": {"chi_square": 1.5}, "sound": {"chi_square": 1.1}}
        (doubt,) = doubts(views, {"few": 20, "many": 2000, "sound": 10**6})
        assert doubt.startswith("view 'many': squared residuals are 1.50 times")

    def test_narrow_draws_are_doubted(self, cli, ready, tmp_path, monkeypatch):
        measured = [Widths("both", "star", 1.7, 0.2, 0.6), Widths("elsewhere", "sky", 1.7, 0.2, 0.6)]
        monkeypatch.setattr(Run, "widths", measured)
        write_tiny(tmp_path / "new", n=5, seed=3)
        code, _, err = cli("separate", ready / "run", tmp_path / "new", "--draws", 2, "--out", "out.npz")
        assert code == 0
        said = " ".join(err.split())
        assert "look closer: View “both”: do not take intervals of “star” as they are." in said and "“sky”" not in said

    def test_without_a_fit(self, cli, ready, tmp_path):
        text = PROBLEM_FILE.replace("[sources.sky]", "[sources.sky]\nprior = 'sky.safetensors'")
        file = write_tiny(tmp_path / "some", n=5, seed=3, text=text)
        for prior in (ready / "run" / "priors").glob("*.safetensors"):
            shutil.copy(prior, tmp_path / "some")
        code, _, err = cli("separate", file)
        assert code == 1
        assert err.startswith("error: no prior is said of 'star': to separate without a fit")
        both = text.replace("[sources.star]", "[sources.star]\nprior = 'star.safetensors'")
        write_tiny(tmp_path / "some", n=5, seed=3, text=both)
        for source, out in ((file, "a.npz"), (tmp_path / "some", "b.npz")):
            assert cli("separate", source, "--draws", 2, "--out", out, "-q")[0] == 0
        assert cli("separate", ready / "run", file, "--draws", 2, "--out", "c.npz", "-q")[0] == 0
        assert Path("a.npz").read_bytes() == Path("b.npz").read_bytes()
        with np.load("a.npz") as found, np.load("c.npz") as expected:
            for name in ("both/star/draws", "both/sky/mean"):
                np.testing.assert_array_equal(found[name], expected[name])
            first = expected["both/star/draws"][:, 0]
        # flags lie over the settings of the run: its own steps, said again, are the same method
        assert cli("separate", ready / "run", file, "--sampling.steps", 3, "--draws", 2, "--out", "e.npz", "-q")[0] == 0
        assert Path("e.npz").read_bytes() == Path("c.npz").read_bytes()
        for source in ([file], [ready / "run", file]):
            flags = ("--sampling.kind", "dps", "--sampling.steps", 2, "--draws", 1, "--overwrite", "-q")
            assert cli("separate", *source, "--out", "d.npz", *flags)[0] == 0
            with np.load("d.npz") as found:
                assert not np.array_equal(found["both/star/draws"][:, 0], first)

    def test_what_is_there_is_looked_at_first(self, cli, ready, tmp_path):
        (tmp_path / "mine").mkdir()
        code, _, err = cli("separate", ready / "run", "--out", "mine", "--overwrite")
        assert code == 1
        assert "a folder that dichroic has not written" in err


class TestSample:
    def test_samples(self, cli, ready):
        code, out, _ = cli("sample", ready / "run", "sky", "-n", 5, "--seed", 3)
        assert code == 0
        assert "samples.npz" in out
        with np.load("samples.npz") as file:
            assert file["samples"].shape == (5, 2)

    def test_another_source(self, cli, ready):
        code, _, err = cli("sample", ready / "run", "ski")
        assert code == 1
        assert err == "error: the run has no source 'ski'; it has 'sky', 'star'; did you mean 'sky'?\n"

    def test_nothing_was_distilled(self, cli, ready):
        code, _, err = cli("sample", ready / "run", "star", "--fast")
        assert code == 1
        assert "dichroic distill" in err

    @pytest.mark.slow
    def test_a_generator_is_distilled_and_sampled(self, cli, ready):
        code, out, _ = cli("distill", ready / "run", "--source", "sky", "--steps", 2, "--out", "sky.safetensors", "-q")
        assert code == 0
        assert "sky.safetensors" in out
        assert Prior.load("sky.safetensors").kind == "generator"
        assert cli("sample", ready / "run", "sky", "-n", 5, "--fast")[0] == 0
        with np.load("samples.npz") as file:
            assert file["samples"].shape == (5, 2)


class TestScore:
    @pytest.fixture(scope="class")
    def candidates(self, ready, tmp_path_factory) -> Path:
        """Draws of the prior, one that is none, and one that is nowhere."""
        own = Run(ready / "run").sample("sky", 4, seed=6)
        file = tmp_path_factory.mktemp("candidates") / "x.npz"
        np.savez(file, x=np.concatenate([own, [[40.0, -40.0]]]), wide=np.zeros((3, 5)), bad=np.full((1, 2), np.nan))
        return file

    def test_ranks_and_warns(self, cli, ready, candidates):
        code, out, err = cli("score", ready / "run", "sky", f"{candidates}:x", "--draws", 99, "--steps", 16, "-q")
        assert code == 0
        rows = [line.split() for line in out.splitlines()[2:7]]
        assert [row[0] for row in rows] == ["1", "2", "3", "4", "5"]
        assert rows[-1][1] == "4" and rows[-1][-1] == "UNLIKE"
        densities = [float(row[2]) for row in rows]
        assert densities == sorted(densities, reverse=True)
        assert [float(row[4]) for row in rows] == pytest.approx([x / 2 for x in densities], abs=1e-3)
        assert "99 draws of the prior: median" in out
        assert "warning: 1 of 5 candidates are less dense than 99 %" in err
        assert err.rstrip().endswith(": 4")

    def test_json_is_in_the_order_of_the_file(self, cli, ready, candidates):
        arguments = ("score", ready / "run", "sky", f"{candidates}:x", "--draws", 99, "--steps", 16, "-q", "--json")
        found = json.loads(cli(*arguments)[1])
        assert [c["candidate"] for c in found["candidates"]] == [0, 1, 2, 3, 4]
        assert [c["unlike"] for c in found["candidates"]] == [False] * 4 + [True]
        assert sorted(c["rank"] for c in found["candidates"]) == [1, 2, 3, 4, 5]

    def test_faults(self, cli, ready, candidates):
        for arguments, message in (
            (("ski", f"{candidates}:x"), "the run has no source 'ski'; it has 'sky', 'star'; did you mean 'sky'?"),
            (("sky", f"{candidates}:wide"), "expected candidates of shape (n, 2), got (3, 5)"),
            (("sky", f"{candidates}:bad"), "got NaN or infinity in those at [0]"),
            (("sky", "nowhere.npy"), "no file 'nowhere.npy'"),
        ):
            code, out, err = cli("score", ready / "run", *arguments, "-q")
            assert (code, out) == (1, "")
            assert message in err


def test_report(cli, ready, tmp_path):
    code, out, _ = cli("report", ready / "run", "--out", tmp_path / "new" / "page.html")
    assert code == 0
    assert "page.html" in out
    assert (tmp_path / "new" / "page.html").exists()


class TestDoctor:
    def test_all_is_well(self, cli, monkeypatch):
        monkeypatch.setattr(shutil, "which", lambda _: None)
        code, out, err = cli("doctor")
        assert code == 0
        assert "self-test: passed" in out
        assert "cache:     off" in out
        assert 'pip install "jax[cuda12]"' in err

    def test_json(self, cli):
        found = json.loads(cli("doctor", "--json")[1])
        assert found["self_test"]["passed"]
        assert found["versions"]["dichroic"] == "0.1.0"
        assert found["gpu"] is False
        assert found["cache"]["folder"] is None

    def test_a_wrong_answer(self, cli, monkeypatch):
        import dichroic.cli.doctor as doctor
        from dichroic.posterior import Auto

        bind = Auto.bind

        def wrong(*arguments, **options):
            bound = bind(*arguments, **options)
            drawn = bound.draw(jax.random.split(jax.random.key(0), 2048))
            moved = type(drawn)(**{**vars(drawn), "samples": {s: x + 1 for s, x in drawn.samples.items()}})
            monkeypatch.setattr(bound, "draw", lambda _: moved)
            return bound

        monkeypatch.setattr(Auto, "bind", wrong)
        assert not doctor._self_test()["passed"]
        code, out, err = cli("doctor")
        assert code == 1
        assert "FAILED" in out
        assert "error:" in err


class TestEndings:
    @pytest.mark.parametrize(
        "arguments", [["fitt"], ["fit"], ["fit", "p", "--nope"], ["fit", "p", "--laps"], ["sample"]]
    )
    def test_a_wrong_command_line(self, cli, arguments):
        code, out, err = cli(*arguments)
        assert (code, out) == (2, "")
        assert err

    def test_a_value_that_is_no_number(self, cli, ready):
        code, _, err = cli("fit", ready, "--training.rate", "fast")
        assert code == 2
        assert "--training.rate" in err

    def test_an_impossible_value(self, cli, ready):
        code, _, err = cli("fit", ready, "--training.rate=-1", "--held-out", 2)
        assert code == 1
        assert "training.rate: expected greater than 0, got -1.0" in err
        assert "held_out: expected less than or equal to 1, got 2.0" in err

    @pytest.mark.parametrize(
        ("error", "code", "message"),
        [
            (Diverged("view 'v': [red]most[/red] draws left"), 1, "error: view 'v': [red]most[/red] draws left\n"),
            (PermissionError(13, "Permission denied", "runs"), 1, "error: Permission denied: runs\n"),
            (OSError(28, "No space left on device"), 1, "error: No space left on device\n"),
            (KeyboardInterrupt(), 130, "stopped: interrupted; continue with: dichroic resume run\n"),
        ],
    )
    def test_errors_of_users(self, cli, ready, monkeypatch, error, code, message):
        def fail(*_, **__):
            raise error

        monkeypatch.setattr("dichroic.run.fit", fail)
        assert cli("fit", ready, "--out", "run", "-q") == (code, "", message)

    def test_errors_of_this_program_are_a_sentence_and_show_where_when_asked(self, cli, ready, monkeypatch):
        def fail(*_, **__):
            raise ZeroDivisionError("a fault of ours")

        monkeypatch.setattr("dichroic.run.fit", fail)
        monkeypatch.delenv("DICHROIC_TRACEBACK", raising=False)
        code, out, err = cli("fit", ready, "--out", "run", "-q")
        assert (code, out) == (70, "") and "a fault of dichroic, not of yours" in err and "a fault of ours" in err
        monkeypatch.setenv("DICHROIC_TRACEBACK", "1")
        with pytest.raises(ZeroDivisionError):
            cli("fit", ready, "--out", "run", "-q")


def test_demo(cli, monkeypatch, tmp_path):
    """The demo in small: the same path through the program, with a network that learns nothing."""
    from dichroic.studies.experiments import digits

    whole = digits.grassy_digits
    monkeypatch.setattr(digits, "grassy_digits", lambda: whole(n_grass=80, repeats=1))
    small = {
        "laps": 1,
        "held_out_limit": 16,
        "gaussian": {"laps": 8},
        "network": {"width": 8, "depth": 1, "kind": "mlp"},
        "training": {"steps": 4, "batch": 16},
        "sampling": {"step": "ddim", "steps": 2, "batch": 16},
        "draws": 1,
    }
    monkeypatch.setattr(digits, "DEMO_FIT", small, raising=False)
    code, out, err = cli("demo", "--out", "demo", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert list(found["psnr"]) == ["mean subtraction", "Wiener filter, true covariances", "Gaussian stage", "dichroic"]
    assert found["psnr"]["mean subtraction"]["mean"] < found["psnr"]["Wiener filter, true covariances"]["mean"]
    assert (tmp_path / "demo" / "report.html").exists()
    # every command works on the run of the demo
    code, out, _ = cli("resume", "demo", "--no-report", "-q")
    assert code == 0
    code, out, _ = cli("demo", "--out", "demo", "--no-report", "-q")
    assert code == 0
    assert "mean subtraction" in out


def test_names_units_and_titles_are_shown_as_typed(tmp_path, capsys):
    np.save(tmp_path / "y.npy", np.random.default_rng(0).normal(size=(20, 4)))
    (tmp_path / "p.toml").write_text(
        'title = "night 3 [/old]"\n[sources."CO2 [g] :smile:"]\nshape = [4]\nunit = "counts [/s]"\n'
        '[views."run [a]"]\ny = "y.npy"\nnoise = 0.1\nmixing."CO2 [g] :smile:" = 1.0\n'
    )
    assert main(["check", str(tmp_path / "p.toml")]) == 0
    out = capsys.readouterr().out
    for text in ("night 3 [/old]", "CO2 [g] :smile:", "counts [/s]", "run [a]"):
        assert text in out


def test_code_runs_only_when_it_is_allowed(tmp_path, capsys):
    np.save(tmp_path / "y.npy", np.random.default_rng(0).normal(size=(20, 4)))
    (tmp_path / "mine.py").write_text("def f(x, p):\n    return 2 * x\n")
    (tmp_path / "p.toml").write_text(
        '[sources.s]\nshape = [4]\n[views.v]\ny = "y.npy"\nnoise = 0.1\nmixing.s = { function = "mine.py:f" }\n'
    )
    assert main(["check", str(tmp_path / "p.toml"), "--allow-code"]) == 0
    assert main(["check", str(tmp_path / "p.toml")]) == 1
    assert "--allow-code" in capsys.readouterr().err


# ---- numbers


def test_every_whole_number_of_a_command_says_what_it_may_be():
    """A law over the commands: none takes 2.5 for 2, or a count below 1."""
    commands = [app[name] for name in app if not name.startswith("-")]
    functions = [inspect.unwrap(command.default_command) for command in commands]
    functions += [make().default_command for make in (fit_app, separate_app)]
    numbers = {
        (function.__name__, name): get_type_hints(function, include_extras=True)[name]
        for function in [*functions, Hosts]
        for name, hint in get_type_hints(function).items()
        if hint in (int, int | None) and name != "return"
    }
    assert len(numbers) > 17
    assert [key for key, hint in numbers.items() if "whole_number" not in str(hint)] == []


@pytest.mark.parametrize(
    "arguments",
    [("--n", 0), ("--n", -1), ("--n", 1.5), ("--steps", 0), ("--seed", -1), ("--seed", 10**30), ("--seed", "1e3")],
)
def test_numbers_that_no_command_takes(cli, ready, tmp_path, arguments):
    code, out, err = cli("sample", ready / "run", "sky", "--out", tmp_path / "x.npz", *arguments)
    assert code == 2 and arguments[0] in out + err
    assert not (tmp_path / "x.npz").exists()


def test_results_leave_folders_and_other_files_alone(cli, ready, tmp_path):
    commands = {".npz": ("sample", ready / "run", "sky"), ".png": ("compare", ready / "run")}
    for suffix, command in {**commands, ".html": ("report", ready / "run")}.items():
        (folder := tmp_path / f"mine{suffix}").mkdir()
        code, _, err = cli(*command, "--out", folder)
        assert code == 1 and "this is a folder" in err
        assert folder.is_dir()
    (mine := tmp_path / "problem.toml").write_text("mine")
    for suffix, command in commands.items():
        code, _, err = cli(*command, "--out", mine)
        assert code == 1 and f"is a {suffix} file" in err
    assert mine.read_text() == "mine"


# ---- verbs around a run


def test_status_compare_and_export(ready, tmp_path, capsys):
    run = ready / "run"
    capsys.readouterr()
    assert main(["status", str(run), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["state"] == "finished" and said["stages"][0]["laps"] == 2 and said["next"].startswith("dichroic report")
    assert {c["source"]: c["tried"] for c in said["priors"]} == {c.source: c.tried for c in Run(run).choices.values()}
    assert main(["status", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "Tiny: finished" in printed and "what was tried is" in printed
    figure = tmp_path / "compare.png"
    command = ["compare", str(run), str(run), "wiener", "--out", str(figure)]
    assert main([*command, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["method"] for row in rows] == [str(run), str(run), "wiener"]
    assert rows[0]["views"] == rows[1]["views"] != rows[2]["views"]
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert main(["compare", str(run), "wener", "--out", str(figure)]) == 1
    assert "did you mean 'wiener'?" in capsys.readouterr().err
    assert main(["export", str(run), str(tmp_path / "x.npz")]) == 0
    with np.load(tmp_path / "x.npz") as arrays:
        assert arrays["both/star/mean"].shape == (16, 2)
    assert main(["export", str(run), str(tmp_path / "x.h5ad")]) == 0
    assert "[DC401]" in capsys.readouterr().err


def test_a_problem_file_to_begin_with(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.save("sky.npy", rng.normal(size=(64, 4)).astype(np.float32))
    np.save("both.npy", rng.normal(size=(64, 4)).astype(np.float32))
    assert main(["init", "--from", "sky.npy", "--from", "both.npy"]) == 0
    assert main(["check", "problem.toml", "--json"]) == 0
    out = capsys.readouterr().out
    assert "guessed: the noise of 'mixed'" in out
    assert json.loads(out[out.index("{") :])["views"]["mixed"]["mixing"].keys() == {"background", "target"}
    np.save("new.npy", rng.normal(size=(3, 4)).astype(np.float32))
    assert main(["init", "--like", "problem.toml", "--from", "new.npy", "--out", "new.toml"]) == 0
    assert "dichroic separate RUN new.toml" in capsys.readouterr().out
    assert main(["init", "--like", "problem.toml", "--out", "more.toml"]) == 1
    assert main(["init", "--from", "sky.npy"]) == 1
    assert "is there already" in capsys.readouterr().err
    answers = iter(["sky.npy", ""])
    monkeypatch.setattr("builtins.input", lambda _: next(answers))
    assert main(["init", "--out", "other.toml"]) == 0
    assert main(["init", "--from", "none.npy", "--out", "third.toml"]) == 1
