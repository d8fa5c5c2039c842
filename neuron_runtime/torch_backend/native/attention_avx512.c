/* The two sums of attention on CPUs with AVX-512: sixteen tokens, or dimensions, in a register. Each
 * number is summed in the order of attention.c, so both give the same bits.
 */
#include "attention.h"

/* PERF: registers of sums for each query; together they are enough chains of additions to keep the
 * adders busy. */
enum { GROUP = 16, MOST_VECTORS = 4 };

WIDE __m512 load16(const void *from, int64_t at, int half) {
    if (!half) return _mm512_loadu_ps((const float *)from + at);
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)((const uint16_t *)from + at)));
}

INLINE int64_t block_at(const cx_cache *cache, const int32_t *table, int head, int token) {
    const int64_t block = table[token / cache->block_tokens];
    return (block * cache->kv_heads + head) * cache->dim * cache->block_tokens;
}

WIDE void score_groups(const cx_cache *cache, const int32_t *table, int head, const cx_query *query,
                       int count, int vectors, int token, int start, float scale, int half) {
    const int64_t dim = cache->dim, tokens = cache->block_tokens;
    int64_t first[MOST_VECTORS];
    __m512 acc[QUERIES][MOST_VECTORS];
    for (int v = 0; v < vectors; v++) {
        int own = token + GROUP * v;
        first[v] = block_at(cache, table, head, own) + own % (int)tokens;
        for (int i = 0; i < count; i++) acc[i][v] = _mm512_setzero_ps();
    }
    for (int64_t d = 0; d < dim; d++) {
        __m512 key[MOST_VECTORS];
        for (int v = 0; v < vectors; v++) key[v] = load16(cache->keys, first[v] + d * tokens, half);
        for (int i = 0; i < count; i++) {
            __m512 x = _mm512_set1_ps(query[i].query[d]);
            for (int v = 0; v < vectors; v++) acc[i][v] = _mm512_fmadd_ps(key[v], x, acc[i][v]);
        }
    }
    for (int i = 0; i < count; i++)
        for (int v = 0; v < vectors; v++)
            _mm512_storeu_ps(query[i].score + (token - start) + GROUP * v,
                             _mm512_mul_ps(acc[i][v], _mm512_set1_ps(scale)));
}

WIDE void scores(const cx_cache *cache, const int32_t *table, int head, const cx_query *query,
                 int count, int start, int end, float scale, int half) {
    const int vectors = count > 3 ? 2 : 4;
    int token = start;
    for (; token + GROUP * vectors <= end; token += GROUP * vectors)
        score_groups(cache, table, head, query, count, vectors, token, start, scale, half);
    for (; token < end; token += GROUP)
        score_groups(cache, table, head, query, count, 1, token, start, scale, half);
}

WIDE void sum_dimensions(const cx_cache *cache, const int32_t *table, int head,
                         const cx_query *query, int count, int vectors, int64_t d, int start,
                         int end, int half) {
    const int64_t dim = cache->dim, tokens = cache->block_tokens;
    __m512 acc[QUERIES][MOST_VECTORS];
    for (int i = 0; i < count; i++)
        for (int v = 0; v < vectors; v++) acc[i][v] = _mm512_setzero_ps();
    for (int at = start; at < end; at += (int)tokens) {
        const int64_t base = block_at(cache, table, head, at) + d;
        for (int64_t token = 0; token < tokens; token++) {
            __m512 value[MOST_VECTORS];
            for (int v = 0; v < vectors; v++)
                value[v] = load16(cache->values, base + token * dim + GROUP * v, half);
            for (int i = 0; i < count; i++) {
                __m512 weight = _mm512_set1_ps(query[i].score[at - start + token]);
                for (int v = 0; v < vectors; v++)
                    acc[i][v] = _mm512_fmadd_ps(value[v], weight, acc[i][v]);
            }
        }
    }
    for (int i = 0; i < count; i++)
        for (int v = 0; v < vectors; v++)
            _mm512_storeu_ps(query[i].out + d + GROUP * v,
                             _mm512_div_ps(acc[i][v], _mm512_set1_ps(query[i].total)));
}

WIDE void values(const cx_cache *cache, const int32_t *table, int head, const cx_query *query,
                 int count, int start, int end, int half) {
    const int vectors = count > 3 ? 2 : 4;
    int64_t d = 0;
    for (; d + GROUP * vectors <= cache->dim; d += GROUP * vectors)
        sum_dimensions(cache, table, head, query, count, vectors, d, start, end, half);
    for (; d < cache->dim; d += GROUP)
        sum_dimensions(cache, table, head, query, count, 1, d, start, end, half);
}

/* PERF: the number of queries and the kind of cache are constants in each case, so that sums stay in
 * registers. */
#define EACH_COUNT(CALL, HALF)                                                                     \
    switch (count) {                                                                               \
    case 1: CALL(1, HALF); return;                                                                 \
    case 2: CALL(2, HALF); return;                                                                 \
    case 3: CALL(3, HALF); return;                                                                 \
    case 4: CALL(4, HALF); return;                                                                 \
    case 5: CALL(5, HALF); return;                                                                 \
    default: CALL(6, HALF); return;                                                                \
    }

#define SCORES(COUNT, HALF) scores(cache, table, head, query, COUNT, start, end, scale, HALF)
#define VALUES(COUNT, HALF) values(cache, table, head, query, COUNT, start, end, HALF)

AVX512 void cx_wide_scores(const cx_cache *cache, const int32_t *table, int head,
                           const cx_query *query, int count, int start, int end, float scale) {
    if (cache->half) EACH_COUNT(SCORES, 1)
    EACH_COUNT(SCORES, 0)
}

AVX512 void cx_wide_values(const cx_cache *cache, const int32_t *table, int head,
                           const cx_query *query, int count, int start, int end) {
    if (cache->half) EACH_COUNT(VALUES, 1)
    EACH_COUNT(VALUES, 0)
}
