"""Studies whose rows are kept: which dropout, at which rate, with how many training images."""
