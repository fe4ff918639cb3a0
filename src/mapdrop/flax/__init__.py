"""mapdrop for Flax NNX: layers that drop structured parts of their input."""

from mapdrop.system.extras import require as _require

_require(__name__, "flax", "jax", "flax")

from mapdrop.flax.layers import Drop as Drop
from mapdrop.flax.layers import DropBlock1d as DropBlock1d
from mapdrop.flax.layers import DropBlock2d as DropBlock2d
from mapdrop.flax.layers import DropBlock3d as DropBlock3d
from mapdrop.flax.layers import Dropout as Dropout
from mapdrop.flax.layers import DropPath as DropPath
from mapdrop.flax.layers import SpatialDropout1d as SpatialDropout1d
from mapdrop.flax.layers import SpatialDropout2d as SpatialDropout2d
from mapdrop.flax.layers import SpatialDropout3d as SpatialDropout3d
