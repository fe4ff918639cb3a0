"""A model captured as a graph, and the guards under which the graph stays valid."""
