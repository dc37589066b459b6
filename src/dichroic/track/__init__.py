"""Trackers: where the numbers of every lap go besides the run folder."""

from dichroic.track.mlflow import MLflow
from dichroic.track.tensorboard import TensorBoard
from dichroic.track.tracker import Tracker, numbers_of, open_trackers
from dichroic.track.wandb import WandB

TRACKERS: dict[str, type[Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB}

__all__ = ["TRACKERS", "MLflow", "TensorBoard", "Tracker", "WandB", "numbers_of", "open_trackers"]
