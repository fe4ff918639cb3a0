"""Training without computing the maps that dropout drops."""

from mapdrop.torch.compact.calibration import calibrate as calibrate
from mapdrop.torch.compact.cost_model import Costs as Costs
from mapdrop.torch.compact.model import compact as compact
from mapdrop.torch.compact.model import compact_report as compact_report
