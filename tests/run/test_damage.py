"""Run folders of before, of others, and those that were damaged or forged: they are read, or refused in a sentence."""

import errno
import itertools
import json
import os
import random
import re
import shutil
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dichroic import Run, fit, load_problem, resume, store
from dichroic.diagnose import load_panel
from dichroic.diffusion import DenoiserPrior
from dichroic.em import EMState
from dichroic.run import RunError, RunFolder, Separation
from dichroic.run.separation_writer import SeparationWriter
from run_cases import results, tiny_config, tiny_problem

OLD = Path(__file__).parents[1] / "data" / "run_13ed3f5.zip"


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> Path:
    """A run, its problem and what it gave, as version 13ed3f5 wrote them."""
    folder = tmp_path_factory.mktemp("old")
    with zipfile.ZipFile(OLD) as file:
        file.extractall(folder)
    return folder


@pytest.mark.filterwarnings("ignore:settings of an older version")
def test_a_run_of_before_is_read(old):
    run, separated = Run(old / "run"), Separation.open(old / "run" / "separated.zarr")
    expected = np.load(old / "expected.npz")
    for source in ("sky", "star"):
        np.testing.assert_allclose(run.sample(source, 4, steps=4), expected[source], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(separated.mean("both", "star"), expected["mean"])
    np.testing.assert_array_equal(separated.draws("both", "sky"), expected["draws"])
    np.testing.assert_array_equal(run.gaussian.populations["sky"].mean, expected["mu"])
    assert [record["lap"] for record in run.records] == [0, 1, 2]
    assert run.config.laps == 2
    assert run.folder.design().identified
    assert run.folder.checkpoint().lap == 0  # of the stage after the last
    assert set(load_panel(run.path / "diagnose")) == {"replay", "chi_square"}


@pytest.mark.filterwarnings("ignore:settings of an older version")
def test_a_run_of_before_is_resumed(old, tmp_path):
    shutil.copytree(old / "run", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "priors")
    run = resume(tmp_path / "run", load_problem(old / "problem").problem)
    np.testing.assert_array_equal(run.sample("star", 4, steps=4), Run(old / "run").sample("star", 4, steps=4))


READERS = {
    "config.toml": lambda run: run.config,
    "problem.json": lambda run: (run.config, run.folder.problem(), run.priors),
    "provenance.json": lambda run: run.folder.provenance(),
    "metrics.jsonl": lambda run: run.records,
    "gaussian.safetensors": lambda run: run.gaussian,
    "design.safetensors": lambda run: run.folder.design(),
    "checkpoints": lambda run: run.folder.checkpoint(),
    "priors": lambda run: run.priors,
    "separated.zarr": lambda run: Separation.open(run.separated).arrays(),
}


def read(path: Path, part: str) -> None:
    """Reads what a part of a run folder is needed for."""
    READERS[part](Run(path))


def test_settings_of_before_say_what_they_became(old):
    with pytest.warns(UserWarning) as said:
        assert Run(old / "run").config.sampling.kind == "annealed"
    texts = [str(warning.message) for warning in said]
    assert any(
        re.match(r'settings of an older version: posterior = "exact".* became kind = "annealed"', t) for t in texts
    )
    assert any("'mixture' became 'components'" in text for text in texts)


def forgeries(content: bytes, rng: random.Random) -> list[bytes]:
    """Damaged contents of a file: cut, altered, of other types, with keys that are not there or too many."""
    found = [b"", b"[]", b"null", b"\xff\xfe\x00", b"[" * 50_000, b'"a": 1', content[: len(content) // 2], content[:-3]]
    altered = bytearray(content)
    for position in rng.sample(range(len(content)), min(4, len(content))):
        altered[position] ^= 1 << rng.randrange(8)
        found.append(bytes(altered))
    try:
        table = json.loads(content)
    except ValueError:
        return found
    if isinstance(table, dict):
        for key in table:
            found += [json.dumps({k: v for k, v in table.items() if k != key}).encode()]
            found += [
                json.dumps({**table, key: value}).encode() for value in (None, [], 99, "../../etc/passwd", {"a": []})
            ]
    return found


def test_forged_folders_are_refused_in_a_sentence(finished, tmp_path):
    rng, refused = random.Random(0), 0
    assert {path.name for path in finished.path.iterdir()} == {*READERS, ".lock"}
    run = tmp_path / "run"
    shutil.copytree(finished.path, run)
    files = [path for path in sorted(run.rglob("*")) if path.is_file() and path.name != ".lock"]
    # one of each kind: of the priors one, of the chunks one
    for file in {(path.relative_to(run).parts[0], len(path.parts), path.suffix): path for path in files}.values():
        part, content = file.relative_to(run).parts[0], file.read_bytes()
        read(run, part)
        for forged in [None, *forgeries(content, rng)]:
            file.unlink() if forged is None else file.write_bytes(forged)
            try:
                read(run, part)
            except RunError as error:
                refused += 1
                assert str(error) and "\n" not in str(error), str(error)
        file.write_bytes(content)
    assert refused > 150


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: "version = 99\n" + text.replace("version = 1\n", ""), "has format version 99"),
        (
            lambda text: text.replace("laps = 2", "laps = -2"),
            r"config\.toml holds settings .* laps.*greater than or equal to 0",
        ),
        (lambda text: "colour = 1\n" + text, "colour: Extra inputs are not permitted"),
        (
            lambda text: text.replace("seed = 0", "seed = 5"),
            r"config\.toml was edited .* started, .* with seed = 0; put",
        ),
        (lambda text: text + "[[", r"config\.toml is damaged"),
    ],
)
def test_settings_are_those_of_the_start(finished, tmp_path, change, words):
    run = tmp_path / "run"
    shutil.copytree(finished.path, run)
    (run / "config.toml").write_text(change((run / "config.toml").read_text()))
    for use in (lambda: Run(run).config, lambda: resume(run, tiny_problem())):
        with pytest.raises(RunError, match=words):
            use()


def test_newer_formats_are_refused(finished, tmp_path):
    for part in ("problem.json", "provenance.json", "priors", "separated.zarr", "metrics.jsonl"):
        file = {"priors": "priors/index.json", "separated.zarr": "separated.zarr/zarr.json"}.get(part, part)
        shutil.copytree(finished.path, tmp_path / "run", dirs_exist_ok=True)
        text = (tmp_path / "run" / file).read_text()
        changed = text.replace('"version": 1,', '"version": 99,').replace('"version": 2,', '"version": 99,')
        assert text != changed
        (tmp_path / "run" / file).write_text(changed)
        with pytest.raises(RunError, match="has format version 99"):
            read(tmp_path / "run", part)


def test_a_missing_chunk_is_an_error_and_a_damaged_one_too(finished, tmp_path):
    chunks = sorted((finished.path / "separated.zarr").rglob("c/*/*/*"))
    assert len(chunks) > 4
    for chunk in chunks[:3]:
        out = tmp_path / "run"
        shutil.copytree(finished.path, out)
        moved = out / chunk.relative_to(finished.path)
        content = bytearray(moved.read_bytes())
        content[len(content) // 2] ^= 1
        moved.write_bytes(content)
        with pytest.raises(RunError, match=r"separated\.zarr.* is damaged"):
            Separation.open(out / "separated.zarr").arrays()
        moved.unlink()
        with pytest.raises(RunError, match=r"1 of \d+ chunks of .* are missing"):
            Separation.open(out / "separated.zarr")
        shutil.rmtree(out)


def test_a_separation_is_read_within_its_folder(finished, tmp_path):
    """Its descriptions are files of its own, and declare no more than its chunks hold."""
    store = tmp_path / "separated.zarr"
    shutil.copytree(finished.path / "separated.zarr", store)
    own = next(file for file in sorted(store.rglob("zarr.json")) if b'"array"' in file.read_bytes())
    content = own.read_bytes()
    own.write_text(content.decode().replace('"shape": [', '"shape": [100000000, ', 1))
    with pytest.raises(RunError, match="damaged"):
        Separation.open(store)
    array = json.loads(content)
    large = [10**9, *array["shape"][1:]]
    forged = {**array, "shape": large}
    forged["chunk_grid"]["configuration"]["chunk_shape"] = large
    own.write_text(json.dumps(forged))
    with pytest.raises(RunError, match=r"declares \d+\.\d GB"):
        Separation.open(store)
    own.write_bytes(content)
    for file in (own, store / "zarr.json"):
        content = file.read_bytes()
        file.unlink()
        os.mkfifo(file)
        with pytest.raises(RunError, match="is no part of it"):
            Separation.open(store)
        file.unlink()
        file.write_bytes(content)
    chunk = next(file for file in sorted(store.rglob("c/**/*")) if file.is_file())
    content = chunk.read_bytes()
    (chunk.parent / "spare").write_bytes(content)  # so that as many are there as are declared
    for instead in (os.mkfifo, lambda file: file.symlink_to("/dev/zero"), lambda file: file.symlink_to(file)):
        chunk.unlink()
        instead(chunk)
        with pytest.raises(RunError, match="is no part of it"):
            Separation.open(store)
    chunk.unlink()
    chunk.write_bytes(content)
    root = json.loads((store / "zarr.json").read_text())
    views = root["attributes"]["views"]
    shutil.copytree(store / next(iter(views.values())), tmp_path / "elsewhere")
    root["attributes"]["views"] = dict.fromkeys(views, "../elsewhere")
    (store / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(RunError, match="is no part of it"):
        Separation.open(store)


def test_draws_that_have_no_room_are_not_begun(tmp_path):
    with pytest.raises(RunError, match=r"the draws take 8e\+06 GB, but .* has room for"):
        SeparationWriter(tmp_path / "draws.zarr", {"v": (1000, {"s": (2,)})}, 10**12)
    assert not list(tmp_path.iterdir())


HOSTILE = [
    "dust (a)",
    "dust [a]",
    "sky",
    "Sky",
    "zarr.json",
    "index",
    "..b",
    "C:x",
    "é" * 200,
    "a b\u202ec",
    "con",
    "~root",
]


def test_names_of_any_kind_keep_what_is_theirs(finished, tmp_path):
    """Priors, checkpoints and separations of sources and views whose names differ in what file names cannot tell."""
    priors = {s: DenoiserPrior(finished.priors["sky"].denoiser(), provenance={"name": s}) for s in HOSTILE}
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    about = dict.fromkeys(("file", "fingerprint", "held_out", "frozen", "views")) | {"sources": dict.fromkeys(HOSTILE)}
    folder.create(tiny_config(), about, {})
    folder.save_checkpoint(EMState(0, 0, priors, {v: {"x": np.ones(1)} for v in HOSTILE}, {}, {}, priors))
    folder.save_priors(priors)
    state = folder.checkpoint()
    for found in (folder.priors(), state.priors, state.best_priors):
        assert {s: prior.provenance["name"] for s, prior in found.items()} == {s: s for s in HOSTILE}
    assert list(state.draws) == HOSTILE
    out = tmp_path / "draws.zarr"
    with SeparationWriter(out, {v: (1, dict.fromkeys(HOSTILE, (1,))) for v in HOSTILE}, 1) as writer:
        for i, v in enumerate(HOSTILE):
            for j, s in enumerate(HOSTILE):
                writer.samples[v][s][:] = 100 * i + j
            writer.chi_square[v][:] = i
            writer.diverged[v][:] = False
    separation = Separation.open(out)
    for i, v in enumerate(HOSTILE):
        assert separation.chi_square[v] == i
        assert [separation.draws(v, s).item() for s in HOSTILE] == [100 * i + j for j in range(len(HOSTILE))]
    assert {path.name for path in tmp_path.iterdir()} == {"run", "draws.zarr"}


def test_what_belongs_to_another_run_is_told(finished, tmp_path):
    """Whole files, with checksums that are right: priors, chunks, the Gaussian stage and checkpoints of others."""
    run = tmp_path / "run"
    shutil.copytree(finished.path, run)
    about = json.loads((run / "problem.json").read_text())
    (run / "problem.json").write_text(json.dumps({**about, "fingerprint": "of another"}))
    for part in ("gaussian.safetensors", "checkpoints"):
        with pytest.raises(RunError, match="is of another run"):
            read(run, part)
    shutil.copy(run / "priors" / "star.safetensors", run / "priors" / "sky.safetensors")
    with pytest.raises(RunError, match="is damaged, or not what the run has learned"):
        read(run, "priors")
    one, other = sorted((run / "separated.zarr").rglob("samples/sky/c/*/*/*"))[:2]
    shutil.copy(one, other)
    with pytest.raises(RunError, match="not those that were written"):
        Separation.open(run / "separated.zarr")


def test_the_clock_of_the_machine_is_not_asked(finished, tmp_path, monkeypatch):
    """One that jumps by years, to and fro, changes no result."""
    jumps = itertools.cycle([0.0, 4e8, -4e8, 1.0])
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + next(jumps))
    run = fit(tiny_problem(), tiny_config(), out=tmp_path / "run")
    monkeypatch.undo()
    a, b = results(run.path), results(finished.path)
    assert a.keys() == b.keys() and [key for key in a if a[key] != b[key]] == []


@pytest.mark.parametrize("nth", [6, pytest.param(range(1, 40), marks=pytest.mark.slow)])
def test_a_full_disk_costs_what_was_being_written(finished, tmp_path, monkeypatch, capsys, nth):
    """The n-th file, whichever it is; then there is room again, and the run goes on to the same end."""
    for n in [nth] if isinstance(nth, int) else nth:
        out, written, flush = tmp_path / f"run{n}", itertools.count(1), store._flush

        def full(path, written=written, n=n, flush=flush):
            if next(written) >= n:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            flush(path)

        monkeypatch.setattr(store, "_flush", full)
        try:
            fit(tiny_problem(), tiny_config(), out=out)
        except OSError as error:
            assert "No space left on device" in str(error)
        assert next(written) > n or isinstance(nth, range)
        monkeypatch.undo()
        assert not list(out.rglob("*.tmp"))
        run = fit(tiny_problem(), tiny_config(), out=out)
        a, b = results(run.path), results(finished.path)
        assert a.keys() == b.keys() and [key for key in a if a[key] != b[key]] == [], n
