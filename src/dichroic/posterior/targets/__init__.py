"""Targets of annealing, one file each: how the likelihood enters."""
