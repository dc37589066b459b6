"""Tables and the figure, from results written by hand."""

from dichroic.studies.reproduce import as_markdown, write_results
from dichroic.studies.reproduce.ablation import AblationRow


def value(estimate, half=0.1, n=100):
    return {"low": estimate - half, "estimate": estimate, "high": estimate + half, "samples": n}


def cell(method, psnr=None, **changes):
    times = {"seconds": 61.4, "cpu_seconds": 60.0, "sessions": 1, "cut_short": 0}
    scores = (
        {"psnr_mean": value(psnr + 1.0)} if method == "nmf" else {"psnr": value(psnr), "psnr_mean": value(psnr + 1.0)}
    )
    return {
        "method": method,
        "title": method.upper(),
        "status": "done",
        "scores": {"view2/source2": scores},
        "missing": {},
        "warnings": [],
        "residual": {"view2": 1.01},
        "diverged": {"view2": 0.0125},
        "draws": 0 if method == "nmf" else 8,
        "evaluations_per_draw": 12,
        "effort": {},
        "times": {"fit": times, "separate": times, "score": times},
        **changes,
    }


def results(**changes):
    design = {"condition": 19.3, "null": 0, "trade_offs": 0, "exact": True}
    experiment = {
        "name": "mixed-0.9",
        "family": "mixed",
        "title": "Mixed by 0.9",
        "note": "A note.",
        "targets": [{"view": "view2", "source": "source2", "peak": 4.0}],
        "measures": ["psnr", "psnr_mean", "sinkhorn_published"],
        "published": [
            {
                "method": "DDPRISM",
                "citation": "table 1",
                "numbers": {"psnr": 24.15, "sinkhorn_published": 0.05},
                "note": "",
            }
        ],
        "skipped": None,
        "data": {"generator": "mixed", "arguments": {"f_mix": 0.9}, "seed": 3},
        "design": {"identified": True, "means": design, "covariances": {**design, "null": 15}},
        "cells": [cell("ours", 40.0), cell("nmf", 12.0)],
        **changes,
    }
    machine = {
        "started": "2026-11-22T08:00:00Z",
        "cores": 2,
        "devices": ["cpu"],
        "platform": "Linux x86_64",
        "python": "3.11.7",
        "versions": {"jax": "0.10.2", "dichroic": "0.1.0"},
    }
    return {"format": "x", "scale": "laptop", "machine": machine, "experiments": [experiment], "ablations": []}


def test_a_table():
    text = as_markdown(results())
    assert "| method | PSNR, single draws (dB) | PSNR, posterior mean (dB) | Sinkhorn, published |" in text
    assert "| *DDPRISM, published* | 24.15 |  | 0.05 |" in text
    assert "| OURS | 40.00 [39.90, 40.10] | 41.00 [40.90, 41.10] |  |" in text
    assert "| NMF |  | 13.00 [12.90, 13.10] |  |" in text
    assert "`source2` in view `view2`, *n* = 100 observations:" in text
    assert (
        "Data: `mixed(f_mix = 0.9)`, seed 3. Condition of the design: 19.3 for means, infinite for covariances." in text
    )
    assert "| OURS | 61 | 60 | 61 | 8 | 12 |" in text and "| NMF | 61 | 60 | 61 | point | 12 |" in text
    assert "* A note." in text and "* published, DDPRISM: table 1" in text
    # identifiability stands beside the result
    assert "| Mixed by 0.9 | 19.3 | infinite | 40.00 [39.90, 40.10] |  |" in text
    widths = {
        line.count(" | ") for line in text.splitlines() if line.startswith("| ") and "OURS" in line and "[" in line
    }
    assert widths == {3}


def test_what_is_missing_stays_in_sight():
    failed = cell("bad", 0.0) | {"status": "failed", "reason": "it broke"}
    short = cell("slow", 20.0)
    short["times"]["fit"] = {**short["times"]["fit"], "cut_short": 2}
    text = as_markdown(results(cells=[failed, short | {"missing": {"emd": "needs POT"}, "warnings": ["a", "b"]}]))
    assert "* BAD: failed: it broke" in text and "| BAD |" not in text
    assert "| SLOW | ≥ 61 |" in text  # sessions that were killed are not in the sum
    assert "* SLOW: warning: a (and 1 more, in results.json)" in text
    assert "* SLOW: EMD not computed: needs POT" in text
    assert "Skipped: there is no data." in as_markdown(results(skipped="there is no data", cells=[]))


def test_digits_follow_the_error():
    for half, shown in ((3.0, "20.0 [17.0, 23.0]"), (0.05, "20.00 [19.95, 20.05]"), (0.0, "20.00 [20.00, 20.00]")):
        changed = cell("ours", 20.0)
        changed["scores"]["view2/source2"]["psnr"] = value(20.0, half)
        assert shown in as_markdown(results(cells=[changed]))


def test_an_ablation():
    row = AblationRow(name="2").model_dump()
    published = {"method": "DDPRISM", "citation": "table 6", "numbers": {"psnr": 16.62}}
    rows = [
        {**row, "published": published, "cell": cell("ours", 15.0)},
        {**row, "name": "8", "cell": None},
    ]
    found = results() | {
        "ablations": [
            {"name": "laps", "title": "EM laps", "experiment": "digits", "method": "dichroic", "note": "", "rows": rows}
        ]
    }
    text = as_markdown(found)
    assert "## Ablation: EM laps" in text and "* 8: not run" in text
    assert "| 2 | 15.00 [14.90, 15.10] | 16.00 [15.90, 16.10] | 16.62 | 61 | 12 |" in text
    # where the experiment has an axis, a column for every target
    targets = [{"view": "view2", "source": "source2", "at": -24.0, "peak": None}]
    along = {**found["ablations"][0], "axis": "ratio (dB)", "targets": targets, "measures": ["psnr"]}
    text = as_markdown(found | {"ablations": [along]})
    assert "| ratio (dB) | -24 |" in text and "| 2 | 15.00 [14.90, 15.10] |" in text and "* 8: not run" in text


def test_files(tmp_path):
    written = write_results(results(), tmp_path, tmp_path / "docs")
    assert {f.name for f in written if f.exists()} >= {"results.md", "results.png", "reproduce_laptop.inc"}
    assert (tmp_path / "docs" / "reproduce_laptop.inc").read_text() == as_markdown(results())
    assert write_results(results(cells=[]), tmp_path / "docs")[-1].name == "results.json"  # nothing to draw
