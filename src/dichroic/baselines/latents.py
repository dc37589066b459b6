"""The setting that all methods with latent variables share: how many of them a source has."""

from pydantic import PositiveInt

from dichroic.baselines.base import BaselineConfig

__all__ = ["LatentConfig"]

_DEFAULT = 5


class LatentConfig(BaselineConfig):
    """Settings with `components`, latents of every source or `{source: latents}`, 5 for those left out."""

    components: PositiveInt | dict[str, PositiveInt] = _DEFAULT

    def components_of(self, source: str) -> int:
        """Latents of a source."""
        return self.components if isinstance(self.components, int) else self.components.get(source, _DEFAULT)
