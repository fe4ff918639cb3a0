"""mapdrop: dropout that drops whole feature maps, and every other structured kind."""

from mapdrop.arrays import drop as drop
from mapdrop.mask import Mask as Mask
from mapdrop.mask import mask as mask
from mapdrop.pattern import Pattern as Pattern
from mapdrop.pattern import PatternError as PatternError

__version__ = "0.1.0"
