"""`dichroic baseline`, in this process."""

import json
from pathlib import Path

import pytest

from dichroic.baselines import load_baseline
from dichroic.cli import main
from dichroic.run import Separation
from run_cases import write_tiny


def test_a_baseline_is_fitted_scored_and_kept(tmp_path, capsys):
    problem, out = write_tiny(tmp_path / "data"), tmp_path / "out"
    arguments = ["baseline", "pcpca", str(problem), "--out", str(out)]
    assert main([*arguments, "--draws", "3", "--set", "gamma=0.2", "--set", "components=1", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["baseline"] == "pcpca" and printed["point"] is False
    assert printed["views"]["both"]["observations"] == 16  # a quarter is held out, as for a fit
    assert set(printed["views"]["both"]["psnr"]["star"]) == {"mean", "draw", "seen"}
    assert load_baseline(out).config.gamma == 0.2
    page = Path(printed["report"]).read_text(encoding="utf-8")
    assert "Tiny: PCPCA" in page and "Not shown" not in page and "<svg" in page
    assert "gamma</th><td>0.2</td>" in page and f"{printed['views']['both']['psnr']['star']['mean']:.4g}" in page
    assert Separation.open(out / "separated.zarr").draws("both", "star").shape == (16, 3, 2)
    assert main(arguments) == 1
    assert "say --overwrite" in capsys.readouterr().err
    assert main([*arguments, "--overwrite", "--draws", "0"]) == 0
    assert "PCPCA, point estimates" in capsys.readouterr().out


@pytest.mark.slow
def test_a_baseline_of_all_sources_shows_residuals(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["baseline", "wiener", str(write_tiny(tmp_path / "data")), "--out", str(out), "--draws", "2"]) == 0
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "residual of one draw" in page and "Not shown" not in page
    assert f"report:   {out / 'report.html'}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["pcpa"], "did you mean 'pcpca'"),
        (["pcpca", "--set", "gamma"], "expected key=value, got 'gamma'"),
        (["pcpca", "--set", "gama=1"], "gama: unknown setting; did you mean 'gamma'?"),
        (["pcpca", "--set", "gamma=2"], "gamma: expected less than 1, got 2"),
        (["pcpca", "--set", "a=1", "--set", "a.b=2"], "'a' is given a value, and is a table in 'a.b=2'"),
        (["pcpca", "--set", "gamma=1" + 5000 * "0"], "gamma: "),
        (["pcpca", "--set", "gamma=" + 5000 * "["], "gamma: "),
        (["fastica"], "are taken to be draws of their own"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, capsys, arguments, said):
    problem = write_tiny(tmp_path / "data")
    name, *rest = arguments
    assert main(["baseline", name, str(problem), *rest]) == 1
    assert said in " ".join(capsys.readouterr().err.split())
