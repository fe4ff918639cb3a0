"""What the project's own targets run; no part of the package."""
