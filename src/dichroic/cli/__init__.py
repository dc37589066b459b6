"""The command line. Nothing here imports JAX until a command needs it: `--help` answers at once."""

from dichroic.cli.app import main

__all__ = ["main"]
