"""Hides what Keras imports where it is installed and no layer needs: seconds in each process.

These are the other frameworks, scikit-learn, for which it has wrappers, and matplotlib, for plots.
Imported before Keras, in a process of a backend's own.
"""

from __future__ import annotations

import os
import sys

OTHERS = {"tensorflow", "torch", "jax", "sklearn", "matplotlib"} - {os.environ["KERAS_BACKEND"]}
sys.modules.update(dict.fromkeys(OTHERS))  # type: ignore[arg-type]
