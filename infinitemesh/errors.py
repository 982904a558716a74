"""Every error that infinitemesh raises on purpose. Each message says what came, what was needed and what to do.

InfiniteMeshError
├── InputError        what the caller gave cannot be used (also a ValueError)
├── CheckpointError   weights are missing, damaged or of another architecture
├── MissingBackend    an optional package is needed (also an ImportError)
└── GenerationError   a stage ran and made nothing usable
"""


class InfiniteMeshError(Exception):
    """The root: catch this to catch everything below."""


class InputError(InfiniteMeshError, ValueError):
    """What the caller gave cannot be used."""


class CheckpointError(InfiniteMeshError):
    """Weights are missing, damaged, or of another architecture."""


class MissingBackend(InfiniteMeshError, ImportError):
    """An optional package is needed; the message says how to install it."""


class GenerationError(InfiniteMeshError):
    """A stage ran to its end and made nothing usable."""
