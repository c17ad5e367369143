/* Sixteen boxes at a time: which of them hold a point.
 *
 * A block is `n` pairs of vectors (16 low bounds, 16 spans), one pair for each dimension that the
 * leaf tests.  (x - lo) <= span, unsigned, says "inside" for ranges and equality alike.  The same
 * body is compiled for AVX2 and for the baseline, chosen once when tables are built: no ifunc, so
 * sanitizers and static linking keep working. */
#ifndef WFPD_LEAF_H
#define WFPD_LEAF_H

#include <stdint.h>

typedef uint32_t leaf_v8 __attribute__((vector_size(32)));
typedef float leaf_f8 __attribute__((vector_size(32)));
typedef float leaf_f4 __attribute__((vector_size(16)));

#define LEAF_OUTSIDE(block, dims, n, x, first, second)                                  \
    leaf_v8 first = {0}, second = {0};                                                  \
    for (uint32_t i_ = 0; i_ < (n); i_++) {                                             \
        const leaf_v8 *p_ = (const leaf_v8 *)(const void *)((block) + 32 * i_);         \
        uint32_t c_ = (x)[(dims)[i_]];                                                  \
        leaf_v8 v_ = {c_, c_, c_, c_, c_, c_, c_, c_};                                  \
        first |= (leaf_v8)((v_ - p_[0]) > p_[2]);                                       \
        second |= (leaf_v8)((v_ - p_[1]) > p_[3]);                                      \
    }

#if defined(__x86_64__)
__attribute__((target("avx2"))) static inline uint32_t leaf_block_avx2(const uint32_t *block, const uint8_t *dims,
                                                                       uint32_t n, const uint32_t *x) {
    LEAF_OUTSIDE(block, dims, n, x, a, b)
    uint32_t out = (uint32_t)__builtin_ia32_movmskps256((leaf_f8)a) |
                   (uint32_t)__builtin_ia32_movmskps256((leaf_f8)b) << 8;
    return ~out & 0xFFFFu;
}

static int leaf_has_avx2(void) { return __builtin_cpu_supports("avx2") != 0; }
#else
#define leaf_block_avx2 leaf_block_plain
static int leaf_has_avx2(void) { return 0; }
#endif

static inline uint32_t leaf_block_plain(const uint32_t *block, const uint8_t *dims, uint32_t n, const uint32_t *x) {
    uint32_t out = 0;
    LEAF_OUTSIDE(block, dims, n, x, a, b)
#if defined(__x86_64__)
    union { leaf_v8 v[2]; leaf_f4 q[4]; } u;
    u.v[0] = a;
    u.v[1] = b;
    for (int i = 0; i < 4; i++) out |= (uint32_t)__builtin_ia32_movmskps(u.q[i]) << (4 * i);
#else
    for (int i = 0; i < 8; i++) out |= (a[i] & 1u) << i | (b[i] & 1u) << (i + 8);
#endif
    return ~out & 0xFFFFu;
}

/* Lanes of the block that hold the point `x`; `wide` = AVX2 may be used. */
static inline uint32_t leaf_block(const uint32_t *block, const uint8_t *dims, uint32_t n, const uint32_t *x, int wide) {
    return wide ? leaf_block_avx2(block, dims, n, x) : leaf_block_plain(block, dims, n, x);
}

static inline uint32_t lowest_bit(uint32_t mask) { return (uint32_t)__builtin_ctz(mask); }

#endif
