"""The radio bench: pulse-shaped QPSK under OFDM, receivers, error rates, and what is known of them beforehand."""

from dichroic.studies.radio.bits import bits_of, symbols_of
from dichroic.studies.radio.demodulate import demodulated
from dichroic.studies.radio.mixtures import SIGNAL, SIRS, gain, interference, radio_mixtures
from dichroic.studies.radio.supervised import SupervisedConfig, fit_supervised, latency_of, separate_supervised
from dichroic.studies.radio.theory import (
    LinearReceiver,
    complex_covariance,
    linear_receiver,
    matched_filter_error_rate,
)

__all__ = [
    "SIGNAL",
    "SIRS",
    "LinearReceiver",
    "SupervisedConfig",
    "bits_of",
    "complex_covariance",
    "demodulated",
    "fit_supervised",
    "gain",
    "interference",
    "latency_of",
    "linear_receiver",
    "matched_filter_error_rate",
    "radio_mixtures",
    "separate_supervised",
    "symbols_of",
]
