/* A step of a decoder whose layers are built like Llama's, from embeddings to logits, in one call.
 *
 * All threads walk through the same phases; a phase's items are taken one by one and a barrier ends
 * it. Between the operators of a step there is neither interpreter nor wake-up, which at batch 1
 * would take more time than the arithmetic.
 */
#include "kernels.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NORM_ROWS = 4 };

typedef struct {
    const cx_model *model;
    const cx_batch *batch;
    float *hidden, *logits;
    float *normed, *qkv, *attended, *gate_up, *activated, *scratch;
    int64_t scratch_floats;
    cx_input in;
    int32_t *tile; /* first row of each tile of neighbouring rows, and the end */
    int tiles;
} step;

static void rms_norm(const float *x, const float *weight, int n, float epsilon, float *out) {
    __m256 squares = _mm256_setzero_ps();
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_loadu_ps(x + i);
        squares = _mm256_fmadd_ps(v, v, squares);
    }
    float total = cx_sum8(squares);
    for (int rest = i; rest < n; rest++) total += x[rest] * x[rest];
    float factor = 1.0f / sqrtf(total / (float)n + epsilon);
    __m256 by = _mm256_set1_ps(factor);
    for (i = 0; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, _mm256_mul_ps(_mm256_loadu_ps(weight + i),
                                                _mm256_mul_ps(_mm256_loadu_ps(x + i), by)));
    for (; i < n; i++) out[i] = weight[i] * (x[i] * factor);
}

/* Make row `row` of the next layer's input readable: as it is, or quantised. */
static void present(step *s, const cx_linear *linear, const float *value, int64_t row) {
    if (linear->format == CX_F16) return;
    cx_quantize_row(value, linear->inputs, &s->in, row);
}

static void norm_phase(step *s, cx_thread *self, const cx_linear *linear, const float *weight,
                       const int32_t *chosen, int rows) {
    const cx_model *m = s->model;
    int first, last;
    while (cx_take(self, rows, NORM_ROWS, &first, &last))
        for (int64_t row = first; row < last; row++) {
            int64_t from = chosen ? chosen[row] : row;
            float *out = s->normed + row * m->hidden;
            rms_norm(s->hidden + from * m->hidden, weight, m->hidden, m->epsilon, out);
            present(s, linear, out, row);
        }
    cx_barrier(self);
}

static void linear_phase(step *s, cx_thread *self, const cx_linear *linear, const float *value,
                         int rows, float *out, int add) {
    cx_input in = s->in;
    in.value = value;
    in.stride = linear->inputs;
    cx_linear_share(self, linear, &in, rows, out, add);
    cx_barrier(self);
}

static void rotate(const cx_model *m, int position, float *head) {
    const int half = m->rotary / 2;
    const float *cosine = m->cosine + (int64_t)position * half;
    const float *sine = m->sine + (int64_t)position * half;
    for (int i = 0; i < half; i++) {
        float a = head[i], b = head[i + half];
        head[i] = a * cosine[i] - b * sine[i];
        head[i + half] = b * cosine[i] + a * sine[i];
    }
}

static void position_phase(step *s, cx_thread *self, const cx_layer *layer) {
    const cx_model *m = s->model;
    const cx_batch *b = s->batch;
    const int dim = m->dim, tokens = layer->cache.block_tokens;
    int first, last;
    while (cx_take(self, b->rows, 1, &first, &last)) {
        float *row = s->qkv + (int64_t)first * layer->qkv.outputs;
        const int position = b->position[first];
        for (int h = 0; h < m->heads + m->kv_heads; h++) {
            const float *norm = h < m->heads ? layer->query_norm : layer->key_norm;
            if (norm) rms_norm(row + h * dim, norm, dim, m->epsilon, row + h * dim);
            rotate(m, position, row + h * dim);
        }
        const int32_t *table = b->tables + (int64_t)b->table_of[first] * b->table_stride;
        const float *key = row + m->heads * dim;
        cx_store(&layer->cache, table[position / tokens], position % tokens, key,
                 key + m->kv_heads * dim);
    }
    cx_barrier(self);
}

static void attention_phase(step *s, cx_thread *self, const cx_layer *layer) {
    const cx_model *m = s->model;
    const cx_batch *b = s->batch;
    const int heads = m->heads / m->kv_heads, width = m->heads * m->dim;
    float *scratch = s->scratch + s->scratch_floats * self->id;
    int item, end;
    while (cx_take(self, s->tiles * m->kv_heads, 1, &item, &end)) {
        const int64_t row = s->tile[item / m->kv_heads];
        const int rows = s->tile[item / m->kv_heads + 1] - (int)row, head = item % m->kv_heads;
        cx_attend(&layer->cache, b->tables + (int64_t)b->table_of[row] * b->table_stride, head,
                  s->qkv + row * layer->qkv.outputs + head * heads * m->dim, layer->qkv.outputs,
                  s->attended + row * width + head * heads * m->dim, width, rows, heads,
                  b->position[row], layer->window, m->scale, scratch);
    }
    cx_barrier(self);
}

static void present_phase(step *s, cx_thread *self, const cx_linear *linear, const float *value) {
    if (linear->format == CX_F16) return;
    int first, last;
    while (cx_take(self, s->batch->rows, NORM_ROWS, &first, &last))
        for (int64_t row = first; row < last; row++)
            present(s, linear, value + row * linear->inputs, row);
    cx_barrier(self);
}

static void activation_phase(step *s, cx_thread *self, const cx_linear *down) {
    const int n = s->model->intermediate;
    int first, last;
    while (cx_take(self, s->batch->rows, 1, &first, &last)) {
        const float *gate = s->gate_up + (int64_t)first * 2 * n;
        float *out = s->activated + (int64_t)first * n;
        int i = 0;
        for (; i + 8 <= n; i += 8) {
            __m256 g = _mm256_loadu_ps(gate + i), up = _mm256_loadu_ps(gate + n + i);
            __m256 e = cx_exp8(_mm256_sub_ps(_mm256_setzero_ps(), g));
            g = _mm256_div_ps(g, _mm256_add_ps(e, _mm256_set1_ps(1.0f)));
            _mm256_storeu_ps(out + i, _mm256_mul_ps(g, up));
        }
        for (; i < n; i++) out[i] = gate[i] / (1.0f + expf(-gate[i])) * gate[n + i];
        present(s, down, out, first);
    }
    cx_barrier(self);
}

static void run_step(void *context, cx_thread *self) {
    step *s = context;
    const cx_model *m = s->model;
    const int rows = s->batch->rows;
    for (int l = 0; l < m->layers; l++) {
        const cx_layer *layer = &m->layer[l];
        norm_phase(s, self, &layer->qkv, layer->attention_norm, NULL, rows);
        linear_phase(s, self, &layer->qkv, s->normed, rows, s->qkv, 0);
        position_phase(s, self, layer);
        attention_phase(s, self, layer);
        present_phase(s, self, &layer->output, s->attended);
        linear_phase(s, self, &layer->output, s->attended, rows, s->hidden, 1);
        norm_phase(s, self, &layer->gate_up, layer->mlp_norm, NULL, rows);
        linear_phase(s, self, &layer->gate_up, s->normed, rows, s->gate_up, 0);
        activation_phase(s, self, &layer->down);
        linear_phase(s, self, &layer->down, s->activated, rows, s->hidden, 1);
    }
    const int wanted = s->batch->logit_rows;
    if (!wanted) return;
    norm_phase(s, self, &m->head, m->norm, s->batch->logit_row, wanted);
    linear_phase(s, self, &m->head, s->normed, wanted, s->logits, 0);
}

static char *carve(char **from, size_t bytes) {
    char *at = *from;
    *from += (bytes + 63) & ~(size_t)63;
    return at;
}

static size_t lay_out(step *s, int threads, char *memory) {
    const cx_model *m = s->model;
    const size_t rows = (size_t)s->batch->rows, f = sizeof(float);
    const size_t width = (size_t)(m->heads * m->dim), middle = (size_t)m->intermediate;
    size_t widest = (size_t)m->hidden > width ? (size_t)m->hidden : width;
    if (middle > widest) widest = middle;
    const size_t groups = (widest + CX_GROUP - 1) / CX_GROUP;
    char *at = memory;
    s->normed = (float *)carve(&at, rows * (size_t)m->hidden * f);
    s->qkv = (float *)carve(&at, rows * (width + 2 * (size_t)(m->kv_heads * m->dim)) * f);
    s->attended = (float *)carve(&at, rows * width * f);
    s->gate_up = (float *)carve(&at, rows * 2 * middle * f);
    s->activated = (float *)carve(&at, rows * middle * f);
    s->in.q = (int8_t *)carve(&at, rows * groups * CX_GROUP);
    s->in.scale = (float *)carve(&at, rows * groups * f);
    s->in.sum = (float *)carve(&at, rows * groups * f);
    s->in.total = (int32_t *)carve(&at, rows * groups * sizeof(int32_t));
    s->tile = (int32_t *)carve(&at, (rows + 1) * sizeof(int32_t));
    s->scratch = (float *)carve(&at, (size_t)s->scratch_floats * (size_t)threads * f);
    return (size_t)(at - memory);
}

int cx_forward(cx_pool *pool, const cx_model *model, const cx_batch *batch, float *hidden,
               float *logits) {
    step s = {.model = model, .batch = batch, .hidden = hidden, .logits = logits};
    int threads = cx_pool_threads(pool);
    s.scratch_floats = cx_attention_scratch(batch);
    size_t bytes = lay_out(&s, threads, NULL);
    char *memory = aligned_alloc(64, bytes);
    if (!memory) return -ENOMEM;
    lay_out(&s, threads, memory);
    s.tiles = cx_cut_tiles(batch, s.tile);
    cx_pool_run(pool, run_step, &s);
    free(memory);
    return 0;
}
