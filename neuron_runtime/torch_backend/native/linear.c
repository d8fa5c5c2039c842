/* Products of a few rows with a packed weight.
 *
 * A register holds four inputs of each of eight outputs, so that the eight 32-bit lanes of a product
 * belong to eight outputs and no sum runs across lanes; the inputs are broadcast four at a time.
 * Weights of four bits are unsigned, so eight products fit 16 bits: two instructions for 32
 * multiplications. Weights of eight bits move their sign to the input, as llama.cpp does.
 */
#include "linear.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

enum { TILE = 8, INT4_ROWS = 4, INT4_BLOCKS = 2 };

static int blocks_of(int outputs) { return (outputs + CX_BLOCK - 1) / CX_BLOCK; }
static int groups_of(int inputs) { return (inputs + CX_GROUP - 1) / CX_GROUP; }

int64_t cx_packed_bytes(int32_t format, int32_t outputs, int32_t inputs) {
    int64_t blocks = blocks_of(outputs), groups = groups_of(inputs);
    if (format == CX_F16) return blocks * inputs * CX_BLOCK * 2;
    int64_t bytes = blocks * groups * CX_GROUP * CX_BLOCK;
    return format == CX_INT8 ? bytes : bytes / 2;
}

/* -- packing ------------------------------------------------------------------------------------ */

static uint16_t to_half(float value) { return _cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT); }
static float from_half(uint16_t value) { return _cvtsh_ss(value); }

/* How the rows to be packed are stored: 0 float32, 1 bfloat16, 2 float16. */
enum { F32_ROWS, BF16_ROWS, F16_ROWS };

static int64_t value_bytes(int stored) { return stored == F32_ROWS ? 4 : 2; }

static float value_at(int stored, const char *from) {
    float value;
    uint16_t half;
    if (stored == F32_ROWS) {
        memcpy(&value, from, sizeof value);
        return value;
    }
    memcpy(&half, from, sizeof half);
    if (stored == F16_ROWS) return from_half(half);
    uint32_t bits = (uint32_t)half << 16;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static __m256 eight_values(int stored, const char *from) {
    if (stored == F32_ROWS) return _mm256_loadu_ps((const float *)from);
    __m128i bits = _mm_loadu_si128((const __m128i *)from);
    if (stored == F16_ROWS) return _mm256_cvtph_ps(bits);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

static void pack_half(int stored, const char *rows, int outputs, int inputs, uint16_t *to) {
    const int64_t size = value_bytes(stored);
    for (int block = 0; block < blocks_of(outputs); block++)
        for (int i = 0; i < inputs; i++)
            for (int lane = 0; lane < CX_BLOCK; lane++) {
                int64_t row = (int64_t)block * CX_BLOCK + lane;
                *to++ = row < outputs ? to_half(value_at(stored, rows + (row * inputs + i) * size)) : 0;
            }
}

/* The nearest level of 32 values, between least and most; all 0 if the scale is. */
static __m256i levels(const __m256 value[4], float from, float scale, float least, float most) {
    if (!(scale > 0)) return _mm256_setzero_si256();
    const __m256 offset = _mm256_set1_ps(from), used = _mm256_set1_ps(scale);
    __m256i w[4];
    for (int i = 0; i < 4; i++) {
        __m256 level = _mm256_div_ps(_mm256_sub_ps(value[i], offset), used);
        level = _mm256_min_ps(level, _mm256_set1_ps(most));
        w[i] = _mm256_cvtps_epi32(_mm256_max_ps(level, _mm256_set1_ps(least)));
    }
    __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(w[0], w[1]), _mm256_packs_epi32(w[2], w[3]));
    return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

static uint16_t quantize_int8(const __m256 value[4], __m256i *q) {
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    __m256 most = _mm256_setzero_ps();
    for (int i = 0; i < 4; i++) most = _mm256_max_ps(_mm256_and_ps(value[i], magnitude), most);
    uint16_t scale = to_half(cx_max8(most) / 127);
    *q = levels(value, 0, from_half(scale), -127, 127);
    return scale;
}

static uint16_t quantize_int4(const __m256 value[4], __m256i *q, uint16_t *minimum) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 least = value[0], most = value[0];
    for (int i = 1; i < 4; i++) {
        least = _mm256_min_ps(value[i], least);
        most = _mm256_max_ps(value[i], most);
    }
    float low = -cx_max8(_mm256_xor_ps(least, sign));
    uint16_t scale = to_half((cx_max8(most) - low) / 15);
    *minimum = to_half(low);
    *q = levels(value, from_half(*minimum), from_half(scale), 0, 15);
    return scale;
}

static void pack_group(int format, const __m256i q[CX_BLOCK], uint8_t *to) {
    uint32_t from[CX_BLOCK][STEPS], word[STEPS][CX_BLOCK];
    memcpy(from, q, sizeof from);
    for (int step = 0; step < STEPS; step++)
        for (int lane = 0; lane < CX_BLOCK; lane++) word[step][lane] = from[lane][step];
    if (format == CX_INT8) {
        memcpy(to, word, sizeof word);
        return;
    }
    for (int step = 0; step < STEPS; step += 2, to += 32) {
        /* Each byte has four bits, so that none reaches its neighbour. */
        for (int lane = 0; lane < CX_BLOCK; lane++) word[step][lane] |= word[step + 1][lane] << 4;
        memcpy(to, word[step], 32);
    }
}

void cx_pack(int32_t format, int32_t stored, const void *rows, int32_t outputs, int32_t inputs,
             void *weight, uint16_t *scale, uint16_t *minimum) {
    if (format == CX_F16) {
        pack_half(stored, rows, outputs, inputs, weight);
        return;
    }
    const int64_t size = value_bytes(stored);
    const int groups = groups_of(inputs), bytes = CX_GROUP * CX_BLOCK / (format == CX_INT4 ? 2 : 1);
    uint8_t *to = weight;
    for (int block = 0; block < blocks_of(outputs); block++)
        for (int group = 0; group < groups; group++, to += bytes) {
            __m256i q[CX_BLOCK];
            for (int lane = 0; lane < CX_BLOCK; lane++) {
                int64_t row = (int64_t)block * CX_BLOCK + lane, start = (int64_t)group * CX_GROUP;
                int64_t at = ((int64_t)block * groups + group) * CX_BLOCK + lane;
                int64_t count = row < outputs ? inputs - start : 0;
                const char *from = (const char *)rows + (row * inputs + start) * size;
                char padded[CX_GROUP * sizeof(float)] = {0};
                if (count < CX_GROUP) {
                    if (count > 0) memcpy(padded, from, (size_t)(count * size));
                    from = padded;
                }
                __m256 value[4];
                for (int i = 0; i < 4; i++) value[i] = eight_values(stored, from + 8 * i * size);
                if (format == CX_INT8)
                    scale[at] = quantize_int8(value, &q[lane]);
                else
                    scale[at] = quantize_int4(value, &q[lane], &minimum[at]);
            }
            pack_group(format, q, to);
        }
}

/* -- inputs ------------------------------------------------------------------------------------- */

static void quantize_group(const float *from, int8_t *q, float *scale, float *sum,
                           int32_t *total) {
    __m256 v[4], most = _mm256_setzero_ps();
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_loadu_ps(from + 8 * i);
        most = _mm256_max_ps(most, _mm256_and_ps(v[i], magnitude));
    }
    float largest = cx_max8(most), step = largest / 127;
    __m256 inverse = _mm256_set1_ps(step > 0 ? 1 / step : 0);
    __m256i w[4], lanes = _mm256_setzero_si256();
    for (int i = 0; i < 4; i++) {
        w[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
        lanes = _mm256_add_epi32(lanes, w[i]);
    }
    __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(w[0], w[1]), _mm256_packs_epi32(w[2], w[3]));
    bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)q, bytes);
    float all = cx_sum8(_mm256_cvtepi32_ps(lanes));
    *scale = step;
    *sum = step * all;
    *total = _mm_cvttss_si32(_mm_set_ss(all));
}

void cx_quantize_row(const float *row, int32_t inputs, const cx_input *to, int64_t at) {
    const int groups = groups_of(inputs), whole = inputs / CX_GROUP;
    int8_t *q = to->q + at * groups * CX_GROUP;
    float *scale = to->scale + at * groups, *sum = to->sum + at * groups;
    int32_t *total = to->total + at * groups;
    for (int group = 0; group < whole; group++)
        quantize_group(row + group * CX_GROUP, q + group * CX_GROUP, scale + group, sum + group,
                       total + group);
    if (inputs % CX_GROUP) {
        float rest[CX_GROUP] = {0};
        memcpy(rest, row + whole * CX_GROUP, (size_t)(inputs % CX_GROUP) * sizeof *rest);
        quantize_group(rest, q + whole * CX_GROUP, scale + whole, sum + whole, total + whole);
    }
}

/* -- products ----------------------------------------------------------------------------------- */

INLINE __m256i four_inputs(const int8_t *q) {
    int32_t word;
    memcpy(&word, q, sizeof word);
    return _mm256_set1_epi32(word);
}

INLINE void write_block(const cx_linear *linear, int row, int block, __m256 sum, float *out, int add) {
    float *to = out + (int64_t)row * linear->outputs + block * CX_BLOCK;
    if (linear->bias) sum = _mm256_add_ps(sum, _mm256_loadu_ps(linear->bias + block * CX_BLOCK));
    int lanes = linear->outputs - block * CX_BLOCK;
    if (lanes >= CX_BLOCK) {
        if (add) sum = _mm256_add_ps(sum, _mm256_loadu_ps(to));
        _mm256_storeu_ps(to, sum);
        return;
    }
    float part[CX_BLOCK];
    _mm256_storeu_ps(part, sum);
    for (int lane = 0; lane < lanes; lane++) to[lane] = add ? to[lane] + part[lane] : part[lane];
}

/* PERF: four rows of two blocks are as many sums as the registers hold beside the weights; each input
 * that is broadcast and each weight that is unpacked then serves more than one of them. */
INLINE void tile_int4(const cx_linear *linear, const cx_input *in, int row, int rows, int block,
                      int blocks, float *out, int add) {
    const int groups = linear->groups, inputs = groups * CX_GROUP;
    const int64_t at = (int64_t)block * groups * CX_BLOCK, next = (int64_t)groups * CX_BLOCK;
    const uint8_t *w = (const uint8_t *)linear->weight + at * CX_GROUP / 2;
    const __m256i low = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    __m256 sum[INT4_ROWS][INT4_BLOCKS];
    for (int r = 0; r < rows; r++)
        for (int b = 0; b < blocks; b++) sum[r][b] = _mm256_setzero_ps();
    for (int group = 0; group < groups; group++, w += CX_BLOCK * CX_GROUP / 2) {
        if (blocks == 2) foresee(w, next * CX_GROUP / 2, CX_BLOCK * CX_GROUP / 2);
        const int8_t *q = in->q + (int64_t)row * inputs + group * CX_GROUP;
        __m256i acc[INT4_ROWS][INT4_BLOCKS];
        for (int r = 0; r < rows; r++)
            for (int b = 0; b < blocks; b++) acc[r][b] = _mm256_setzero_si256();
        for (int pair = 0; pair < STEPS / 2; pair++) {
            __m256i even[INT4_BLOCKS], odd[INT4_BLOCKS];
            for (int b = 0; b < blocks; b++) {
                const uint8_t *from = w + b * next * CX_GROUP / 2 + pair * 32;
                __m256i both = _mm256_loadu_si256((const __m256i *)from);
                even[b] = _mm256_and_si256(both, low);
                odd[b] = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
            }
            for (int r = 0; r < rows; r++) {
                const int8_t *from = q + (int64_t)r * inputs + pair * 8;
                __m256i x = four_inputs(from), y = four_inputs(from + 4);
                for (int b = 0; b < blocks; b++)
                    acc[r][b] = _mm256_add_epi16(acc[r][b], _mm256_maddubs_epi16(even[b], x));
                for (int b = 0; b < blocks; b++)
                    acc[r][b] = _mm256_add_epi16(acc[r][b], _mm256_maddubs_epi16(odd[b], y));
                /* PERF: else the compiler sums all pairs at once, and they do not fit. */
                if (rows > 1)
                    for (int b = 0; b < blocks; b++) __asm__("" : "+x"(acc[r][b]));
            }
        }
        __m256 scale[INT4_BLOCKS], minimum[INT4_BLOCKS];
        for (int b = 0; b < blocks; b++) {
            scale[b] = cx_half8(linear->scale + at + b * next + group * CX_BLOCK);
            minimum[b] = cx_half8(linear->minimum + at + b * next + group * CX_BLOCK);
        }
        for (int r = 0; r < rows; r++) {
            const int64_t place = (int64_t)(row + r) * groups + group;
            __m256 step = _mm256_set1_ps(in->scale[place]), total = _mm256_set1_ps(in->sum[place]);
            for (int b = 0; b < blocks; b++) {
                __m256 product = _mm256_cvtepi32_ps(_mm256_madd_epi16(acc[r][b], ones));
                sum[r][b] = _mm256_fmadd_ps(product, _mm256_mul_ps(scale[b], step), sum[r][b]);
                sum[r][b] = _mm256_fmadd_ps(minimum[b], total, sum[r][b]);
            }
        }
    }
    for (int r = 0; r < rows; r++)
        for (int b = 0; b < blocks; b++)
            write_block(linear, row + r, block + b, sum[r][b], out, add);
}

INLINE void int4_rows(const cx_linear *linear, const cx_input *in, int row, int end, int block,
                      int blocks, float *out, int add) {
    for (; row + 4 <= end; row += 4)
        tile_int4(linear, in, row, 4, block, blocks, out, add);
    if (row + 2 <= end) {
        tile_int4(linear, in, row, 2, block, blocks, out, add);
        row += 2;
    }
    if (row < end) tile_int4(linear, in, row, 1, block, blocks, out, add);
}

/* PERF: what one row takes is to read the weights, which is fastest in one stream. */
static void int4_blocks(const cx_linear *linear, const cx_input *in, int rows, int first, int last,
                        float *out, int add) {
    for (; rows == 1 && first < last; first++)
        tile_int4(linear, in, 0, 1, first, 1, out, add);
    for (int row = 0; row < rows; row += PANEL) {
        int end = rows - row < PANEL ? rows : row + PANEL, block = first;
        for (; block + 2 <= last; block += 2)
            int4_rows(linear, in, row, end, block, 2, out, add);
        if (block < last) int4_rows(linear, in, row, end, block, 1, out, add);
    }
}

INLINE void tile_int8(const cx_linear *linear, const cx_input *in, int row, int rows, int block,
                      float *out, int add) {
    const int groups = linear->groups, inputs = groups * CX_GROUP;
    const uint8_t *w = (const uint8_t *)linear->weight + (int64_t)block * groups * 256;
    const int64_t at = (int64_t)block * groups * CX_BLOCK;
    const __m256i ones = _mm256_set1_epi16(1);
    __m256 sum[TILE];
    for (int r = 0; r < rows; r++) sum[r] = _mm256_setzero_ps();
    for (int group = 0; group < groups; group++, w += 256) {
        const int8_t *q = in->q + (int64_t)row * inputs + group * CX_GROUP;
        __m256i acc[TILE];
        for (int r = 0; r < rows; r++) acc[r] = _mm256_setzero_si256();
        for (int step = 0; step < STEPS; step++) {
            __m256i weight = _mm256_loadu_si256((const __m256i *)(w + step * 32));
            __m256i magnitude = _mm256_abs_epi8(weight);
            for (int r = 0; r < rows; r++) {
                __m256i x = four_inputs(q + (int64_t)r * inputs + step * 4);
                __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(x, weight));
                acc[r] = _mm256_add_epi32(acc[r], _mm256_madd_epi16(pairs, ones));
            }
        }
        __m256 scale = cx_half8(linear->scale + at + group * CX_BLOCK);
        for (int r = 0; r < rows; r++) {
            const int64_t place = (int64_t)(row + r) * groups + group;
            __m256 factor = _mm256_mul_ps(scale, _mm256_set1_ps(in->scale[place]));
            sum[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(acc[r]), factor, sum[r]);
        }
    }
    for (int r = 0; r < rows; r++)
        write_block(linear, row + r, block, sum[r], out, add);
}

INLINE void tile_half(const cx_linear *linear, const cx_input *in, int row, int rows, int block,
                      float *out, int add) {
    const int inputs = linear->inputs;
    const uint16_t *w = (const uint16_t *)linear->weight + (int64_t)block * inputs * CX_BLOCK;
    const float *x = in->value + (int64_t)row * in->stride;
    __m256 sum[TILE];
    for (int r = 0; r < rows; r++) sum[r] = _mm256_setzero_ps();
    for (int i = 0; i < inputs; i++) {
        __m256 weight = cx_half8(w + (int64_t)i * CX_BLOCK);
        for (int r = 0; r < rows; r++)
            sum[r] = _mm256_fmadd_ps(weight, _mm256_set1_ps(x[(int64_t)r * in->stride + i]), sum[r]);
    }
    for (int r = 0; r < rows; r++)
        write_block(linear, row + r, block, sum[r], out, add);
}

/* PERF: one row of float16 is a chain of dependent additions, so four blocks are computed at once. */
static int single_row_half(const cx_linear *linear, const cx_input *in, int first, int last,
                           float *out, int add) {
    const int64_t inputs = linear->inputs;
    int block = first;
    for (; block + 4 <= last; block += 4) {
        const uint16_t *w = (const uint16_t *)linear->weight + block * inputs * CX_BLOCK;
        __m256 sum[4];
        for (int b = 0; b < 4; b++) sum[b] = _mm256_setzero_ps();
        for (int64_t i = 0; i < inputs; i++) {
            __m256 x = _mm256_set1_ps(in->value[i]);
            for (int b = 0; b < 4; b++)
                sum[b] = _mm256_fmadd_ps(cx_half8(w + (b * inputs + i) * CX_BLOCK), x, sum[b]);
        }
        for (int b = 0; b < 4; b++) write_block(linear, 0, block + b, sum[b], out, add);
    }
    return block;
}

#define TILES(NAME)                                                                                \
    static void NAME##_rows(const cx_linear *linear, const cx_input *in, int rows, int block,      \
                            float *out, int add) {                                                 \
        int row = 0;                                                                               \
        for (; row + TILE <= rows; row += TILE)                                                    \
            tile_##NAME(linear, in, row, TILE, block, out, add);                                   \
        if (row + 4 <= rows) {                                                                     \
            tile_##NAME(linear, in, row, 4, block, out, add);                                      \
            row += 4;                                                                              \
        }                                                                                          \
        if (row + 2 <= rows) {                                                                     \
            tile_##NAME(linear, in, row, 2, block, out, add);                                      \
            row += 2;                                                                              \
        }                                                                                          \
        if (row < rows) tile_##NAME(linear, in, row, 1, block, out, add);                          \
    }

TILES(int8)
TILES(half)

static void linear_blocks(const cx_linear *linear, const cx_input *in, int rows, int first, int last,
                          float *out, int add) {
    if (linear->format == CX_F16 && rows == 1)
        first = single_row_half(linear, in, first, last, out, add);
    if (rows > 1 && cx_wide)
        first = cx_wide_blocks(linear, in, rows, first, last, out, add);
    if (linear->format == CX_INT4) {
        int4_blocks(linear, in, rows, first, last, out, add);
        return;
    }
    for (int block = first; block < last; block++)
        if (linear->format == CX_F16)
            half_rows(linear, in, rows, block, out, add);
        else
            int8_rows(linear, in, rows, block, out, add);
}

void cx_linear_share(cx_thread *self, const cx_linear *linear, const cx_input *in, int rows,
                     float *out, int add) {
    int blocks = blocks_of(linear->outputs), first, last;
    int chunk = (blocks / (6 * cx_threads(self)) + 2) & ~1; /* even, see tile_int4 */
    while (cx_take(self, blocks, chunk, &first, &last))
        linear_blocks(linear, in, rows, first, last, out, add);
}

/* -- one layer by itself ------------------------------------------------------------------------ */

typedef struct {
    const cx_linear *linear;
    cx_input in;
    int rows;
    float *out;
} forward_job;

static void run_forward(void *context, cx_thread *self) {
    forward_job *job = context;
    const cx_linear *linear = job->linear;
    int first, last;
    if (linear->format != CX_F16)
        while (cx_take(self, job->rows, 4, &first, &last))
            for (int64_t row = first; row < last; row++)
                cx_quantize_row(job->in.value + row * job->in.stride, linear->inputs, &job->in,
                                row);
    cx_barrier(self);
    cx_linear_share(self, linear, &job->in, job->rows, job->out, 0);
}

int cx_linear_forward(cx_pool *pool, const cx_linear *linear, const float *rows, int32_t count,
                      float *out) {
    size_t groups = (size_t)linear->groups, n = (size_t)count;
    char *memory = malloc(n * groups * (CX_GROUP + 3 * sizeof(float)) + 64);
    if (!memory) return -ENOMEM;
    float *scale = (float *)memory;
    forward_job job = {linear,
                       {.value = rows,
                        .q = (int8_t *)(scale + 3 * n * groups),
                        .scale = scale,
                        .sum = scale + n * groups,
                        .total = (int32_t *)(scale + 2 * n * groups),
                        .stride = linear->inputs},
                       count,
                       out};
    cx_pool_run(pool, run_forward, &job);
    free(memory);
    return 0;
}
