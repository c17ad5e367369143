"""What an engine consists of, as far as it is read."""

from libc.stdint cimport uint32_t

from ._batch cimport QueueState, Worker
from ._flow cimport Flows
from ._last_hits cimport LastHits
from ._parking cimport Parking
from ._publication cimport Publication

cdef class Readings:
    cdef Worker* workers            # [n_workers]
    cdef readonly uint32_t n_workers
    cdef readonly Flows flows
    cdef Publication current        # None: no policy yet.
    cdef list stats                 # Stats, one a worker
    cdef list contexts              # ClassifyContext, one a worker
    cdef list states                # "new", "running", "stopped", "dead", one a worker
    cdef LastHits last
    cdef dict queue_workers         # number -> worker index; the parking queue's is n_workers.
    cdef Parking parking            # None until add_parking().

    # By index; the parking queue's is n_workers, which may be asked for once there is one.
    cdef Worker* _worker(self, uint32_t index) noexcept
    cdef QueueState* _queue(self, number) except NULL
