/* Kernels of the CPU path: linear layers over packed weights, attention over a paged cache, and a
 * whole decoder step. x86-64 with AVX2, FMA and F16C; cx_supported() says whether this CPU has them.
 * Products of integers and attention use AVX-512 with VNNI where there is any, with the same results.
 *
 * Every result depends on its own row alone: the order of each sum is fixed, whatever the batch and
 * the number of threads. So a sequence gets the same tokens alone and in a full batch.
 */
#ifndef CORTEX_KERNELS_H
#define CORTEX_KERNELS_H

#include <immintrin.h>
#include <stdatomic.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
#define WIDE INLINE AVX512

#define CX_GROUP 32 /* inputs that share one scale */
#define CX_BLOCK 8  /* outputs that are computed together: the 32-bit lanes of a register */

/* -- threads (pool.c) --------------------------------------------------------------------------- */

typedef struct cx_pool cx_pool;
typedef struct {
    cx_pool *pool;
    int id;
} cx_thread;
typedef void (*cx_job)(void *context, cx_thread *self);

cx_pool *cx_pool_new(int threads);
void cx_pool_free(cx_pool *pool);
int cx_pool_threads(const cx_pool *pool);
/* Run job on every thread, the caller's among them; returns when all have finished. */
void cx_pool_run(cx_pool *pool, cx_job job, void *context);
/* Wait for all threads of the job; afterwards cx_take() counts from 0 again. */
void cx_barrier(cx_thread *self);
/* Take the next `chunk` of `total` items; 0 when none are left. */
int cx_take(cx_thread *self, int total, int chunk, int *first, int *last);
int cx_threads(const cx_thread *self);

/* -- linear layers (linear.c) ------------------------------------------------------------------- */

enum { CX_F16 = 0, CX_INT8 = 1, CX_INT4 = 2 };

/* out = in * weight^T + bias. Weights are packed in blocks of CX_BLOCK outputs, padded with zeros:
 * F16   [block][input][8 outputs], float16
 * INT8  [block][group][8 steps][8 outputs][4 inputs], int8; scales [block][group][8], float16
 * INT4  [block][group][4 pairs of steps][8 outputs][4 inputs], two unsigned nibbles a byte, the
 *       low one of the pair's first step; scales and minima [block][group][8], float16
 * A step is four inputs, a group eight steps. weight = scale * q (+ minimum). */
typedef struct {
    int32_t format, inputs, outputs, groups;
    const void *weight;
    const uint16_t *scale, *minimum;
    const float *bias; /* padded like the outputs, or NULL */
} cx_linear;

/* Rows of inputs as a linear layer reads them: floats, or int8 with one scale a group. */
typedef struct {
    const float *value;
    int8_t *q;
    float *scale, *sum; /* [row][group]: scale, and scale times the sum of the group's q */
    int32_t *total;     /* [row][group]: that sum */
    int32_t stride;     /* floats a row of value */
} cx_input;

int64_t cx_packed_bytes(int32_t format, int32_t outputs, int32_t inputs);
/* Pack rows [outputs][inputs], stored as 0 float32, 1 bfloat16 or 2 float16; quantises INT8 and INT4
 * by groups, rounding to nearest. */
void cx_pack(int32_t format, int32_t stored, const void *rows, int32_t outputs, int32_t inputs,
             void *weight, uint16_t *scale, uint16_t *minimum);
/* Quantise a row into row `at` of `to`. */
void cx_quantize_row(const float *row, int32_t inputs, const cx_input *to, int64_t at);
/* Compute with the other threads of the job all rows' outputs, [rows][outputs], until none are left to
 * take; add = 1 adds to what out holds. */
void cx_linear_share(cx_thread *self, const cx_linear *linear, const cx_input *in, int rows,
                     float *out, int add);
/* One layer by itself: rows [rows][inputs] to out [rows][outputs]. Returns 0 or -ENOMEM. */
int cx_linear_forward(cx_pool *pool, const cx_linear *linear, const float *rows, int32_t count,
                      float *out);

/* -- attention (attention.c) -------------------------------------------------------------------- */

/* Keys [block][kv head][dim][token], values [block][kv head][token][dim], float32 or float16. All are
 * finite: what is not is kept as 0, and what float16 cannot hold as the largest that it can. */
typedef struct {
    void *keys, *values;
    int32_t half, kv_heads, dim, block_tokens;
} cx_cache;

/* Rows of a batch: where each stands in its sequence, and which table of blocks is its own. Rows of
 * one sequence are neighbours with ascending positions. */
typedef struct {
    int32_t rows, logit_rows, table_stride;
    const int32_t *position, *table_of, *tables; /* [rows], [rows], [tables][table_stride] */
    const int32_t *logit_row;                    /* [logit_rows], rows whose logits are wanted */
} cx_batch;

void cx_store(const cx_cache *cache, int32_t block, int32_t slot, const float *key,
              const float *value);
/* Neighbouring rows of one sequence are attended together, so that they read the cache once: tile i
 * is rows [tile[i], tile[i + 1]). tile has room for rows + 1 numbers; returns how many tiles. */
int cx_cut_tiles(const cx_batch *batch, int32_t *tile);
/* Floats of scratch that a thread needs for the batch. */
int64_t cx_attention_scratch(const cx_batch *batch);
/* Attention of `rows` neighbouring rows of one sequence (positions first, first + 1, ...) for one kv
 * head, to which `heads` query heads belong. query and out point at the first row's first head of
 * these; `stride` and `out_stride` are floats from row to row. window 0 is unlimited. */
void cx_attend(const cx_cache *cache, const int32_t *table, int32_t head, const float *query,
               int32_t stride, float *out, int32_t out_stride, int rows, int heads, int32_t first,
               int32_t window, float scale, float *scratch);

/* Store keys and values [rows][kv heads][dim] of one layer, then let each row's queries
 * [rows][heads][dim] see its sequence up to itself. out is shaped like the queries. Returns 0 or
 * -ENOMEM, in which case nothing has been stored. */
int cx_attention(cx_pool *pool, const cx_cache *cache, const cx_batch *batch, const float *query,
                 const float *key, const float *value, int32_t heads, int32_t window, float scale,
                 float *out);

/* -- decoder (decoder.c) ------------------------------------------------------------------------ */

typedef struct {
    const float *attention_norm, *mlp_norm, *query_norm, *key_norm;
    cx_linear qkv, output, gate_up, down;
    cx_cache cache;
    int32_t window;
} cx_layer;

typedef struct {
    int32_t layers, hidden, heads, kv_heads, dim, rotary, intermediate, vocabulary;
    float epsilon, scale;
    const cx_layer *layer;
    const float *norm, *cosine, *sine; /* tables [position][rotary / 2] */
    cx_linear head;
} cx_model;

/* hidden [rows][hidden] holds the embeddings and is overwritten; logits [logit_rows][vocabulary].
 * Returns 0 or -ENOMEM, in which case nothing has been computed. */
int cx_forward(cx_pool *pool, const cx_model *model, const cx_batch *batch, float *hidden,
               float *logits);

int cx_supported(void);
/* Whether AVX-512 is used, and VNNI. To be set before any thread computes: if it is wanted and this CPU
 * has it. */
extern int cx_wide;
int cx_use_avx512(int32_t wanted);

/* -- vector arithmetic -------------------------------------------------------------------------- */

static inline __m256 cx_half8(const uint16_t *from) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from));
}

static inline float cx_sum8(__m256 v) {
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

static inline float cx_max8(__m256 v) {
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}

/* e^x to within 2 units in the last place; below -87 it is 0 (Cephes' expf). */
static inline __m256 cx_exp8(__m256 x) {
    const __m256 low = _mm256_set1_ps(-87.0f);
    __m256 alive = _mm256_cmp_ps(x, low, _CMP_GE_OQ);
    x = _mm256_min_ps(_mm256_max_ps(x, low), _mm256_set1_ps(88.0f));
    __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504088896341f)),
                               _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    x = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
    x = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), x);
    __m256 y = _mm256_set1_ps(1.9875691500e-4f);
    y = _mm256_fmadd_ps(y, x, _mm256_set1_ps(1.3981999507e-3f));
    y = _mm256_fmadd_ps(y, x, _mm256_set1_ps(8.3334519073e-3f));
    y = _mm256_fmadd_ps(y, x, _mm256_set1_ps(4.1665795894e-2f));
    y = _mm256_fmadd_ps(y, x, _mm256_set1_ps(1.6666665459e-1f));
    y = _mm256_fmadd_ps(y, x, _mm256_set1_ps(5.0000001201e-1f));
    y = _mm256_fmadd_ps(y, _mm256_mul_ps(x, x), _mm256_add_ps(x, _mm256_set1_ps(1.0f)));
    __m256i power = _mm256_slli_epi32(
        _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_and_ps(_mm256_mul_ps(y, _mm256_castsi256_ps(power)), alive);
}

#endif
