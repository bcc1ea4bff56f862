// Mean-field updates Q = softmax(-U + sum_k w_k n_k K_k n_k Q): one kernel per step.
//
// K = slice . blur . splat on a lattice (lattice.cu) whose weights already hold the normalisation n.
// Compiled for CLASSES classes; with CLASSES = 1 it filters the ones that n comes from.
//
// Shapes: N pixels, M vertices, E = N (D + 1) entries, C classes; a row is C floats, see row.cuh.

#include "counters.cuh"
#include "row.cuh"

constexpr unsigned int ALL = 0xffffffffu;
constexpr float LARGEST = 3.402823466e38f;
constexpr float IMPOSSIBLE = -1e30f;  // stands for -inf: survives interpolation with weight 0

// Reductions over the group's lanes: every lane gets the same result, in a fixed order.
__device__ inline float group_max(float value) {
    for (int reach = LANES / 2; reach > 0; reach /= 2)
        value = fmaxf(value, __shfl_xor_sync(ALL, value, reach));
    return value;
}

__device__ inline float group_sum(float value) {
    for (int reach = LANES / 2; reach > 0; reach /= 2) value += __shfl_xor_sync(ALL, value, reach);
    return value;
}

__device__ inline int group_min(int value) {
    for (int reach = LANES / 2; reach > 0; reach /= 2)
        value = min(value, __shfl_xor_sync(ALL, value, reach));
    return value;
}

// Call act(value, class) for each number of the row that stands for a class.
template <typename Act>
__device__ inline void each_class(Row& row, Act act) {
#pragma unroll
    for (int share = 0; share < SHARE; share++)
#pragma unroll
        for (int place = 0; place < WIDTH; place++)
            if (class_of(share, place) < CLASSES)
                act(row.pack[share].at[place], class_of(share, place));
}

__device__ inline float row_max(Row& row) {
    float peak = -LARGEST;
    each_class(row, [&](float& value, int) { peak = fmaxf(peak, value); });
    return group_max(peak);
}

// Subtract the peak, exponentiate; returns the sum over the classes.
__device__ inline float exponentiate(Row& row) {
    float peak = row_max(row), sum = 0;
    each_class(row, [&](float& value, int) { sum += value = expf(value - peak); });
    return group_sum(sum);
}

// field -> softmax -> marginals[N][C], and if asked the first most likely class -> labels[N].
__device__ inline void finish_pixel(
    Row& row, int pixel, bool inside, int want_labels, Pack* marginals, unsigned char* labels
) {
    float scale = 1 / exponentiate(row);
    each_class(row, [&](float& value, int) { value *= scale; });
    if (inside) store_row(row, marginals, pixel);
    if (!want_labels) return;
    float peak = row_max(row);
    int winner = CLASSES;
    each_class(row, [&](float& value, int label) {
        if (value == peak) winner = min(winner, label);
    });
    winner = group_min(winner);
    if (inside && lane_index() == 0) labels[pixel] = static_cast<unsigned char>(winner);
}

// lowered[C][count], which may be the same memory: the logits[C][count] of each pixel less their
// maximum, so that none is above 0 or infinite; refused[0] = 1 if some maximum is NaN or infinite. A
// thread per pixel.
extern "C" __global__ void lower_peaks(
    const float* logits, int count, float* lowered, int* refused
) {
    int pixel = blockIdx.x * blockDim.x + threadIdx.x;
    if (pixel >= count) return;
    float peak = -LARGEST;
    bool possible = false, finite = true;
    for (int label = 0; label < CLASSES; label++) {
        float score = logits[static_cast<long long>(label) * count + pixel];
        finite &= score <= LARGEST;  // false for NaN, too
        possible |= score >= -LARGEST;
        peak = fmaxf(peak, score);
    }
    if (!finite || !possible) refused[0] = 1;
    for (int label = 0; label < CLASSES; label++) {
        long long place = static_cast<long long>(label) * count + pixel;
        lowered[place] = fmaxf(logits[place] - peak, IMPOSSIBLE);
    }
}

// Where output `place` of `size` reads `source` inputs: between low and high, this much of the latter
// (bilinear, align_corners=False). The position (place + 1/2) source / size - 1/2 as a fraction of
// integers: exact, and without doubles, which most GPUs are slow at.
__device__ inline float tap(int place, int size, int source, int* low, int* high) {
    int position = max((2 * place + 1) * source - size, 0);  // in steps of 1 / (2 size)
    *low = min(position / (2 * size), source - 1);
    *high = min(*low + 1, source - 1);
    return static_cast<float>(position - *low * 2 * size) / static_cast<float>(2 * size);
}

// U = min(-log softmax(logits / temperature), most) and Q = softmax(-U), a group of lanes per pixel.
// The logits[C][source_height][source_width] are upsampled; unary[N][C] holds -U.
extern "C" __global__ void begin(
    const float* logits, int source_height, int source_width, int height, int width,
    float temperature, float most, int want_labels, Pack* unary, Pack* marginals,
    unsigned char* labels
) {
    int pixels = height * width;
    bool inside = group_index() < pixels;
    int pixel = inside ? group_index() : pixels - 1;  // whole warps stay together for the shuffles
    int north, south, west, east;
    float down = tap(pixel / width, height, source_height, &north, &south);
    float across = tap(pixel % width, width, source_width, &west, &east);
    long long upper = static_cast<long long>(north) * source_width;
    long long lower = static_cast<long long>(south) * source_width;
    long long plane = static_cast<long long>(source_height) * source_width;
    Row row = zero_row();
    each_class(row, [&](float& value, int label) {
        const float* scores = logits + label * plane;
        float left = scores[upper + west] * (1 - down) + scores[lower + west] * down;
        float right = scores[upper + east] * (1 - down) + scores[lower + east] * down;
        value = left * (1 - across) + right * across;
    });
    float peak = row_max(row);
    each_class(row, [&](float& value, int) { value = (value - peak) / temperature; });
    Row exponents = row;
    float log_sum = logf(exponentiate(exponents));
    each_class(row, [&](float& value, int) { value = fmaxf(value - log_sum, -most); });
    if (inside) store_row(row, unary, pixel);
    finish_pixel(row, pixel, inside, want_labels, marginals, labels);
}

// Rows of entries to sums: a group of lanes per chunk adds weight * marginals[pixel], in order.
// Writes values[M][C] of vertices with one chunk, and the partial sums of the others.
extern "C" __global__ void splat(
    const Pack* marginals, const int* row_pixel, const float* row_weight, const int* chunk_first,
    const int* chunk_end, const int* chunk_target, const int* counters, Pack* values, Pack* partials
) {
    int chunk = group_index();
    if (chunk >= counters[CHUNKS]) return;
    Row sum = zero_row();
    int end = chunk_end[chunk];
#pragma unroll 4
    for (int place = chunk_first[chunk]; place < end; place++)
        add_row(sum, row_weight[place], marginals, row_pixel[place]);
    int target = chunk_target[chunk];
    if (target >= 0)
        store_row(sum, values, target);
    else
        store_row(sum, partials, ~target);
}

// Long rows: a block adds a row's partial sums, each group every GROUPS-th, then pairwise.
extern "C" __global__ void merge(
    const Pack* partials, const int* start, const int* long_row, const int* counters, Pack* values
) {
    __shared__ Pack sums[GROUPS * PACKS];
    int group = threadIdx.x / LANES;
    for (int index = blockIdx.x; index < counters[LONG_ROWS]; index += gridDim.x) {
        int vertex = long_row[index];
        int first = static_cast<int>(2ll * start[vertex] / CHUNK);
        int count = (start[vertex + 1] - start[vertex] + CHUNK - 1) / CHUNK;
        Row sum = zero_row();
        for (int i = group; i < count; i += GROUPS) add_row(sum, 1, partials, first + i);
        store_row(sum, sums, group);
        for (int reach = GROUPS / 2; reach > 0; reach /= 2) {
            __syncthreads();
            if (group < reach) {
                add_row(sum, 1, sums, group + reach);
                store_row(sum, sums, group);
            }
        }
        if (group == 0) store_row(sum, values, vertex);
        __syncthreads();  // the next row's sums overwrite these
    }
}

// One axis: blurred = v + (the vertex before + the one after) / 2, a group of lanes per vertex.
// before[axes][M] and after[axes][M] are -1 where there is no neighbour.
extern "C" __global__ void blur(
    const Pack* values, const int* before, const int* after, int vertices, int axis, Pack* blurred
) {
    int vertex = group_index();
    if (vertex >= vertices) return;
    int previous = before[axis * vertices + vertex], next = after[axis * vertices + vertex];
    Row sum = zero_row();
    add_row(sum, 1, values, vertex);
    if (previous >= 0) add_row(sum, 0.5f, values, previous);
    if (next >= 0) add_row(sum, 0.5f, values, next);
    store_row(sum, blurred, vertex);
}

// field += scale * slice, where each pixel's corners are its entries' vertices.
template <int CORNERS>
__device__ inline void add_message(
    Row& field, float scale, int pixel, const int* entry_vertex, const float* entry_weight,
    const Pack* values
) {
    if (scale == 0) return;  // a kernel of weight 0 has no lattice
#pragma unroll
    for (int corner = 0; corner < CORNERS; corner++) {
        long long entry = static_cast<long long>(pixel) * CORNERS + corner;
        add_row(field, scale * entry_weight[entry], values, entry_vertex[entry]);
    }
}

// One update, a group of lanes per pixel: slice both lattices, add -U, softmax, and the labels if
// asked. The scales are w_k times the constant factor of the lattice's filter.
extern "C" __global__ void update(
    const Pack* unary, float appearance_scale, const int* appearance_vertex,
    const float* appearance_weight, const Pack* appearance, float smoothness_scale,
    const int* smoothness_vertex, const float* smoothness_weight, const Pack* smoothness, int pixels,
    int want_labels, Pack* marginals, unsigned char* labels
) {
    bool inside = group_index() < pixels;
    int pixel = inside ? group_index() : pixels - 1;
    Row field = zero_row();
    add_row(field, 1, unary, pixel);
    add_message<6>(
        field, appearance_scale, pixel, appearance_vertex, appearance_weight, appearance
    );
    add_message<3>(
        field, smoothness_scale, pixel, smoothness_vertex, smoothness_weight, smoothness
    );
    finish_pixel(field, pixel, inside, want_labels, marginals, labels);
}
