"""Autoencoders whose codes have no density: what is known of an entropy is its gradient, by a score of the codes."""

from dichroic.studies.autoencoders.evidence import annealed_evidence
from dichroic.studies.autoencoders.networks import Autoencoder, log_likelihood
from dichroic.studies.autoencoders.train import SCORES, Training, train_autoencoder

__all__ = ["SCORES", "Autoencoder", "Training", "annealed_evidence", "log_likelihood", "train_autoencoder"]
