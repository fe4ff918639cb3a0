"""Training without computing the maps that dropout drops."""

from mapdrop.torch.compact.cost import Costs as Costs
from mapdrop.torch.compact.machine import measured as measured
from mapdrop.torch.compact.model import compact as compact
from mapdrop.torch.compact.model import compact_report as compact_report
