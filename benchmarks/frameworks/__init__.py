"""The other frameworks' rows, each in a process of its own: `python -m benchmarks.frameworks`."""
