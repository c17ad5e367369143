/* The anchor of bench_classify: every box in order of importance, until each sublayer has its rule.
 *
 * `columns` are (low bound, span) pairs, `n_dims` a box; `rules` the rule of each box, ascending; a rule's
 * sublayer is its number modulo `n_sublayers`.  `points` are the packets' coordinates.  For packet p and
 * sublayer s, found[p * n_sublayers + s] is the first rule that holds p, or -1. */
#include <stdint.h>

void linear_scan(const uint32_t *columns, const uint32_t *rules, uint32_t n_boxes, uint32_t n_dims,
                 uint32_t n_sublayers, const uint32_t *points, uint32_t n_points, int32_t *found) {
    for (uint32_t p = 0; p < n_points; p++) {
        const uint32_t *x = points + (uint64_t)p * n_dims;
        int32_t *answer = found + (uint64_t)p * n_sublayers;
        uint32_t left = n_sublayers;
        for (uint32_t s = 0; s < n_sublayers; s++) answer[s] = -1;
        const uint32_t *box = columns;
        for (uint32_t i = 0; i < n_boxes && left; i++, box += 2 * n_dims) {
            uint32_t d = 0;
            while (d < n_dims && x[d] - box[2 * d] <= box[2 * d + 1]) d++;
            if (d == n_dims && answer[rules[i] % n_sublayers] < 0) {
                answer[rules[i] % n_sublayers] = (int32_t)rules[i];
                left--;
            }
        }
    }
}
