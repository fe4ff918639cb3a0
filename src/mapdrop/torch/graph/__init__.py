"""A captured model: its graph, and what is true of it, whatever anybody makes of that."""
