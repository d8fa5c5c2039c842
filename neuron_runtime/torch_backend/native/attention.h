/* What the files with attention share. */
#ifndef CORTEX_ATTENTION_H
#define CORTEX_ATTENTION_H

#include "kernels.h"

/* PERF: six queries times two registers are as many sums as AVX2's registers hold beside what is read. */
enum { QUERIES = 6 };

typedef struct {
    const float *query;
    float *out, *score, total;
    int from, to; /* positions that it may see: [from, to) */
} cx_query;

/* Whether the two below can be used for the cache. */
static inline int cx_is_wide(const cx_cache *cache) {
    return cx_wide && cache->block_tokens % 16 == 0 && cache->dim % 16 == 0;
}
/* Score the tokens [start, end), which are whole blocks, for up to QUERIES queries. */
void cx_wide_scores(const cx_cache *cache, const int32_t *table, int head, const cx_query *query,
                    int count, int start, int end, float scale);
/* Sum up their values by what the scores have become. */
void cx_wide_values(const cx_cache *cache, const int32_t *table, int head, const cx_query *query,
                    int count, int start, int end);

#endif
