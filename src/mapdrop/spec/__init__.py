"""The specification of the mask, in NumPy alone: which coin a value has, and how it falls."""
