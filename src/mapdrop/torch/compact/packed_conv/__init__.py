"""Convolutions and Linear layers on packed arrays."""
