/* Accounts of builds with WFPD_DEBUG: memory taken and given back, packets received and verdicts sent.

   setup.py includes this file ahead of everything else in such a build, so that every allocation of a
   module is counted without a word in its source.  Each module has a set of its own (nothing is shared
   between the libraries); tests/accounts.py adds them up.  Other builds have the two empty functions. */
#ifndef WFPD_ACCOUNTS_H
#define WFPD_ACCOUNTS_H

#include <stdint.h>

#ifdef WFPD_DEBUG
#include <stdlib.h>
#include <sys/mman.h>

int64_t wfpd_allocated, wfpd_freed;     /* Pieces of memory. */
int64_t wfpd_received, wfpd_verdicts;   /* Packets of NFQUEUE, and those of them that a verdict sent decides. */

static inline void wfpd_account(int64_t *account, int64_t n) { __atomic_fetch_add(account, n, __ATOMIC_RELAXED); }
static inline void account_received(uint32_t n) { wfpd_account(&wfpd_received, n); }
static inline void account_verdicts(uint32_t n) { wfpd_account(&wfpd_verdicts, n); }

static inline void *wfpd_taken(void *memory) {
    if (memory) wfpd_account(&wfpd_allocated, 1);
    return memory;
}

static inline void *wfpd_grown(void *old, size_t size) {
    void *memory = realloc(old, size);
    return old ? memory : wfpd_taken(memory);
}

static inline void wfpd_given_back(void *memory) {
    if (memory) wfpd_account(&wfpd_freed, 1);
    free(memory);
}

static inline void *wfpd_mapped(void *memory) { return memory == MAP_FAILED ? memory : wfpd_taken(memory); }

static inline int wfpd_aligned(void **memory, size_t alignment, size_t size) {
    int status = posix_memalign(memory, alignment, size);
    if (status == 0) wfpd_taken(*memory);
    return status;
}

static inline int wfpd_unmapped(void *memory, size_t size) {
    wfpd_account(&wfpd_freed, 1);
    return munmap(memory, size);
}

#define malloc(size) wfpd_taken(malloc(size))
#define calloc(n, size) wfpd_taken(calloc(n, size))
#define realloc(memory, size) wfpd_grown(memory, size)
#define posix_memalign(memory, alignment, size) wfpd_aligned(memory, alignment, size)
#define free(memory) wfpd_given_back(memory)
#define mmap(...) wfpd_mapped(mmap(__VA_ARGS__))
#define munmap(memory, size) wfpd_unmapped(memory, size)

#else

static inline void account_received(uint32_t n) { (void)n; }
static inline void account_verdicts(uint32_t n) { (void)n; }

#endif
#endif
