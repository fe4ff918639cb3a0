"""mapdrop for PyTorch: layers that drop structured parts of their input, and their seeds."""

from mapdrop.system.extras import require as _require

_require(__name__, "torch", "torch")

from mapdrop.backends.torch.sharding import shard as shard
from mapdrop.backends.torch.source import replay as replay
from mapdrop.torch.audit import audit as audit
from mapdrop.torch.compact import compact as compact
from mapdrop.torch.compact import compact_report as compact_report
from mapdrop.torch.convert import convert as convert
from mapdrop.torch.convert import convert_report as convert_report
from mapdrop.torch.exported import remove_drops as remove_drops
from mapdrop.torch.layers import Drop as Drop
from mapdrop.torch.layers import DropBlock1d as DropBlock1d
from mapdrop.torch.layers import DropBlock2d as DropBlock2d
from mapdrop.torch.layers import DropBlock3d as DropBlock3d
from mapdrop.torch.layers import Dropout as Dropout
from mapdrop.torch.layers import DropPath as DropPath
from mapdrop.torch.layers import SpatialDropout1d as SpatialDropout1d
from mapdrop.torch.layers import SpatialDropout2d as SpatialDropout2d
from mapdrop.torch.layers import SpatialDropout3d as SpatialDropout3d
from mapdrop.torch.predict import Prediction as Prediction
from mapdrop.torch.predict import predict as predict
from mapdrop.torch.schedule import schedule as schedule
from mapdrop.torch.seeded import seeded as seeded
