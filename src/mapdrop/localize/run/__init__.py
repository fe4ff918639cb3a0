"""A training run: its settings, data, checkpoints and stages, kept in one folder."""
