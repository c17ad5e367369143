"""What can go wrong in the lab, in words for whoever sits in front of it."""

from wfpd.errors import WfpdError


class LabError(WfpdError):
    """The lab cannot go on.  The message says what is missing, the hint what to do."""

    exit_status = 3
