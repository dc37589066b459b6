"""MLflow: a run with the name of the folder, wherever `MLFLOW_TRACKING_URI` and `MLFLOW_EXPERIMENT_NAME` say."""

from dichroic.track.tracker import Tracker, numbers_of

__all__ = ["MLflow"]


class MLflow(Tracker):
    """Logs to an MLflow server or its folder."""

    library = ("mlflow", "mlflow")

    def begin(self, folder, settings):
        self.mlflow = self.load()
        self.mlflow.start_run(run_name=folder.name)
        self.mlflow.log_params(numbers_of(settings))

    def log(self, lap, numbers):
        self.mlflow.log_metrics(dict(numbers), step=lap)

    def close(self):
        self.mlflow.end_run()
