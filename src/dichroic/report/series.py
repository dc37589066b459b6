"""Series in seconds: spectra, and for longer stretches of a record spectrograms and sound."""

import base64
import wave
from html import escape
from io import BytesIO
from typing import Any

import numpy as np

from dichroic.report.material import Separated
from dichroic.report.theme import Figure, colour, panel

__all__ = ["series_figures", "stretch_of_record"]

_CLOUD = 400
_SPECTRUM, _SPECTROGRAM = 16, 512  # entries from which they are shown
_SECONDS, _BYTES = 10.0, 320_000  # of a player, at most
_AUDIBLE = (4e3, 1e5)  # rates of what can be listened to
_DECIBELS = 60  # of a spectrogram


def series_figures(separated: Separated, sources: list[str]) -> list[Figure]:
    """Everything about the sources that are series in seconds on the grid of the data."""
    series = [s for s in sources if _step(separated, s)]
    if not series:
        return []
    found = [_spectra(separated, series)]
    step = _step(separated, series[0]) or 1.0
    clips = stretch_of_record(separated, series, step)
    if len(next(iter(clips.values()))) >= _SPECTROGRAM:
        found.append(_spectrograms(separated.name, clips, step))
    return found


def _step(separated: Separated, source: str) -> float | None:
    """Seconds between two entries of a source that is a series on the grid of the data."""
    axis, shape, view = separated.labels.axis(0), separated.first_draws(source, 1).shape[1:], separated.view
    on_grid = view is not None and shape == view.event_shape and not np.iscomplexobj(view.y)
    return axis.step if axis.unit == "s" and on_grid and len(shape) == 1 and shape[0] >= _SPECTRUM else None


def _spectra(separated: Separated, sources: list[str]) -> Figure:
    """Mean power of single draws (of the truth, too) by frequency."""

    def power(x: np.ndarray) -> np.ndarray:
        x = x[np.isfinite(x).all(1)]
        return _decibels(np.mean(np.abs(np.fft.rfft(x.astype(float) * np.hanning(x.shape[1]))) ** 2, 0))

    def draw(axes: Any) -> None:
        for k, s in enumerate(sources):
            x = separated.first_draws(s, _CLOUD)
            frequencies = np.fft.rfftfreq(x.shape[1], _step(separated, s) or 1.0)
            axes.plot(frequencies[1:], power(x)[1:], color=colour(k), label=s)
            if (truth := separated.truth(s)) is not None:
                axes.plot(frequencies[1:], power(truth[:_CLOUD])[1:], color=colour(k), linestyle="--", linewidth=1)
        axes.set_xlabel("frequency [Hz]")
        axes.set_ylabel("power [dB]")

    known = any(separated.truth(s) is not None for s in sources)
    good = (
        "lines along the dashed ones, of the truth" if known else "lines of the shape that each source is known to have"
    )
    caption = f"Power of draws by frequency, averaged over observations; good is {good}."
    drawn = panel(draw, f"Spectra in {separated.name}", legend=True)
    return Figure(f'<div class="panels">{drawn}</div>', caption, "Spectra")


def stretch_of_record(separated: Separated, sources: list[str], step: float) -> dict[str, np.ndarray]:
    """The data and the posterior means of the longest stretch without a gap: a series each, by "observed" and the names
    of the sources. Windows that follow each other are put together, where they overlap by their mean.
    """
    windows, index, starts = separated.labels.windows, np.arange(1), np.zeros(1, int)
    if windows is not None:
        pieces, _ = windows.pieces()
        (index,) = np.nonzero(pieces.record == np.argmax([length for (length,) in pieces.shapes]))
        index = index[np.argsort(pieces.start[index, 0])]
        starts = pieces.start[index, 0]
    view = separated.view
    assert view is not None
    parts = {"observed": np.asarray(view.y[index], float)}
    if view.observed is not None:
        parts["observed"] = np.where(view.observed[index], parts["observed"], 0)
    parts |= {s: np.stack([separated.mean(s, int(i)) for i in index]) for s in sources}
    most = max(int(_SECONDS / step), parts["observed"].shape[1])
    return {name: _joined(x, starts)[:most] for name, x in parts.items()}


def _joined(x: np.ndarray, starts: np.ndarray) -> np.ndarray:
    total = np.zeros(starts[-1] + x.shape[1])
    count = np.zeros(len(total))
    for start, part in zip(starts, x, strict=True):
        total[start : start + len(part)] += np.nan_to_num(part)
        count[start : start + len(part)] += 1
    return total / np.maximum(count, 1)


def _spectrograms(view: str, clips: dict[str, np.ndarray], step: float) -> Figure:
    size = 2 ** int(np.clip(np.log2(len(clips["observed"]) / 24), 5, 8))
    powers = {name: _stft(x, size) for name, x in clips.items()}
    top = max(float(p.max()) for p in powers.values())
    plays = _AUDIBLE[0] <= 1 / step <= _AUDIBLE[1]
    loudest = max(float(np.abs(x).max()) for x in clips.values()) or 1.0
    panels = []
    for name, p in powers.items():

        def draw(axes: Any, p: np.ndarray = p) -> None:
            decibels = _decibels(p / (top or 1.0))
            extent = (0, len(clips["observed"]) * step, 0, 0.5 / step)
            axes.imshow(decibels.T, "magma", origin="lower", aspect="auto", vmin=-_DECIBELS, vmax=0, extent=extent)
            axes.grid(False)
            axes.set_xlabel("time [s]")
            axes.set_ylabel("frequency [Hz]")

        drawn = panel(draw, f"Spectrogram of {name} in {view}", height=190)
        panels.append(
            f"<div><h4>{escape(name)}</h4>{drawn}{_player(clips[name] / loudest, step) if plays else ''}</div>"
        )
    caption = (
        f"Power by time and frequency, {_DECIBELS} dB from the brightest to the darkest, of the longest stretch that "
        "was judged and of the posterior means of its sources; good is that what belongs to one source shows in none "
        "of the others" + (", and that nothing of it is heard there." if plays else ".")
    )
    return Figure(f'<div class="panels">{"".join(panels)}</div>', caption, "Spectrograms")


def _decibels(power: np.ndarray) -> np.ndarray:
    """In any unit; what has no power is as far below as single precision reaches."""
    return 10 * np.log10(np.maximum(power, 1e-15 * power.max(initial=0) or 1.0))


def _stft(x: np.ndarray, size: int) -> np.ndarray:
    """Power, shape `(times, frequencies)`, with a Hann window moved by a quarter of its size."""
    places = np.arange(0, len(x) - size + 1, size // 4)
    places = places[:: -(-len(places) // 400)]  # as many as a panel shows
    return np.abs(np.fft.rfft(np.stack([x[i : i + size] for i in places]) * np.hanning(size), axis=1)) ** 2


def _player(x: np.ndarray, step: float) -> str:
    """Sound of 16 bits, inside the page."""
    x = x[: _BYTES // 2]
    file = BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(round(1 / step))
        sound.writeframes((np.clip(x, -1, 1) * 32767).astype("<i2").tobytes())
    data = base64.b64encode(file.getvalue()).decode()
    return f'<audio controls preload="none" src="data:audio/wav;base64,{data}"></audio>'
