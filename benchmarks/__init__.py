"""Speed of mapdrop against its peers: `python -m benchmarks`."""
