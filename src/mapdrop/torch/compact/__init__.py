"""Training without computing the maps that dropout drops."""

from mapdrop.torch.compact.cost import Costs as Costs
from mapdrop.torch.compact.model import compact as compact
