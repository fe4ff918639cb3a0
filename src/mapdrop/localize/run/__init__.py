"""A training run: its settings, data, checkpoints and stages, kept in one folder."""

from mapdrop.system.extras import require as _require

_require(__name__, "study", "torch", "safetensors", "PIL")
