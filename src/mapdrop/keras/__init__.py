"""mapdrop for Keras 3: layers that drop structured parts of their input, on any backend."""

from mapdrop.keras.blocks import DropBlock1D as DropBlock1D
from mapdrop.keras.blocks import DropBlock2D as DropBlock2D
from mapdrop.keras.blocks import DropBlock3D as DropBlock3D
from mapdrop.keras.drop import Drop as Drop
from mapdrop.keras.drop import Dropout as Dropout
from mapdrop.keras.drop import DropPath as DropPath
from mapdrop.keras.spatial import SpatialDropout1D as SpatialDropout1D
from mapdrop.keras.spatial import SpatialDropout2D as SpatialDropout2D
from mapdrop.keras.spatial import SpatialDropout3D as SpatialDropout3D
