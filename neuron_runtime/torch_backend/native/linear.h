/* What the files with products of rows and packed weights share. */
#ifndef CORTEX_LINEAR_H
#define CORTEX_LINEAR_H

#include "kernels.h"

#include <string.h>

/* STEPS in a group. PERF: the inputs of a PANEL of rows stay in the first-level cache while all blocks
 * are computed. */
enum { STEPS = CX_GROUP / 4, PANEL = 32 };

/* PERF: the same place of the next two blocks; a processor does not foresee two streams that end after
 * some kilobytes. */
INLINE void foresee(const void *from, int64_t next, int bytes) {
    for (int line = 0; line < bytes; line += 64) {
        _mm_prefetch((const char *)from + 2 * next + line, _MM_HINT_T0);
        _mm_prefetch((const char *)from + 3 * next + line, _MM_HINT_T0);
    }
}

/* Compute all rows' outputs of the blocks from `first`, two at a time; returns the first block that is
 * left, which is `last` or the one before. */
int cx_wide_blocks(const cx_linear *linear, const cx_input *in, int rows, int first, int last,
                   float *out, int add);

#endif
