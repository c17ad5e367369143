"""Accounts of debug builds (_accounts.h); nothing in others."""

from libc.stdint cimport uint32_t

cdef extern from "_accounts.h":
    # n packets were read from a queue, and n more of them are decided by verdicts that go out.
    void account_received(uint32_t n) noexcept nogil
    void account_verdicts(uint32_t n) noexcept nogil
