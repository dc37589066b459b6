"""Scores of draws and estimates against a known truth."""
