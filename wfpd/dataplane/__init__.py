"""The packet path's door: import compiled parts from here only."""

from wfpd.dataplane._arbitrate import REASON_NAMES as REASON_NAMES
from wfpd.dataplane._diff import policy_diff as policy_diff
from wfpd.dataplane._engine import Engine as Engine
from wfpd.dataplane._explain import explain_values as explain_values
from wfpd.dataplane._explain import filter_conditions as filter_conditions
from wfpd.dataplane._flow import Flows as Flows
from wfpd.dataplane._host import Host as Host
from wfpd.dataplane._merge import merge as merge
from wfpd.dataplane._parse import PARSE_STATUS_NAMES as PARSE_STATUS_NAMES
from wfpd.dataplane._parse import parse_of as parse_of
from wfpd.dataplane._part import Part as Part
from wfpd.dataplane._probe import largest_leaf_filters as largest_leaf_filters
from wfpd.dataplane._probe import table_stats as table_stats
from wfpd.dataplane._probe import widened_filters as widened_filters
from wfpd.dataplane._replay import Replayer as Replayer
from wfpd.dataplane._root import Added as Added
from wfpd.dataplane._root import Root as Root
from wfpd.dataplane._root import merged_added as merged_added
from wfpd.dataplane._socket import configure_queue as configure_queue
from wfpd.dataplane._socket import queue_error as queue_error
from wfpd.dataplane._socket import size_receive_buffer as size_receive_buffer
from wfpd.dataplane._stats import bucket_bounds as bucket_bounds
from wfpd.dataplane._table import Snapshot as Snapshot
