"""mapdrop for Equinox: layers that drop structured parts of one sample."""

from mapdrop.system.extras import require as _require

_require(__name__, "equinox", "jax", "equinox")

from mapdrop.equinox.layers import Drop as Drop
from mapdrop.equinox.layers import DropBlock1d as DropBlock1d
from mapdrop.equinox.layers import DropBlock2d as DropBlock2d
from mapdrop.equinox.layers import DropBlock3d as DropBlock3d
from mapdrop.equinox.layers import Dropout as Dropout
from mapdrop.equinox.layers import DropPath as DropPath
from mapdrop.equinox.layers import SpatialDropout1d as SpatialDropout1d
from mapdrop.equinox.layers import SpatialDropout2d as SpatialDropout2d
from mapdrop.equinox.layers import SpatialDropout3d as SpatialDropout3d
