"""Other libraries' drop layers, replaced by mapdrop's."""

from mapdrop.torch.convert.model import convert as convert
from mapdrop.torch.convert.model import convert_report as convert_report
