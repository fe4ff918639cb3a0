"""Convolutions of chosen maps, and their derivatives, compiled for the CPU by Numba.

Each sample has maps of its own, in rows of a packed array. The weight stays where it is: the
kernels read the parts of it that they need by address. Nothing is gathered, so that a mask for each
sample costs what one mask for all costs. Strides are 1.
"""

from mapdrop.kernels.convolution.forward import convolve as convolve
from mapdrop.kernels.convolution.im2col import COPIES as COPIES
from mapdrop.kernels.convolution.im2col import DEPTH as DEPTH
from mapdrop.kernels.convolution.im2col import Geometry as Geometry
from mapdrop.kernels.convolution.im2col import RowIndex as RowIndex
from mapdrop.kernels.convolution.weight_grad import weight_grad as weight_grad
