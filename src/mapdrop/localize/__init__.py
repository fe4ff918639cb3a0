"""The key-point localizer of Tompson et al. (CVPR 2015, arXiv 1411.4280), and its data."""
