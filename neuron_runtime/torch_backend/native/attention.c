/* Attention of a few query vectors over a paged cache.
 *
 * Keys lie with their tokens side by side, so that one register holds the same dimension of eight
 * tokens: scores need no sum across lanes. Values lie with their dimensions side by side. Each piece
 * of the cache is converted once for all queries that read it: the query heads of one kv head, and
 * neighbouring rows of one prompt.
 */
#include "attention.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* PERF: the queries of one row are too few chains of additions to keep the adders busy with one
 * register each. */
enum { PAIR = 2, ROWS_AT_ONCE = 2 };

#define LARGEST_HALF 65504.0f

INLINE __m256 load8(const void *from, int64_t at, int half) {
    return half ? cx_half8((const uint16_t *)from + at) : _mm256_loadu_ps((const float *)from + at);
}

/* SAFETY: rows weigh what they do not see with 0, and 0 times what is no finite number is no number.
 * It would reach tokens before it and, once the block is somebody else's, other sequences. */
static void store1(void *to, int64_t at, int half, float value) {
    if (!isfinite(value)) value = 0;
    if (half) {
        value = value > LARGEST_HALF ? LARGEST_HALF : value < -LARGEST_HALF ? -LARGEST_HALF : value;
        ((uint16_t *)to)[at] = _cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT);
    } else {
        ((float *)to)[at] = value;
    }
}

void cx_store(const cx_cache *cache, int32_t block, int32_t slot, const float *key,
              const float *value) {
    const int64_t dim = cache->dim, tokens = cache->block_tokens;
    for (int head = 0; head < cache->kv_heads; head++, key += dim, value += dim) {
        const int64_t base = ((int64_t)block * cache->kv_heads + head) * dim * tokens;
        for (int64_t d = 0; d < dim; d++) store1(cache->keys, base + d * tokens + slot, cache->half, key[d]);
        for (int64_t d = 0; d < dim; d++) store1(cache->values, base + slot * dim + d, cache->half, value[d]);
    }
}

/* A row of scores is padded to whole blocks, of 64 tokens at most. */
int64_t cx_attention_scratch(const cx_batch *batch) {
    int64_t longest = 0;
    for (int row = 0; row < batch->rows; row++)
        if (batch->position[row] > longest) longest = batch->position[row];
    return QUERIES * (longest + 129);
}

int cx_cut_tiles(const cx_batch *batch, int32_t *tile) {
    int tiles = 0;
    for (int row = 0; row < batch->rows;) {
        int end = row + 1;
        while (end < batch->rows && end - row < ROWS_AT_ONCE &&
               batch->table_of[end] == batch->table_of[row])
            end++;
        tile[tiles++] = row;
        row = end;
    }
    tile[tiles] = batch->rows;
    return tiles;
}

/* Score `width` times eight tokens of a block, which begin at `first` in the cache. */
INLINE void score_tokens(const cx_cache *cache, int64_t first, const cx_query *query, int count,
                         int width, int64_t at, float scale, int half) {
    const int64_t dim = cache->dim, tokens = cache->block_tokens;
    __m256 acc[QUERIES][PAIR];
    for (int i = 0; i < count; i++)
        for (int v = 0; v < width; v++) acc[i][v] = _mm256_setzero_ps();
    for (int64_t d = 0; d < dim; d++) {
        __m256 key[PAIR];
        for (int v = 0; v < width; v++) key[v] = load8(cache->keys, first + d * tokens + 8 * v, half);
        for (int i = 0; i < count; i++) {
            __m256 x = _mm256_set1_ps(query[i].query[d]);
            for (int v = 0; v < width; v++) acc[i][v] = _mm256_fmadd_ps(key[v], x, acc[i][v]);
        }
    }
    for (int i = 0; i < count; i++)
        for (int v = 0; v < width; v++)
            _mm256_storeu_ps(query[i].score + at + 8 * v,
                             _mm256_mul_ps(acc[i][v], _mm256_set1_ps(scale)));
}

INLINE void score_block(const cx_cache *cache, int64_t base, const cx_query *query, int count, int at,
                        float scale, int half) {
    int64_t token = 0;
    for (; token + 16 <= cache->block_tokens; token += 16)
        score_tokens(cache, base + token, query, count, 2, at + token, scale, half);
    if (token < cache->block_tokens)
        score_tokens(cache, base + token, query, count, 1, at + token, scale, half);
}

/* Turn scores of [start, end) into weights that are not yet divided by their sum. */
static void weigh(cx_query *query, int start, int end) {
    float *score = query->score - start;
    for (int p = start; p < query->from; p++) score[p] = -INFINITY;
    for (int p = query->to; p < end; p++) score[p] = -INFINITY;
    __m256 most = _mm256_set1_ps(-INFINITY), total = _mm256_setzero_ps();
    for (int p = start; p < end; p += 8) most = _mm256_max_ps(most, _mm256_loadu_ps(score + p));
    const __m256 largest = _mm256_set1_ps(cx_max8(most));
    for (int p = start; p < end; p += 8) {
        __m256 weight = cx_exp8(_mm256_sub_ps(_mm256_loadu_ps(score + p), largest));
        total = _mm256_add_ps(total, weight);
        _mm256_storeu_ps(score + p, weight);
    }
    query->total = cx_sum8(total);
}

/* Sum up `width` times eight dimensions of the values, from `d` on. */
INLINE void gather_dimensions(const cx_cache *cache, const int32_t *table, int head,
                              const cx_query *query, int count, int width, int64_t d, int start,
                              int end, int half) {
    const int64_t dim = cache->dim, tokens = cache->block_tokens;
    __m256 acc[QUERIES][PAIR];
    for (int i = 0; i < count; i++)
        for (int v = 0; v < width; v++) acc[i][v] = _mm256_setzero_ps();
    for (int at = start; at < end; at += (int)tokens) {
        const int64_t base = ((int64_t)table[at / tokens] * cache->kv_heads + head) * dim * tokens;
        for (int64_t token = 0; token < tokens; token++) {
            const int64_t from = base + token * dim + d;
            __m256 value[PAIR];
            for (int v = 0; v < width; v++) value[v] = load8(cache->values, from + 8 * v, half);
            for (int i = 0; i < count; i++) {
                __m256 weight = _mm256_set1_ps(query[i].score[at - start + token]);
                for (int v = 0; v < width; v++)
                    acc[i][v] = _mm256_fmadd_ps(value[v], weight, acc[i][v]);
            }
        }
    }
    for (int i = 0; i < count; i++)
        for (int v = 0; v < width; v++)
            _mm256_storeu_ps(query[i].out + d + 8 * v,
                             _mm256_div_ps(acc[i][v], _mm256_set1_ps(query[i].total)));
}

INLINE void gather_values(const cx_cache *cache, const int32_t *table, int head,
                          const cx_query *query, int count, int start, int end, int half) {
    int64_t d = 0;
    for (; d + 16 <= cache->dim; d += 16)
        gather_dimensions(cache, table, head, query, count, 2, d, start, end, half);
    if (d < cache->dim)
        gather_dimensions(cache, table, head, query, count, 1, d, start, end, half);
}

INLINE void attend(const cx_cache *cache, const int32_t *table, int head, cx_query *query,
                   int count, float scale, int half) {
    const int tokens = cache->block_tokens;
    int start = query[0].from, end = query[0].to;
    for (int i = 1; i < count; i++) {
        if (query[i].from < start) start = query[i].from;
        if (query[i].to > end) end = query[i].to;
    }
    start = start / tokens * tokens;
    end = (end + tokens - 1) / tokens * tokens;
    const int wide = cx_is_wide(cache);
    if (wide) cx_wide_scores(cache, table, head, query, count, start, end, scale);
    for (int at = start; at < end && !wide; at += tokens) {
        const int64_t base =
            ((int64_t)table[at / tokens] * cache->kv_heads + head) * cache->dim * tokens;
        score_block(cache, base, query, count, at - start, scale, half);
    }
    for (int i = 0; i < count; i++) weigh(&query[i], start, end);
    if (wide)
        cx_wide_values(cache, table, head, query, count, start, end);
    else
        gather_values(cache, table, head, query, count, start, end, half);
}

#define ATTEND(HALF)                                                                               \
    switch (count) {                                                                               \
        case 1: attend(cache, table, head, query, 1, scale, HALF); break;                          \
        case 2: attend(cache, table, head, query, 2, scale, HALF); break;                          \
        case 3: attend(cache, table, head, query, 3, scale, HALF); break;                          \
        case 4: attend(cache, table, head, query, 4, scale, HALF); break;                          \
        case 5: attend(cache, table, head, query, 5, scale, HALF); break;                          \
        default: attend(cache, table, head, query, 6, scale, HALF);                                \
    }

static void attend_some(const cx_cache *cache, const int32_t *table, int head, cx_query *query,
                        int count, float scale) {
    if (cache->half) {
        ATTEND(1)
    } else {
        ATTEND(0)
    }
}

void cx_attend(const cx_cache *cache, const int32_t *table, int32_t head, const float *query,
               int32_t stride, float *out, int32_t out_stride, int rows, int heads, int32_t first,
               int32_t window, float scale, float *scratch) {
    const int dim = cache->dim, total = rows * heads;
    for (int done = 0; done < total;) {
        cx_query some[QUERIES];
        int count = total - done < QUERIES ? total - done : QUERIES;
        int last = (done + count - 1) / heads;
        for (int i = 0; i < count; i++, done++) {
            int row = done / heads, which = done % heads, position = first + row;
            int from = window > 0 && position >= window ? position - window + 1 : 0;
            some[i] = (cx_query){query + (int64_t)row * stride + which * dim,
                                 out + (int64_t)row * out_stride + which * dim,
                                 scratch + (int64_t)i * (first + last + 128), 0, from, position + 1};
        }
        attend_some(cache, table, head, some, count, scale);
    }
}

/* -- one layer by itself ------------------------------------------------------------------------ */

typedef struct {
    const cx_cache *cache;
    const cx_batch *batch;
    const float *query, *key, *value;
    float *out, *scratch, scale;
    int64_t scratch_floats;
    int32_t *tile, tiles, heads, window;
} attention_job;

static void run_attention(void *context, cx_thread *self) {
    attention_job *job = context;
    const cx_cache *cache = job->cache;
    const cx_batch *b = job->batch;
    const int tokens = cache->block_tokens, dim = cache->dim;
    const int group = job->heads / cache->kv_heads, width = job->heads * dim;
    int at, end;
    while (cx_take(self, b->rows, 1, &at, &end)) {
        const int32_t *table = b->tables + (int64_t)b->table_of[at] * b->table_stride;
        const int64_t from = (int64_t)at * cache->kv_heads * dim;
        cx_store(cache, table[b->position[at] / tokens], b->position[at] % tokens, job->key + from,
                 job->value + from);
    }
    cx_barrier(self);
    while (cx_take(self, job->tiles * cache->kv_heads, 1, &at, &end)) {
        const int64_t row = job->tile[at / cache->kv_heads];
        const int rows = job->tile[at / cache->kv_heads + 1] - (int)row, head = at % cache->kv_heads;
        const int64_t from = row * width + (int64_t)head * group * dim;
        cx_attend(cache, b->tables + (int64_t)b->table_of[row] * b->table_stride, head,
                  job->query + from, width, job->out + from, width, rows, group, b->position[row],
                  job->window, job->scale, job->scratch + job->scratch_floats * self->id);
    }
}

int cx_attention(cx_pool *pool, const cx_cache *cache, const cx_batch *batch, const float *query,
                 const float *key, const float *value, int32_t heads, int32_t window, float scale,
                 float *out) {
    int64_t floats = cx_attention_scratch(batch);
    size_t scratch = (size_t)floats * (size_t)cx_pool_threads(pool) * sizeof(float);
    char *memory = malloc(scratch + ((size_t)batch->rows + 1) * sizeof(int32_t));
    if (!memory) return -ENOMEM;
    attention_job job = {cache,  batch, query, key, value, out,  (float *)memory, scale,
                         floats, (int32_t *)(memory + scratch), 0, heads, window};
    job.tiles = cx_cut_tiles(batch, job.tile);
    cx_pool_run(pool, run_attention, &job);
    free(memory);
    return 0;
}
