"""Settings: flags, the table of the problem file and presets."""

import contextlib
import warnings
from dataclasses import is_dataclass
from datetime import date
from typing import Any, Literal, get_args

import pytest

from dichroic import FitConfig
from dichroic.cli.fit import fit_app
from dichroic.cli.flags import flags_of, given
from dichroic.diffusion import NETWORKS, OBJECTIVES, Denoising, Heun, NetworkConfig, PredictorCorrector
from dichroic.posterior import METHODS, Auto
from dichroic.settings import PRESETS, PUBLISHED, SettingsError, settle


def test_every_setting_is_a_flag_with_a_help():
    shown, lacking = _help(), []
    for path in _flags(flags_of(FitConfig)):
        lines = [line for line in shown.splitlines() if f"--{path.replace('_', '-')} " in line]
        text = " ".join(lines).split("--")[-1].split("[choices")[0]
        if len(text.split()) < 4:  # its name, its type, the frame
            lacking.append(path)
    assert not lacking
    known = set(_flags(flags_of(FitConfig)))
    assert {name for name in FitConfig.model_fields} == {path.split(".")[0] for path in known}
    for table, entries in (("network", NETWORKS), ("sampling", METHODS)):
        for entry in entries.values():
            assert {f"{table}.{name}" for name in entry.model_fields} <= {
                ".".join(path.split(".")[:2]) for path in known
            }


@pytest.mark.parametrize("name", [*PRESETS, *PUBLISHED])
def test_presets_are_flags_too(name):
    assert settle({}, {}, name) == settle({}, {"preset": name})


def test_flags_come_before_the_file_and_the_file_before_the_preset():
    table = {"preset": "final", "laps": 5, "training": {"steps": 7, "batch": 8}}
    config = settle(_given("--training.steps 6"), table, "draft")
    assert (config.laps, config.training.steps, config.training.batch) == (5, 6, 8)
    assert config.sampling.steps == PRESETS["draft"]["sampling"]["steps"]
    assert settle({}, {}) == FitConfig()


@pytest.mark.parametrize(
    ("flags", "path", "value"),
    [
        ("--laps 3", "laps", 3),
        ("--laps sky=3,star=4", "laps", {"sky": 3, "star": 4}),
        ("--plan sequential", "plan", "sequential"),
        ("--no-residual", "residual", False),
        ("--held-out 0.2", "held_out", 0.2),
        ("--held_out 0.2", "held_out", 0.2),
        ("--training.final-rate 1e-6", "training.final_rate", 1e-6),
        ("--sampling.step heun", "sampling.step", Heun()),
        ("--sampling.kind annealed --sampling.covariance krylov", "sampling.covariance", "krylov"),
        ("--sampling.kind gibbs --sampling.inner auto", "sampling.inner", Auto()),
        ("--sampling.kind annealed --sampling.target pigdm --sampling.variance 2", "sampling.variance", 2.0),
        ("--sampling.kind tds --sampling.twist opc --sampling.particles 4", "sampling.particles", 4),
        ("--sampling.kind dps --sampling.zeta 0.5", "sampling.zeta", 0.5),
        ("--sampling.step pc,tau=0.2", "sampling.step", PredictorCorrector(1, 0.2)),
        ("--training.objective.kind denoising", "training.objective", Denoising()),
        ("--gaussian.rank 4", "gaussian.rank", 4),
        ("--network.width 64", "network.kind", "mlp"),
        (
            "--network.kind unet --network.channels 8 16 --network.blocks 1 1 --network.heads 0 2",
            "network.channels",
            (8, 16),
        ),
    ],
)
def test_flags(flags, path, value):
    found: Any = settle(_given(flags), {})
    for name in path.split("."):
        found = getattr(found, name)
    assert found == value


def test_a_flag_for_another_kind_of_network_drops_the_settings_of_the_first():
    table = {"network": {"kind": "mlp", "width": 32}}
    assert settle(_given("--network.kind unet"), table).network.kind == "unet"
    assert settle(_given("--network.depth 5"), table).network.model_dump() | {"width": 32, "depth": 5} == (
        settle(_given("--network.depth 5"), table).network.model_dump()
    )


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ({"lapse": 3}, "lapse: unknown setting; did you mean 'laps'?"),
        ({"zzz": 3}, "zzz: unknown setting; those: .*, laps, .*, training"),
        ({"training": {"step": 3}}, "training.step: unknown setting; did you mean 'steps'?"),
        ({"network": {"kind": "mlp", "widht": 3}}, "network.widht: unknown setting; did you mean 'width'?"),
        ({"network": {"widht": 3}}, "network.widht: unknown setting; did you mean 'width'?"),
        ({"network": {"kind": "unet", "width": 3}}, "network.width: unknown setting; those of network: .*channels"),
        (
            {"network": {"kind": "mpl"}},
            "network.kind: expected 'mlp', 'unet', 'conv', 'diffwave' or 'causal', got 'mpl'",
        ),
        ({"network": 3}, "network: expected"),
        ({"sampling": {"step": "hein"}}, "sampling.step: unknown step 'hein'; known: ddim, ancestral, heun"),
        ({"sampling": {"kind": "spd"}}, "sampling: unknown kind 'spd'; known: auto, annealed, closed_form"),
        ({"sampling": {"kind": "annealed", "stepz": 3}}, "sampling.stepz: unknown setting; did you mean 'step"),
        ({"sampling": {"kind": "gibbs", "inner": {"stepz": 3}}}, "sampling.inner.stepz: unknown setting; did you"),
        ({"training": 3}, "training: expected"),
        (
            {"laps": -1},
            r"laps: expected a number \(0: closed forms alone\), or numbers by stage such as grass=8,digit=32, got -1",
        ),
        ({"laps": {"sky": -1}}, "laps: expected a number"),
        ({"plan": "both"}, "plan: expected 'joint' or 'sequential', got 'both'"),
        ({"held_out": 2}, "held_out: expected less than or equal to 1, got 2"),
        ({"training": {"rate": "fast"}}, "training.rate: expected a number.*, got 'fast'"),
        ({"training": {"rate": float("inf")}}, "training.rate: expected a finite number, got inf"),
        ({"sigma_max": float("nan")}, "sigma_max: expected a finite number, got nan"),
        ({"sigma_min": 30.0}, "expected sigma_min < sigma_max, between 1e-18 and 1e18, got 30 and 20"),
        ({"sigma_max": 1e300}, "expected sigma_min < sigma_max, between 1e-18 and 1e18, got 0.005 and 1e.300"),
        ({"training": {"batch": 2.5}}, "training.batch: expected a whole number"),
        (
            {"preset": "fast"},
            "preset: unknown preset 'fast'; known: draft, standard, final, diem, ddprism, ddprism-gibbs",
        ),
    ],
)
def test_what_is_wrong_is_said_in_words(table, match):
    with pytest.raises(SettingsError, match=match.replace("?", r"\?")):
        settle({}, table)


def test_everything_that_is_wrong_is_said():
    with pytest.raises(SettingsError) as error:
        settle({}, {"lapse": 3, "plan": "both", "training": {"step": 3}})
    assert len(str(error.value).splitlines()) == 3


@pytest.mark.parametrize(
    "odd",
    [
        *([], {}, [[]], [1], "x", "", True, -1, 10**40, 1e400, float("nan"), date(2020, 1, 1)),
        {"kind": []},
        {"kind": "x"},
    ],
    ids=str,
)
def test_every_setting_takes_a_value_or_refuses_it_in_words(odd):
    """Those of older versions, too."""
    old = ("posterior", "rounds", "handover", "steps", "step", "finish_steps")
    paths = [*_flags(flags_of(FitConfig)), *(f"sampling.{name}" for name in old), "mixture", "mixture.laps", "preset"]
    for path in paths:
        *outer, name = path.split(".")
        table = {name: odd}
        for group in reversed(outer):
            table = {group: table}
        with warnings.catch_warnings(), contextlib.suppress(SettingsError):
            warnings.simplefilter("ignore")
            settle({}, table)


@pytest.mark.parametrize("laps", ["many", "sky", "sky=", "=3,", "sky=3,star"])
def test_laps_that_are_no_numbers(laps):
    with pytest.raises(SettingsError, match=r"laps: expected a number \(0: closed forms alone\), or numbers by stage"):
        settle(_given(f"--laps {laps}"), {})


class Straight(NetworkConfig):
    """A network of somebody else's: one class and one entry."""

    kind: Literal["straight"] = "straight"
    slope: float = 0.5
    """What the input is multiplied with."""

    def build(self, shape, *, key, out_scale=1.0):
        raise NotImplementedError


class Halved(Denoising):
    """An objective of somebody else's, with a setting of its own."""

    kind: Literal["halved"] = "halved"  # pyright: ignore
    weight: float = 0.5
    """What the loss is multiplied with."""


def test_what_is_entered_in_a_list_is_known_unasked(monkeypatch):
    monkeypatch.setitem(NETWORKS, "straight", Straight)
    monkeypatch.setitem(OBJECTIVES, "halved", Halved)
    flags = "--network.kind straight --network.slope 2 --training.objective.kind halved --training.objective.weight 3"
    config = settle(_given(flags), {})
    assert config.network == Straight(slope=2) and config.training.objective == Halved(weight=3)
    assert FitConfig.model_validate(config.model_dump(mode="json", exclude_none=True)) == config
    assert "straight: What the input is multiplied with." in _help()
    with pytest.raises(SettingsError, match=r"network\.slop: unknown setting; did you mean 'slope'"):
        settle({}, {"network": {"kind": "straight", "slop": 1}})


def test_the_old_name_of_the_components_stage_is_read():
    with pytest.warns(UserWarning, match="'mixture' became 'components'"):
        config = settle({}, {"mixture": {"laps": 3}, "components": {"polish": 5}}, "diem")
    assert (config.components.laps, config.components.polish, config.components.components) == (3, 5, 1)


def _given(flags: str) -> dict[str, Any]:
    _, bound, _ = fit_app().parse_args(f"problem.toml {flags}", exit_on_error=False, print_error=False)
    return given(bound.arguments["settings"])


def _help() -> str:
    from io import StringIO

    from rich.console import Console

    text = StringIO()
    fit_app()(["--help"], console=Console(file=text, width=250), result_action="return_value")
    return text.getvalue()


def _flags(cls: Any, before: str = "") -> list[str]:
    """The flags of a dataclass and of those in it."""
    found = []
    for name, field in cls.__dataclass_fields__.items():
        inner = [part for part in get_args(field.type) if is_dataclass(part)]
        found += _flags(inner[0], f"{before}{name}.") if inner else [before + name]
    return found
