/* The anchor of bench_classify: every rule in order of importance, until the first that holds.
 *
 * `columns` are the low bounds and spans of rule after rule, dimension by dimension; `points` the packets'
 * coordinates, `n_dims` each.  For packet p and sublayer s, found[p * n_sublayers + s] is the first rule
 * i with i % n_sublayers == s that holds p, or -1. */
#include <stdint.h>

void linear_scan(const uint32_t *columns, uint32_t n_rules, uint32_t n_dims, uint32_t n_sublayers,
                 const uint32_t *points, uint32_t n_points, int32_t *found) {
    for (uint32_t p = 0; p < n_points; p++) {
        const uint32_t *x = points + (uint64_t)p * n_dims;
        int32_t *answer = found + (uint64_t)p * n_sublayers;
        uint32_t left = n_sublayers;
        for (uint32_t s = 0; s < n_sublayers; s++) answer[s] = -1;
        const uint32_t *rule = columns;
        for (uint32_t i = 0; i < n_rules && left; i++, rule += 2 * n_dims) {
            uint32_t d = 0;
            while (d < n_dims && x[d] - rule[2 * d] <= rule[2 * d + 1]) d++;
            if (d == n_dims && answer[i % n_sublayers] < 0) {
                answer[i % n_sublayers] = (int32_t)i;
                left--;
            }
        }
    }
}
