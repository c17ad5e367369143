"""Reading a compiled callout's capsule: whether it is one, and of this abi."""

from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_IsValid, PyCapsule_New
from libc.string cimport memset

from wfpd.callouts.api cimport WFPD_CALLOUT_ABI, WFPD_CAPSULE, WfpdCallout


cdef const WfpdCallout* capsule_read(capsule) except NULL:
    cdef const WfpdCallout* callout
    if not PyCapsule_IsValid(capsule, WFPD_CAPSULE):
        raise ValueError(f"`native` is no capsule named {WFPD_CAPSULE.decode()}")
    callout = <const WfpdCallout*>PyCapsule_GetPointer(capsule, WFPD_CAPSULE)
    if callout.abi != WFPD_CALLOUT_ABI or callout.size < sizeof(WfpdCallout):
        raise ValueError(
            f"the callout is compiled for abi {callout.abi} with a struct of {callout.size} bytes, this wfpd has "
            f"abi {int(WFPD_CALLOUT_ABI)} with {sizeof(WfpdCallout)} bytes: compile it against this wfpd")
    if callout.classify == NULL:
        raise ValueError("the compiled callout has no classify")
    return callout


def check_capsule(capsule) -> None:
    """ValueError where `capsule` holds no compiled callout that this version can call."""
    capsule_read(capsule)


cdef class Broken:
    """For tests: a compiled callout that says of itself what it is told to say, and has no classify."""

    cdef WfpdCallout callout
    cdef readonly object native

    def __cinit__(self, *, unsigned int abi=WFPD_CALLOUT_ABI, unsigned int size=sizeof(WfpdCallout)):
        memset(&self.callout, 0, sizeof(WfpdCallout))
        self.callout.abi, self.callout.size = abi, size
        self.native = PyCapsule_New(&self.callout, WFPD_CAPSULE, NULL)
