"""mapdrop for Keras 3: layers that drop structured parts of their input, on any backend."""

from mapdrop.system.extras import require as _require

_require(__name__, "keras,tensorflow", "keras")

from mapdrop.keras.layers import Drop as Drop
from mapdrop.keras.layers import DropBlock1D as DropBlock1D
from mapdrop.keras.layers import DropBlock2D as DropBlock2D
from mapdrop.keras.layers import DropBlock3D as DropBlock3D
from mapdrop.keras.layers import Dropout as Dropout
from mapdrop.keras.layers import DropPath as DropPath
from mapdrop.keras.layers import SpatialDropout1D as SpatialDropout1D
from mapdrop.keras.layers import SpatialDropout2D as SpatialDropout2D
from mapdrop.keras.layers import SpatialDropout3D as SpatialDropout3D
from mapdrop.keras.schedule import RateSchedule as RateSchedule
