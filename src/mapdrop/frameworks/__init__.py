"""The frameworks found here, each worked with in a process of its own."""
