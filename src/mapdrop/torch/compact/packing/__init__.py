"""Where kept maps lie in memory, and how they get there."""
