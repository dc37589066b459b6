"""Sound, through soundfile."""

from pathlib import Path

from dichroic.faults import ProblemError, located
from dichroic.formats.labels import Axis
from dichroic.formats.opened import Opened
from dichroic.formats.reader import Reader
from dichroic.formats.stores import check_size

__all__ = ["Audio"]


class Audio(Reader):
    """One channel of a sound file, shape `(T,)`, full scale being 1, with its sampling rate."""

    suffixes = ("wav", "flac", "ogg", "aiff", "aif", "w64")
    key = "channel"
    library = ("soundfile", "soundfile")

    channel: int | str | None = None
    """Number of the channel, or `mean` of all (default: the only one)."""

    def read(self, path: Path) -> Opened:
        with self.load(path).SoundFile(path) as file:
            with located(f"'{path.name}'"):
                check_size(4 * file.frames * file.channels, path.stat().st_size)
            x, rate, subtype = file.read(dtype="float32", always_2d=True), file.samplerate, file.subtype
        kept = x[:, self._chosen(path, x.shape[1])] if self.channel != "mean" else x.mean(1)
        return Opened(
            kept, axes=(Axis("time", step=1 / rate, unit="s"),), kind="audio", shared={"rate": rate, "subtype": subtype}
        )

    def _chosen(self, path: Path, channels: int) -> int:
        known = f"'{path.name}' has {channels} channels"
        if self.channel is None:
            if channels > 1:
                raise ProblemError([f"{known}; say which: channel = 0, 'mean', or a list for all of them"])
            return 0
        if not str(self.channel).isdigit() or int(self.channel) >= channels:
            raise ProblemError([f"{known}, numbered from 0; got channel = {self.channel!r}"])
        return int(self.channel)
