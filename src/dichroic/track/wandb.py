"""Weights & Biases: a run with the name of the folder; `WANDB_PROJECT` and `WANDB_MODE` say where."""

from hashlib import sha256

from dichroic.track.tracker import Tracker

__all__ = ["WandB"]


class WandB(Tracker):
    """Logs to Weights & Biases; a run that is resumed goes on there, too."""

    library = ("wandb", "wandb")

    def begin(self, folder, settings):
        name = sha256(str(folder.resolve()).encode()).hexdigest()[:16]
        self.run = self.load().init(name=folder.name, id=name, resume="allow", config=dict(settings))

    def log(self, lap, numbers):
        self.run.log(dict(numbers), step=lap)

    def close(self):
        self.run.finish()
