"""The packet path's door: import compiled parts from here only."""
from wfpd.dataplane._table import CounterSlots as CounterSlots
from wfpd.dataplane._table import Snapshot as Snapshot
