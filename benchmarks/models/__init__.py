"""Networks with drop layers, as published, for tests and benchmarks of whole training steps."""

from benchmarks.models.model import Model as Model
from benchmarks.models.registry import MODELS as MODELS
from benchmarks.models.registry import find as find
