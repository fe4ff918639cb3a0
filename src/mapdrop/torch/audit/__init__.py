"""Which dropout stands where in a model, and what is wrong with it."""

from mapdrop.torch.audit.audit import audit as audit
from mapdrop.torch.audit.report import Audit as Audit
from mapdrop.torch.audit.report import AuditedDrop as AuditedDrop
from mapdrop.torch.audit.report import BetterPlace as BetterPlace
from mapdrop.torch.audit.report import Finding as Finding
