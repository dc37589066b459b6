"""Results as sound."""

from pathlib import Path

from dichroic.formats.write_records import Record, WriteRecords

__all__ = ["WriteAudio"]


class WriteAudio(WriteRecords):
    """In floating-point numbers, which nothing clips."""

    suffixes = ("wav",)
    library = ("soundfile", "soundfile")

    def record(self, path: Path, record: Record) -> None:
        self.load().write(path, record.x, round(1 / record.step), format="WAV", subtype="FLOAT")
