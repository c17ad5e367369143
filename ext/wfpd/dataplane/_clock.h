/* The system's clocks in nanoseconds. */
#ifndef WFPD_CLOCK_H
#define WFPD_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t wfpd_clock(clockid_t which) {
    struct timespec now;
    clock_gettime(which, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline uint64_t wfpd_monotonic(void) { return wfpd_clock(CLOCK_MONOTONIC); }

#endif
