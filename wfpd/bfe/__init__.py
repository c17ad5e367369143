"""The base filtering engine: objects, sessions and transactions of several parties over one set of tables."""

from wfpd.bfe.engine import Bfe
from wfpd.bfe.ground import Ground
from wfpd.bfe.objects import Event, Kind, Lifetime
from wfpd.bfe.session import Done, Session

__all__ = ["Bfe", "Done", "Event", "Ground", "Kind", "Lifetime", "Session"]
