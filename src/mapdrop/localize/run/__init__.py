"""One training run: its settings, data, checkpoints and stages, in a folder of its own."""
