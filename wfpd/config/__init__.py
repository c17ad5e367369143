"""Policy files: text in, a frozen `Policy` or every error out."""

from wfpd.config.limits import Limits
from wfpd.config.objects import NOTHING, Known
from wfpd.config.schema import load_change, load_data, load_policy

__all__ = ["NOTHING", "Known", "Limits", "load_change", "load_data", "load_policy"]
