"""How each framework's users drop, with ours and with others'."""
