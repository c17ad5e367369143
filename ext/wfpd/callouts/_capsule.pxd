"""The compiled callout in a capsule."""

from wfpd.callouts.api cimport WfpdCallout

# Valid as long as the capsule.  ValueError where this version cannot call it.
cdef const WfpdCallout* capsule_read(capsule) except NULL
