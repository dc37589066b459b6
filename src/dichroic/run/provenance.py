"""Where a result came from."""

import platform
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from dichroic import __version__

__all__ = ["provenance"]

_PACKAGES = ("jax", "jaxlib", "equinox", "optax", "numpy", "scipy")


def provenance() -> dict[str, Any]:
    """Versions, device and time of a run; nothing that names a user or a machine."""
    import jax

    versions = {"dichroic": __version__}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "devices": [str(device.device_kind) for device in jax.devices()],
        "versions": versions,
    }
