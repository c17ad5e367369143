/* Eight boxes at a time: which of them hold a point.
 *
 * A leaf is a header of 8 words (entries, tested dimensions, then their numbers as bytes) and blocks.  A
 * block is one pair of vectors (8 low bounds, 8 spans) for each tested dimension, then 8 filters and 8
 * words about them.  (x - lo) > span, unsigned, says "outside" for ranges and equality alike; both bounds
 * are stored LEAF_BIAS higher, which makes it the signed comparison that every vector unit has.
 *
 * The same body is compiled for AVX2 and for the baseline; which one runs is chosen by the CPU that loaded
 * the module (leaf_level).  Not target_clones: its resolvers run before a sanitizer has set itself up. */
#ifndef WFPD_LEAF_H
#define WFPD_LEAF_H

#include <stdint.h>

enum { LEAF_LANES = 8, LEAF_HEADER = 8, LEAF_CHUNK = 8 };
#define LEAF_BIAS 0x80000000u

typedef int32_t leaf_s4 __attribute__((vector_size(16)));
typedef uint32_t leaf_v4 __attribute__((vector_size(16)));
typedef float leaf_f4 __attribute__((vector_size(16)));
typedef int32_t leaf_s8 __attribute__((vector_size(32)));
typedef uint32_t leaf_v8 __attribute__((vector_size(32)));
typedef float leaf_f8 __attribute__((vector_size(32)));

/* A function of its own, so that the two forms can be told apart in the machine code. */
#define LEAF_FORM static __attribute__((noinline))

/* From block *at on, before block `until`, the first that holds `x` in some lane: those lanes, and *at =
 * that block.  0 and *at = `until` if there is none.  OUTSIDE sets the bits of the lanes of `block` that do
 * not hold `x`, OUTSIDE_TWO those of two blocks in a row, eight bits each.  A leaf's first block is looked at
 * alone: most matches are there, and small leaves have no other. */
#define LEAF_NEXT(name, OUTSIDE, OUTSIDE_TWO)                                                         \
    LEAF_FORM uint32_t name(const uint32_t *leaf, const uint32_t *x, uint32_t *at, uint32_t until) {  \
        const uint32_t n = leaf[0], n_dims = leaf[1], blocks = (n + LEAF_LANES - 1) / LEAF_LANES;     \
        const uint32_t words = 2 * LEAF_LANES * (n_dims + 1);                                         \
        const uint8_t *dims = (const uint8_t *)(leaf + 2);                                            \
        const uint32_t *block = leaf + LEAF_HEADER + (uint64_t)*at * words;                           \
        uint32_t b = *at, step, i, bits;                                                              \
        for (; b < until; b += step, block += step * words) {                                         \
            step = 1 + (b > 0 && b + 1 < until);                                                      \
            if (step == 2) {                                                                          \
                OUTSIDE_TWO(block, x, dims, n_dims, words, i, bits)                                   \
            } else {                                                                                  \
                OUTSIDE(block, x, dims, n_dims, i, bits)                                              \
                bits |= 0xFF00u;                                                                      \
            }                                                                                         \
            uint32_t lanes = ~bits & 0xFFFFu;                                                         \
            if (b + step == blocks) lanes &= 0xFFFFu >> (LEAF_LANES * (blocks + 2 - step) - n);       \
            if (lanes) {                                                                              \
                *at = b + !(lanes & 0xFFu);                                                           \
                return lanes & 0xFFu ? lanes & 0xFFu : lanes >> 8;                                    \
            }                                                                                         \
        }                                                                                             \
        *at = until;                                                                                  \
        return 0;                                                                                     \
    }

/* Of `count` blocks from block `at` on, at most LEAF_CHUNK, the lanes that hold `x`, eight bits a block.  No branch
 * depends on them: several matches are to come. */
#define LEAF_MASKS(name, OUTSIDE)                                                                     \
    LEAF_FORM uint64_t name(const uint32_t *leaf, const uint32_t *x, uint32_t at, uint32_t count) {   \
        const uint32_t n = leaf[0], n_dims = leaf[1];                                                 \
        const uint32_t words = 2 * LEAF_LANES * (n_dims + 1);                                         \
        const uint8_t *dims = (const uint8_t *)(leaf + 2);                                            \
        const uint32_t *block = leaf + LEAF_HEADER + (uint64_t)at * words;                            \
        const uint64_t left = n - (uint64_t)LEAF_LANES * at;                                          \
        uint64_t masks = 0;                                                                           \
        uint32_t b, i, bits;                                                                          \
        for (b = 0; b < count; b++, block += words) {                                                 \
            OUTSIDE(block, x, dims, n_dims, i, bits)                                                  \
            masks |= (uint64_t)(~bits & 0xFFu) << (LEAF_LANES * b);                                   \
        }                                                                                             \
        return left < 64 ? masks & ~(~(uint64_t)0 << left) : masks;                                   \
    }

/* Two vectors of four: wider ones would be taken apart into scalars by a compiler that lacks them. */
#define LEAF_OUTSIDE4(block, x, dims, n_dims, i, bits)                                                \
    const leaf_v4 *pair = (const leaf_v4 *)(const void *)(block);                                     \
    leaf_s4 first = {0}, second = {0};                                                                \
    for (i = 0; i < n_dims; i++, pair += 4) {                                                         \
        const uint32_t c = x[dims[i]];                                                                \
        const leaf_v4 v = {c, c, c, c};                                                               \
        first |= (leaf_s4)(v - pair[0]) > (leaf_s4)pair[2];                                           \
        second |= (leaf_s4)(v - pair[1]) > (leaf_s4)pair[3];                                          \
    }                                                                                                 \
    bits = leaf_bits4(first) | leaf_bits4(second) << 4;

static inline uint32_t leaf_bits4(leaf_s4 outside) {
#if defined(__SSE__)
    return (uint32_t)__builtin_ia32_movmskps((leaf_f4)outside);
#else
    return (uint32_t)((outside[0] & 1) | (outside[1] & 2) | (outside[2] & 4) | (outside[3] & 8));
#endif
}
#define LEAF_OUTSIDE4_TWO(block, x, dims, n_dims, words, i, bits)                                     \
    uint32_t low;                                                                                     \
    { LEAF_OUTSIDE4(block, x, dims, n_dims, i, low) }                                                 \
    { LEAF_OUTSIDE4(block + words, x, dims, n_dims, i, bits) }                                        \
    bits = low | bits << 8;
LEAF_NEXT(leaf_next_plain, LEAF_OUTSIDE4, LEAF_OUTSIDE4_TWO)
LEAF_MASKS(leaf_masks_plain, LEAF_OUTSIDE4)

#if defined(__x86_64__)
#define LEAF_OUTSIDE8(block, x, dims, n_dims, i, bits)                                                \
    const leaf_v8 *pair = (const leaf_v8 *)(const void *)(block);                                     \
    leaf_s8 outside = {0};                                                                            \
    for (i = 0; i < n_dims; i++, pair += 2) {                                                         \
        const uint32_t c = x[dims[i]];                                                                \
        const leaf_v8 v = {c, c, c, c, c, c, c, c};                                                   \
        outside |= (leaf_s8)(v - pair[0]) > (leaf_s8)pair[1];                                         \
    }                                                                                                 \
    bits = (uint32_t)__builtin_ia32_movmskps256((leaf_f8)outside);
#define LEAF_OUTSIDE8_TWO(block, x, dims, n_dims, words, i, bits)                                     \
    const leaf_v8 *pair = (const leaf_v8 *)(const void *)(block);                                     \
    const leaf_v8 *next = (const leaf_v8 *)(const void *)(block + words);                             \
    leaf_s8 outside = {0}, beyond = {0};                                                              \
    for (i = 0; i < n_dims; i++, pair += 2, next += 2) {                                              \
        const uint32_t c = x[dims[i]];                                                                \
        const leaf_v8 v = {c, c, c, c, c, c, c, c};                                                   \
        outside |= (leaf_s8)(v - pair[0]) > (leaf_s8)pair[1];                                         \
        beyond |= (leaf_s8)(v - next[0]) > (leaf_s8)next[1];                                          \
    }                                                                                                 \
    bits = (uint32_t)__builtin_ia32_movmskps256((leaf_f8)outside) |                                   \
           (uint32_t)__builtin_ia32_movmskps256((leaf_f8)beyond) << 8;
__attribute__((target("avx2"))) LEAF_NEXT(leaf_next_avx2, LEAF_OUTSIDE8, LEAF_OUTSIDE8_TWO)
__attribute__((target("avx2"))) LEAF_MASKS(leaf_masks_avx2, LEAF_OUTSIDE8)
static inline int leaf_level(void) { return __builtin_cpu_supports("avx2") != 0; }
#else
#define leaf_next_avx2 leaf_next_plain
#define leaf_masks_avx2 leaf_masks_plain
static inline int leaf_level(void) { return 0; }
#endif

/* `level` as leaf_level() said. */
static inline uint32_t leaf_next(const uint32_t *leaf, const uint32_t *x, uint32_t *at, uint32_t until, int level) {
    return level ? leaf_next_avx2(leaf, x, at, until) : leaf_next_plain(leaf, x, at, until);
}

static inline uint64_t leaf_masks(const uint32_t *leaf, const uint32_t *x, uint32_t at, uint32_t count, int level) {
    return level ? leaf_masks_avx2(leaf, x, at, count) : leaf_masks_plain(leaf, x, at, count);
}

static inline uint32_t lowest_bit_of(uint64_t mask) { return (uint32_t)__builtin_ctzll(mask); }
static inline uint32_t lowest_bit(uint32_t mask) { return (uint32_t)__builtin_ctz(mask); }

#endif
