"""TensorBoard: event files in the run folder, `tensorboard --logdir RUN/tensorboard`."""

from dichroic.track.tracker import Tracker

__all__ = ["TensorBoard"]


class TensorBoard(Tracker):
    """Writes event files, which no server need take."""

    library = ("tensorboard.summary", "tensorboard")

    def begin(self, folder, settings):
        self.writer = self.load().Writer(str(folder / "tensorboard"))

    def log(self, lap, numbers):
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, lap)
        self.writer.flush()

    def close(self):
        self.writer.close()
