"""The transformers package's vision models, by its own code, in sizes for a CPU.

Their drop path rises from 0 to `rate` over the layers, or is the same in all (Dinov2), as the
package has it. They have no other dropout. The package is imported when one of them is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class VisionModel:
    """A model of the package.

    Attributes:
        name: of its classes, without "Model" and "Config".
        shape: of the images that it is timed with, (batch, 3, side, side).
        config: arguments of its configuration; those of `small` replace some, for tests.
        outside: modules of a layer that belong to none of its residual branches that drop.
        ramps: whether the rate rises over the layers.
    """

    name: str
    shape: tuple[int, int, int, int]
    config: dict[str, Any]
    small: dict[str, Any]
    outside: tuple[str, ...] = ()
    ramps: bool = True

    def build(self, rate: float, *, small: bool = False) -> nn.Module:
        """Return the model, with random weights."""
        import transformers

        size = {"image_size": self.images(small=small)[-1], "drop_path_rate": rate}
        config = self.config | (self.small if small else {}) | size
        model: nn.Module = getattr(transformers, f"{self.name}Model")(
            getattr(transformers, f"{self.name}Config")(**config)
        )
        return model

    def images(self, *, small: bool = False) -> tuple[int, int, int, int]:
        """Return the shape of the images."""
        return (3, 3, 32, 32) if small else self.shape


_PLAIN = {"hidden_size": 192, "num_hidden_layers": 8, "num_attention_heads": 3, "patch_size": 8}
_PLAIN_SMALL = {"hidden_size": 12, "num_hidden_layers": 3}
VISION_MODELS = (
    VisionModel("Dinov2", (16, 3, 112, 112), _PLAIN, _PLAIN_SMALL, ramps=False),
    VisionModel(
        "Beit",
        (16, 3, 112, 112),
        {**_PLAIN, "intermediate_size": 768},
        {**_PLAIN_SMALL, "intermediate_size": 24},
    ),
    VisionModel(
        "Swin",
        (8, 3, 112, 112),
        {
            "embed_dim": 48,
            "depths": [2, 2, 6, 2],
            "num_heads": [2, 4, 8, 16],
            "patch_size": 2,
            "window_size": 7,
        },
        {"embed_dim": 8, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4},
        # The package drops the attention alone.
        outside=("layernorm_after", "mlp"),
    ),
    VisionModel(
        "ConvNext",
        (16, 3, 160, 160),
        {"hidden_sizes": [48, 96, 192, 384], "depths": [2, 2, 6, 2]},
        {"hidden_sizes": [6, 12, 18, 24], "depths": [1, 1, 2, 1]},
    ),
    VisionModel(
        "Segformer",
        (16, 3, 160, 160),
        {
            "depths": [2, 2, 2, 2],
            "hidden_sizes": [32, 64, 160, 256],
            "num_attention_heads": [1, 2, 5, 8],
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
        {
            "depths": [1, 1, 2, 1],
            "hidden_sizes": [4, 8, 12, 16],
            "num_attention_heads": [1, 1, 2, 2],
        },
    ),
)
