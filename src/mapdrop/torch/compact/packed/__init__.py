"""How each kind of operation works on packed arrays."""
