"""mapdrop: dropout that drops whole feature maps, and every other structured kind."""

from mapdrop.backends import drop as drop
from mapdrop.backends.residual import residual as residual
from mapdrop.mask import Mask as Mask
from mapdrop.mask import mask as mask
from mapdrop.spec.pattern import Pattern as Pattern
from mapdrop.spec.pattern import PatternError as PatternError

__version__ = "0.1.0"

# Errors and pickles name them as users do.
for _public in (Mask, Pattern, PatternError):
    _public.__module__ = __name__
