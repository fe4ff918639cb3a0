"""Compare kinds of dropout on a key-point task: train with each, and report accuracy and cost."""
