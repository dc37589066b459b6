r"""Speech over music: windows of real recordings at 8 kHz, at equal power.

    view `music`:  y = music           + 0.01 n
    view `mix`:    y = music + speech  + 0.01 n

One speaker and five tracks, the prompts and the music on hold of the telephone exchange Asterisk (CC BY-SA 3.0), from
the Debian packages `asterisk-core-sounds-en-wav` and `asterisk-moh-opsound-wav`. Either source is in units of its
standard deviation. One prompt in five, and the last fifth of every track, are held out.
"""

import wave
from pathlib import Path

import numpy as np

from dichroic.problem import Problem, Source, View

__all__ = ["speech_over_music"]

RATE = 8000
_LEARNED = 0.8  # of the prompts, and of the length of every track
_QUIET = 0.01  # standard deviation of a window, full scale being 1, at which nobody speaks


def speech_over_music(
    folder: str | Path,
    n_music: int = 8192,
    n_mix: int = 8192,
    n_held_out: int = 1024,
    seed: int = 0,
    *,
    window: int = 256,
    noise: float = 0.01,
) -> tuple[Problem, Problem]:
    """Windows that begin anywhere in a recording, with truth; held-out mixtures are of other recordings.

    **Arguments:** `folder`, in which both packages are installed or unpacked (`.../asterisk/sounds`,
    `.../asterisk/moh`), at any depth; `window`, its length in samples.

    **Returns** `(problem, held_out)`, sources `music` and `speech` of shape `(window,)`.

    **Raises:** `FileNotFoundError` when the recordings are not there.
    """
    rng = np.random.default_rng(seed)
    prompts, tracks = _recordings(Path(folder))
    rng.shuffle(prompts)
    spoken, played = [_read(path) for path in prompts], [_read(path) for path in tracks]
    cut = int(_LEARNED * len(spoken))
    early = [track[: int(_LEARNED * len(track))] for track in played]
    late = [track[int(_LEARNED * len(track)) :] for track in played]
    alone, under, under_held = (
        _windows(rng, tracks, n, window) for tracks, n in ((early, n_music), (early, n_mix), (late, n_held_out))
    )
    speech, speech_held = (
        _windows(rng, some, n, window, _QUIET) for some, n in ((spoken[:cut], n_mix), (spoken[cut:], n_held_out))
    )
    units = alone.std(), speech.std()
    alone, under, under_held = (x / units[0] for x in (alone, under, under_held))
    speech, speech_held = (x / units[1] for x in (speech, speech_held))

    def view(**sources: np.ndarray) -> View:
        clean = np.add.reduce(list(sources.values()))
        y = (clean + noise * rng.standard_normal(clean.shape)).astype(np.float32)
        return View(y, dict.fromkeys(sources, 1.0), noise, truth=sources)

    sources, title = {s: Source((window,), symmetry=["shift"]) for s in ("music", "speech")}, "Speech over music"
    problem = Problem(sources, {"music": view(music=alone), "mix": view(music=under, speech=speech)}, title)
    return problem, Problem(sources, {"mix": view(music=under_held, speech=speech_held)}, title)


def _recordings(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files of prompts, and of tracks."""
    found = sorted(folder.rglob("*.wav"))
    tracks = [p for p in found if p.parent.name == "moh"]
    prompts = [
        p
        for p in found
        if "moh" not in p.parts and "silence" not in str(p.relative_to(folder)) and not p.name.startswith("beep")
    ]
    if not tracks or not prompts:
        raise FileNotFoundError(f"no recordings of speech and music in {folder}")
    return prompts, tracks


def _read(path: Path) -> np.ndarray:
    with wave.open(str(path)) as recording:
        if (recording.getframerate(), recording.getnchannels(), recording.getsampwidth()) != (RATE, 1, 2):
            raise ValueError(f"{path}: expected one channel of 16 bits at {RATE} Hz")
        return np.frombuffer(recording.readframes(recording.getnframes()), "<i2").astype(np.float32) / 2**15


def _windows(
    rng: np.random.Generator, recordings: list[np.ndarray], n: int, length: int, least: float = 0.0
) -> np.ndarray:
    """Windows of recordings taken in proportion to their lengths, louder than `least`."""
    shares = np.array([len(x) for x in recordings], float)
    shares /= shares.sum()
    found: list[np.ndarray] = []
    while len(found) < n:
        recording = recordings[rng.choice(len(recordings), p=shares)]
        if len(recording) <= length:
            continue
        begin = rng.integers(len(recording) - length)
        piece = recording[begin : begin + length]
        if piece.std() > least:
            found.append(piece)
    return np.stack(found)
