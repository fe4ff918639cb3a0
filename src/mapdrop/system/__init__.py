"""The machine beneath: files, streams, text for a terminal. Knows nothing of masks."""
