"""Convolutions of chosen maps, and their derivatives, compiled for the CPU by Numba.

Each sample has maps of its own, in rows of a packed array. The weight stays where it is: which of
its parts meet is an address, so nothing is gathered, and a mask for each sample costs what one for
all costs. Strides are 1.
"""

from mapdrop.kernels.convolution.forward import DEPTH as DEPTH
from mapdrop.kernels.convolution.forward import product as product
from mapdrop.kernels.convolution.im2col import Maps as Maps
from mapdrop.kernels.convolution.im2col import Window as Window
from mapdrop.kernels.convolution.weight_grad import gradient as gradient
