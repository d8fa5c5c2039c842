/* Products of several rows with a packed weight on CPUs with AVX-512 VNNI.
 *
 * A register holds one or four inputs of each of sixteen outputs (two neighbouring blocks). Of integers
 * one instruction multiplies all 64 by a row's and adds them up, where AVX2 takes four for 32. The sums
 * of a group are integers, so they are exact in any order; all that is summed in floats has the order
 * of linear.c. So both give the same bits.
 */
#include "linear.h"

enum { PAIR = 2 * CX_BLOCK, MOST = 8 };

/* A step of two blocks; the second one is `next` bytes behind the first. */
WIDE __m512i two_steps(const uint8_t *from, int64_t next) {
    __m256i first = _mm256_loadu_si256((const __m256i *)from);
    __m256i second = _mm256_loadu_si256((const __m256i *)(from + next));
    return _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
}

WIDE __m512 two_halves(const uint16_t *from, int64_t next) {
    __m128i first = _mm_loadu_si128((const __m128i *)from);
    __m128i second = _mm_loadu_si128((const __m128i *)(from + next));
    return _mm512_cvtph_ps(_mm256_set_m128i(second, first));
}

WIDE __m512i four_of_a_row(const int8_t *q) {
    int32_t word;
    memcpy(&word, q, sizeof word);
    return _mm512_set1_epi32(word);
}

WIDE void write_pair(const cx_linear *linear, int row, int block, __m512 sum, float *out, int add) {
    float *to = out + (int64_t)row * linear->outputs + block * CX_BLOCK;
    int lanes = linear->outputs - block * CX_BLOCK;
    __mmask16 mask = lanes >= PAIR ? 0xffff : (__mmask16)((1u << lanes) - 1);
    if (linear->bias) sum = _mm512_add_ps(sum, _mm512_loadu_ps(linear->bias + block * CX_BLOCK));
    if (add) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, to));
    _mm512_mask_storeu_ps(to, mask, sum);
}

WIDE void tile_int4(const cx_linear *linear, const cx_input *in, int row, int rows, int block,
                    float *out, int add) {
    const int groups = linear->groups, inputs = groups * CX_GROUP;
    const int64_t at = (int64_t)block * groups * CX_BLOCK, next = (int64_t)groups * CX_BLOCK;
    const uint8_t *w = (const uint8_t *)linear->weight + at * CX_GROUP / 2;
    const __m512i low = _mm512_set1_epi8(15);
    __m512 sum[MOST];
    for (int r = 0; r < rows; r++) sum[r] = _mm512_setzero_ps();
    for (int group = 0; group < groups; group++, w += CX_BLOCK * CX_GROUP / 2) {
        foresee(w, next * CX_GROUP / 2, CX_BLOCK * CX_GROUP / 2);
        const int8_t *q = in->q + (int64_t)row * inputs + group * CX_GROUP;
        __m512i acc[MOST];
        for (int r = 0; r < rows; r++) acc[r] = _mm512_setzero_si512();
        for (int pair = 0; pair < STEPS / 2; pair++) {
            __m512i both = two_steps(w + pair * 32, next * CX_GROUP / 2);
            __m512i even = _mm512_and_si512(both, low);
            __m512i odd = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
            for (int r = 0; r < rows; r++) {
                const int8_t *from = q + (int64_t)r * inputs + pair * 8;
                acc[r] = _mm512_dpbusd_epi32(acc[r], even, four_of_a_row(from));
                acc[r] = _mm512_dpbusd_epi32(acc[r], odd, four_of_a_row(from + 4));
            }
        }
        const __m512 scale = two_halves(linear->scale + at + group * CX_BLOCK, next);
        const __m512 minimum = two_halves(linear->minimum + at + group * CX_BLOCK, next);
        for (int r = 0; r < rows; r++) {
            const int64_t place = (int64_t)(row + r) * groups + group;
            __m512 step = _mm512_set1_ps(in->scale[place]), total = _mm512_set1_ps(in->sum[place]);
            __m512 product = _mm512_cvtepi32_ps(acc[r]);
            sum[r] = _mm512_fmadd_ps(product, _mm512_mul_ps(scale, step), sum[r]);
            sum[r] = _mm512_fmadd_ps(minimum, total, sum[r]);
        }
    }
    for (int r = 0; r < rows; r++) write_pair(linear, row + r, block, sum[r], out, add);
}

/* One factor has to be unsigned: 128 is added to each weight, and 128 times the inputs taken away. */
WIDE void tile_int8(const cx_linear *linear, const cx_input *in, int row, int rows, int block,
                    float *out, int add) {
    const int groups = linear->groups, inputs = groups * CX_GROUP;
    const int64_t at = (int64_t)block * groups * CX_BLOCK, next = (int64_t)groups * CX_BLOCK;
    const uint8_t *w = (const uint8_t *)linear->weight + at * CX_GROUP;
    const __m512i offset = _mm512_set1_epi8((char)128);
    __m512 sum[MOST];
    for (int r = 0; r < rows; r++) sum[r] = _mm512_setzero_ps();
    for (int group = 0; group < groups; group++, w += CX_BLOCK * CX_GROUP) {
        foresee(w, next * CX_GROUP, CX_BLOCK * CX_GROUP);
        const int8_t *q = in->q + (int64_t)row * inputs + group * CX_GROUP;
        __m512i acc[MOST];
        for (int r = 0; r < rows; r++) {
            uint32_t total = (uint32_t)in->total[(int64_t)(row + r) * groups + group];
            acc[r] = _mm512_set1_epi32((int32_t)(0u - 128u * total));
        }
        for (int step = 0; step < STEPS; step++) {
            __m512i weight = _mm512_xor_si512(two_steps(w + step * 32, next * CX_GROUP), offset);
            for (int r = 0; r < rows; r++) {
                const int8_t *from = q + (int64_t)r * inputs + step * 4;
                acc[r] = _mm512_dpbusd_epi32(acc[r], weight, four_of_a_row(from));
            }
        }
        const __m512 scale = two_halves(linear->scale + at + group * CX_BLOCK, next);
        for (int r = 0; r < rows; r++) {
            __m512 step = _mm512_set1_ps(in->scale[(int64_t)(row + r) * groups + group]);
            __m512 product = _mm512_cvtepi32_ps(acc[r]);
            sum[r] = _mm512_fmadd_ps(product, _mm512_mul_ps(scale, step), sum[r]);
        }
    }
    for (int r = 0; r < rows; r++) write_pair(linear, row + r, block, sum[r], out, add);
}

WIDE void tile_half(const cx_linear *linear, const cx_input *in, int row, int rows, int block,
                    float *out, int add) {
    const int64_t inputs = linear->inputs, next = inputs * CX_BLOCK;
    const uint16_t *w = (const uint16_t *)linear->weight + block * next;
    const float *x = in->value + (int64_t)row * in->stride;
    __m512 sum[MOST];
    for (int r = 0; r < rows; r++) sum[r] = _mm512_setzero_ps();
    for (int64_t i = 0; i < inputs; i++) {
        if (i % 4 == 0) foresee(w + i * CX_BLOCK, next * 2, 64);
        __m512 weight = two_halves(w + i * CX_BLOCK, next);
        for (int r = 0; r < rows; r++)
            sum[r] = _mm512_fmadd_ps(weight, _mm512_set1_ps(x[(int64_t)r * in->stride + i]), sum[r]);
    }
    for (int r = 0; r < rows; r++) write_pair(linear, row + r, block, sum[r], out, add);
}

/* PERF: the number of rows is a constant in each case, so that their sums stay in registers. */
#define ROWS(NAME)                                                                                 \
    WIDE void rows_##NAME(const cx_linear *linear, const cx_input *in, int row, int rows,          \
                          int block, float *out, int add) {                                        \
        switch (rows) {                                                                            \
        case 1: tile_##NAME(linear, in, row, 1, block, out, add); return;                          \
        case 2: tile_##NAME(linear, in, row, 2, block, out, add); return;                          \
        case 3: tile_##NAME(linear, in, row, 3, block, out, add); return;                          \
        case 4: tile_##NAME(linear, in, row, 4, block, out, add); return;                          \
        case 5: tile_##NAME(linear, in, row, 5, block, out, add); return;                          \
        case 6: tile_##NAME(linear, in, row, 6, block, out, add); return;                          \
        case 7: tile_##NAME(linear, in, row, 7, block, out, add); return;                          \
        default: tile_##NAME(linear, in, row, 8, block, out, add); return;                         \
        }                                                                                          \
    }

ROWS(int4)
ROWS(int8)
ROWS(half)

/* PERF: tiles of the same height, for one of a single row would take nearly as long as one of eight. */
AVX512 int cx_wide_blocks(const cx_linear *linear, const cx_input *in, int rows, int first,
                          int last, float *out, int add) {
    for (int panel = 0; panel < rows; panel += PANEL) {
        const int end = rows - panel < PANEL ? rows : panel + PANEL;
        const int tiles = (end - panel + MOST - 1) / MOST;
        for (int block = first; block + 2 <= last; block += 2)
            for (int tile = 0; tile < tiles; tile++) {
                int row = panel + (end - panel) * tile / tiles;
                int stop = panel + (end - panel) * (tile + 1) / tiles;
                if (linear->format == CX_INT4)
                    rows_int4(linear, in, row, stop - row, block, out, add);
                else if (linear->format == CX_INT8)
                    rows_int8(linear, in, row, stop - row, block, out, add);
                else
                    rows_half(linear, in, row, stop - row, block, out, add);
            }
    }
    return last - (last - first) % 2;
}
