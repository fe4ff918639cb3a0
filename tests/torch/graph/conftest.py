"""The fixtures of compact's tests."""

from tests.torch.compact.conftest import _guards_are_not_timed as _guards_are_not_timed
