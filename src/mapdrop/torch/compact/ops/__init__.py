"""What compact knows of each operation, and the registry of all of them."""
