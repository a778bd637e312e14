/* A decoding step of GPT-2 on the CPU, in float32: all that is computed for one new token of each row.
 *
 * PyTorch's operations compute it too, but some 200 of them, each of which costs more than its numbers do: after every
 * product with a matrix the processor's cache holds weights, and no longer the interpreter. All arrays but the matrix of
 * `pack` are contiguous. Work is shared among PyTorch's own threads, where it uses OpenMP of the same make; functions
 * that are not exported share it among those of their caller.
 */

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Numbers that an instruction works on, and rows whose sums stay in registers while a matrix is read. */
#if defined(__AVX512F__)
#define LANES 16
#define ROWS 16
#else
#define ROWS 12
#if defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
#endif
/* `cpu_step.MOST_LANES` and `cpu_step.MOST_TILE_ROWS`, by which the caller makes room. */
_Static_assert(LANES <= 16 && ROWS <= 16, "there is no room for more");
typedef float lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float))));

/* As `sampling.GROUP` and `sampling.JUST_BELOW_ONE`. */
#define GROUP 64
#define JUST_BELOW_ONE (1 - 0x1p-52)
/* Below it exp is no normal number of float32, and taken for 0. */
#define LEAST_EXPONENT -87.3f
/* Multiplications below which a second thread costs more than it saves. */
#define MIN_SHARED (1 << 16)

struct matrix {
    const float *packed, *bias; /* as `pack` leaves it; (n_outputs,) or null */
    int64_t n_inputs, n_outputs;
};

struct norm {
    const float *weight, *bias;
    float epsilon;
};

struct block {
    struct norm first_norm, second_norm;
    struct matrix into_attention, out_of_attention, widen, narrow;
    float *keys, *values; /* (R, H, C, D/H) */
};

/* Tables of shape (blocks, room, width), of products with the matrices in the order above, written from `start` on. */
struct record {
    float *tables[4];
    int64_t room, start;
};

/* exp(x) of at most 88, up to 2 units in the last place, in a form that compilers turn into vector instructions.
 *
 * x = n log 2 + r, with the polynomial for exp(r) of Cephes' expf (Moshier 1992, https://www.netlib.org/cephes). NaN
 * stays NaN.
 */
static inline float exponential(float x)
{
    float bounded = x < LEAST_EXPONENT ? LEAST_EXPONENT : x > 88.0f ? 88.0f : x;
    float n = __builtin_rintf(bounded * 1.44269504f);
    float r = bounded - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    union { int32_t bits; float number; } power = {.bits = ((int32_t)n + 127) << 23};
    return x < LEAST_EXPONENT ? 0.0f : p * power.number;
}

/* Lay a matrix (n_inputs, n_outputs) out as it is read: `LANES` outputs of every input, then the next ones.
 *
 * Entry (k, n) is at k * input_stride + n * output_stride; packed has room for outputs up to a multiple of `LANES`.
 */
void pack(
    const float *matrix, float *packed, int64_t n_inputs, int64_t n_outputs, int64_t input_stride,
    int64_t output_stride)
{
    #pragma omp parallel for if (n_inputs * n_outputs >= MIN_SHARED)
    for (int64_t first = 0; first < n_outputs; first += LANES)
        /* A few inputs at a time, since a transposed matrix has those side by side. */
        for (int64_t begin = 0; begin < n_inputs; begin += 16)
            for (int64_t lane = 0; lane < LANES; lane++)
                for (int64_t k = begin; k < n_inputs && k < begin + 16; k++) {
                    int64_t n = first + lane;
                    packed[first * n_inputs + k * LANES + lane] =
                        n < n_outputs ? matrix[k * input_stride + n * output_stride] : 0.0f;
                }
}

/* Multiply some rows, whose inputs lie side by side in `columns`, by `LANES` columns of a matrix. */
static inline __attribute__((always_inline)) void multiply_rows(
    const float *columns, const struct matrix *matrix, int64_t first, float *outputs, int n_rows)
{
    const float *weights = matrix->packed + first * matrix->n_inputs;
    int64_t n_outputs = matrix->n_outputs, n_whole = n_outputs - first < LANES ? n_outputs - first : LANES;
    lanes sums[ROWS], bias = {0};
    if (matrix->bias)
        memcpy(&bias, matrix->bias + first, n_whole * sizeof(float));
    for (int row = 0; row < n_rows; row++)
        sums[row] = bias;
    for (int64_t k = 0; k < matrix->n_inputs; k++) {
        lanes weight = *(const lanes *)(weights + k * LANES);
        __builtin_prefetch(weights + (k + 64) * LANES);
        #pragma GCC unroll 16
        for (int row = 0; row < n_rows; row++)
            sums[row] += columns[k * ROWS + row] * weight;
    }
    for (int row = 0; row < n_rows; row++)
        memcpy(outputs + row * n_outputs + first, &sums[row], n_whole * sizeof(float));
}

/* Multiply rows (N, n_inputs) by a matrix and add its bias; columns has room for rows up to a multiple of `ROWS`. */
static void multiply(const float *rows, const struct matrix *matrix, float *outputs, float *columns, int64_t n_rows)
{
    int64_t n_inputs = matrix->n_inputs, n_outputs = matrix->n_outputs, n_tiles = (n_rows + ROWS - 1) / ROWS;
    #pragma omp for collapse(2)
    for (int64_t tile = 0; tile < n_tiles; tile++)
        for (int64_t begin = 0; begin < n_inputs; begin += 16)
            for (int64_t lane = 0; lane < ROWS; lane++)
                for (int64_t k = begin; k < n_inputs && k < begin + 16; k++) {
                    int64_t row = tile * ROWS + lane;
                    columns[(tile * n_inputs + k) * ROWS + lane] = row < n_rows ? rows[row * n_inputs + k] : 0.0f;
                }
    #pragma omp for
    for (int64_t first = 0; first < n_outputs; first += LANES)
        for (int64_t tile = 0; tile < n_tiles; tile++) {
            const float *inputs = columns + tile * n_inputs * ROWS;
            float *results = outputs + tile * ROWS * n_outputs;
            switch (n_rows - tile * ROWS) {
                /* Each number of rows is compiled for itself. */
                #define CASE(number) case number: multiply_rows(inputs, matrix, first, results, number); break;
                CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11)
                #if ROWS > 12
                CASE(12) CASE(13) CASE(14) CASE(15)
                #endif
                #undef CASE
                default: multiply_rows(inputs, matrix, first, results, ROWS);
            }
        }
}

/* As `multiply`, with threads of its own. */
void multiply_alone(const float *rows, const struct matrix *matrix, float *outputs, float *columns, int64_t n_rows)
{
    #pragma omp parallel if (n_rows * matrix->n_inputs * matrix->n_outputs >= MIN_SHARED)
    multiply(rows, matrix, outputs, columns, n_rows);
}

/* Add an update to hidden states, in place, and normalise the sums; all of shape (R, D). */
static void add_and_norm(
    float *hidden, const float *update, const struct norm *norm, float *normed, int64_t n_rows, int64_t width)
{
    #pragma omp for
    for (int64_t row = 0; row < n_rows; row++) {
        float *sum = hidden + row * width, *result = normed + row * width, mean = 0.0f, variance = 0.0f;
        #pragma omp simd reduction(+ : mean)
        for (int64_t d = 0; d < width; d++) {
            sum[d] += update[row * width + d];
            mean += sum[d];
        }
        mean /= width;
        #pragma omp simd reduction(+ : variance)
        for (int64_t d = 0; d < width; d++)
            variance += (sum[d] - mean) * (sum[d] - mean);
        float scale = 1.0f / sqrtf(variance / width + norm->epsilon);
        #pragma omp simd
        for (int64_t d = 0; d < width; d++)
            result[d] = (sum[d] - mean) * scale * norm->weight[d] + norm->bias[d];
    }
}

/* Let one head's query attend to the first `length` of its keys and values. */
static inline __attribute__((always_inline)) void attend(
    const float *query, const float *keys, const float *values, float *attended, int64_t length, int64_t head_width)
{
    float weights[length], sum[head_width], greatest = -INFINITY, total = 0.0f, scale = 1.0f / sqrtf(head_width);
    for (int64_t place = 0; place < length; place++) {
        const float *key = keys + place * head_width;
        float score = 0.0f;
        #pragma omp simd reduction(+ : score)
        for (int64_t d = 0; d < head_width; d++)
            score += query[d] * key[d];
        weights[place] = score * scale;
    }
    #pragma omp simd reduction(max : greatest)
    for (int64_t place = 0; place < length; place++)
        greatest = weights[place] > greatest ? weights[place] : greatest;
    #pragma omp simd reduction(+ : total)
    for (int64_t place = 0; place < length; place++) {
        weights[place] = exponential(weights[place] - greatest);
        total += weights[place];
    }
    memset(sum, 0, sizeof sum);
    for (int64_t place = 0; place < length; place++) {
        const float *value = values + place * head_width;
        #pragma omp simd
        for (int64_t d = 0; d < head_width; d++)
            sum[d] += weights[place] * value[d];
    }
    for (int64_t d = 0; d < head_width; d++)
        attended[d] = sum[d] / total;
}

/* Append a key and a value to each row, at its position, and attend to all that the row has up to there.
 *
 * joined (R, 3, H, D/H): queries, keys and values; positions (R,); attended (R, H, D/H).
 */
static void append_and_attend(
    const float *joined, const struct block *block, const int64_t *positions, float *attended, int64_t n_rows,
    int64_t n_heads, int64_t head_width, int64_t context_length)
{
    int64_t width = n_heads * head_width;
    #pragma omp for
    for (int64_t list = 0; list < n_rows * n_heads; list++) {
        int64_t row = list / n_heads, head = list % n_heads, position = positions[row];
        const float *query = joined + row * 3 * width + head * head_width;
        float *keys = block->keys + list * context_length * head_width;
        float *values = block->values + list * context_length * head_width;
        memcpy(keys + position * head_width, query + width, head_width * sizeof(float));
        memcpy(values + position * head_width, query + 2 * width, head_width * sizeof(float));
        /* GPT-2's width is told apart so that a head's sum stays in registers. */
        if (head_width == 64)
            attend(query, keys, values, attended + list * 64, position + 1, 64);
        else
            attend(query, keys, values, attended + list * head_width, position + 1, head_width);
    }
}

/* GELU's tanh approximation, which is x σ(2 u) with u = √(2/π) (x + 0.044715 x³) (Hendrycks and Gimpel 2016). */
static void gelu(const float *inputs, float *outputs, int64_t size)
{
    #pragma omp for simd
    for (int64_t i = 0; i < size; i++) {
        float x = inputs[i];
        outputs[i] = x / (1.0f + exponential(-1.5957691216f * (x + 0.044715f * x * x * x)));
    }
}

/* Append a token to each row, and compute the last hidden state there.
 *
 * tokens, positions (R,); hidden (R, D), the result; memory for (14 R + 4 R') D numbers, where R' is R up to a multiple
 * of `ROWS`. Matrices are 3, 1, 4 and 1 times as wide as hidden states. record may be null.
 *
 * Returns -1, or a row whose token or position lies outside of the embeddings or of the cache; then nothing is done.
 */
int64_t forward(
    const struct block *blocks, int64_t n_blocks, const struct norm *last_norm, const struct record *record,
    const float *token_embeddings, const float *position_embeddings, const int64_t *tokens, const int64_t *positions,
    float *hidden, float *memory, int64_t n_rows, int64_t n_heads, int64_t head_width, int64_t context_length,
    int64_t n_tokens, int64_t n_positions)
{
    for (int64_t row = 0; row < n_rows; row++) {
        if (tokens[row] < 0 || tokens[row] >= n_tokens)
            return row;
        if (positions[row] < 0 || positions[row] >= n_positions || positions[row] >= context_length)
            return row;
    }
    int64_t width = n_heads * head_width, size = n_rows * width;
    float *sums = memory, *attended = sums + size, *activated = attended + size, *columns = activated + 4 * size;
    float *own_products = columns + 4 * ((n_rows + ROWS - 1) / ROWS * ROWS) * width;
    #pragma omp parallel if (size * width >= MIN_SHARED)
    {
        float *products[4] = {own_products, own_products + 3 * size, own_products + 4 * size, own_products + 3 * size};
        const int64_t factors[4] = {3, 1, 4, 1};
        const float *update = attended;
        #pragma omp for
        for (int64_t row = 0; row < n_rows; row++) {
            memcpy(sums + row * width, token_embeddings + tokens[row] * width, width * sizeof(float));
            memcpy(attended + row * width, position_embeddings + positions[row] * width, width * sizeof(float));
        }
        for (int64_t number = 0; number < n_blocks; number++) {
            const struct block *block = blocks + number;
            if (record)
                for (int part = 0; part < 4; part++)
                    products[part] =
                        record->tables[part] + (number * record->room + record->start) * factors[part] * width;
            add_and_norm(sums, update, &block->first_norm, hidden, n_rows, width);
            multiply(hidden, &block->into_attention, products[0], columns, n_rows);
            append_and_attend(products[0], block, positions, attended, n_rows, n_heads, head_width, context_length);
            multiply(attended, &block->out_of_attention, products[1], columns, n_rows);
            add_and_norm(sums, products[1], &block->second_norm, hidden, n_rows, width);
            multiply(hidden, &block->widen, products[2], columns, n_rows);
            gelu(products[2], activated, 4 * size);
            multiply(activated, &block->narrow, products[3], columns, n_rows);
            update = products[3];
        }
        add_and_norm(sums, update, last_norm, hidden, n_rows, width);
    }
    return -1;
}

/* Exponentials of a group's logits relative to the greatest: their sum, and that of their products with the logits. */
static inline __attribute__((always_inline)) void add_up(
    const float *logits, float *exponentials, int64_t size, float greatest, float *total, float *weighted)
{
    float sum = 0.0f, products = 0.0f;
    #pragma omp simd reduction(+ : sum, products)
    for (int64_t i = 0; i < size; i++) {
        float shifted = logits[i] - greatest, e = exponential(shifted);
        if (exponentials)
            exponentials[i] = e;
        sum += e;
        products += e * shifted;
    }
    *total = sum;
    *weighted = products;
}

/* Draw one token a row as `sampling.draw_by_probability` does: a group of tokens, and then one of its members.
 *
 * logits (R, V); uniforms, token_ids, log_prob (R,). If they are not null, probabilities (R, V) and entropies (R,) are
 * written too, for which logits have to be finite.
 */
void draw(
    const float *logits, const float *uniforms, float *probabilities, float *entropies, int64_t *token_ids,
    float *log_prob, int64_t n_rows, int64_t vocab_size)
{
    #pragma omp parallel for if (n_rows * vocab_size >= MIN_SHARED)
    for (int64_t row = 0; row < n_rows; row++) {
        const float *z = logits + row * vocab_size;
        float *p = probabilities ? probabilities + row * vocab_size : 0;
        int64_t n_groups = (vocab_size + GROUP - 1) / GROUP;
        double cumulative[n_groups + 1], weighted = 0;
        float greatest = -INFINITY, sum, products;
        #pragma omp simd reduction(max : greatest)
        for (int64_t i = 0; i < vocab_size; i++)
            greatest = z[i] > greatest ? z[i] : greatest;
        cumulative[0] = 0;
        for (int64_t group = 0; group < n_groups; group++) {
            int64_t first = group * GROUP, size = vocab_size - first;
            if (size >= GROUP && p)
                add_up(z + first, p + first, GROUP, greatest, &sum, &products);
            else if (size >= GROUP)
                add_up(z + first, 0, GROUP, greatest, &sum, &products);
            else
                add_up(z + first, p ? p + first : 0, size, greatest, &sum, &products);
            cumulative[group + 1] = cumulative[group] + sum;
            weighted += products;
        }
        /* Rounding must not reach the total, beyond which there is nothing; NaN ends at the last token. */
        double total = cumulative[n_groups], target = uniforms[row] * total, within = 0, passed = 0;
        target = target > total * JUST_BELOW_ONE ? total * JUST_BELOW_ONE : target;
        int64_t group = 0;
        while (group < n_groups - 1 && !(cumulative[group + 1] > target))
            group++;
        int64_t token = group * GROUP, end = token + GROUP < vocab_size ? token + GROUP : vocab_size;
        for (int64_t i = token; i < end; i++)
            within += exponential(z[i] - greatest);
        target -= cumulative[group];
        target = target > within * JUST_BELOW_ONE ? within * JUST_BELOW_ONE : target;
        while (passed += exponential(z[token] - greatest), token < end - 1 && !(passed > target))
            token++;
        token_ids[row] = token;
        log_prob[row] = (float)(z[token] - greatest - log(total));
        if (entropies)
            entropies[row] = (float)(log(total) - weighted / total);
        if (p) {
            float scale = (float)(1 / total);
            #pragma omp simd
            for (int64_t i = 0; i < vocab_size; i++)
                p[i] *= scale;
        }
    }
}

/* Write down what was chosen in each row, and go on to the next token where the row is running.
 *
 * tokens, log_prob, values (R,), and their tables (R, T + 1), whose last column takes what rows write that have ended;
 * n_generated, position, last_token, is_running (R,). A row that has ended stands still inside the context.
 */
void advance(
    const int64_t *tokens, const float *log_prob, const float *values, int64_t *token_table, float *log_prob_table,
    float *value_table, int64_t *n_generated, int64_t *position, int64_t *last_token, uint8_t *is_running,
    int64_t n_rows, int64_t max_new_tokens, int64_t context_length, int64_t eos_token_id)
{
    for (int64_t row = 0; row < n_rows; row++) {
        int64_t column = row * (max_new_tokens + 1) + (is_running[row] ? n_generated[row] : max_new_tokens);
        token_table[column] = last_token[row] = tokens[row];
        log_prob_table[column] = log_prob[row];
        value_table[column] = values[row];
        n_generated[row] += is_running[row];
        position[row] += is_running[row];
        if (position[row] >= context_length)
            position[row] = context_length - 1;
        is_running[row] &= tokens[row] != eos_token_id && n_generated[row] < max_new_tokens;
    }
}
