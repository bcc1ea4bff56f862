// Each vertex's entries in pixel order, so that sums over them come out the same on every run.
//
// Floating-point addition is not associative: adding by atomics gives other sums each time. So the
// entries are sorted by vertex once a frame, stably (least significant digit first), and a vertex
// adds its entries in their order, in chunks of CHUNK counted from its own first entry. Where a row
// of entries starts depends on the numbering of the vertices, its contents and chunks do not.
//
// Shapes: E entries (corners of pixels), M vertices, T tiles of TILE entries.

#include "counters.cuh"

constexpr int BLOCK = 256;  // threads of a block, and digits of a sort pass
constexpr int WARPS = BLOCK / 32;
constexpr int TILE = 2048;  // entries that a block sorts

__device__ inline int digit_of(int key, int shift) { return (key >> shift) & (BLOCK - 1); }

// Exclusive sum of `value` over the block's threads, and `total` of all: warps, then over the warps.
__device__ inline int exclusive_sum(int value, int* total) {
    __shared__ int warp_sums[WARPS];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, sum = value;
    for (int reach = 1; reach < 32; reach *= 2) {
        int other = __shfl_up_sync(0xffffffffu, sum, reach);
        if (lane >= reach) sum += other;
    }
    if (lane == 31) warp_sums[warp] = sum;
    __syncthreads();
    int before = 0;
    *total = 0;
    for (int w = 0; w < WARPS; w++) {
        if (w < warp) before += warp_sums[w];
        *total += warp_sums[w];
    }
    __syncthreads();  // the next call overwrites warp_sums
    return before + sum - value;
}

// How often each digit occurs in each tile: counts[256][T].
extern "C" __global__ void count_digits(const int* key, int entries, int shift, int* counts) {
    __shared__ int tile_counts[BLOCK];
    tile_counts[threadIdx.x] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < TILE; i += BLOCK) {
        int entry = blockIdx.x * TILE + i;
        if (entry < entries) atomicAdd(&tile_counts[digit_of(key[entry], shift)], 1);
    }
    __syncthreads();
    counts[threadIdx.x * gridDim.x + blockIdx.x] = tile_counts[threadIdx.x];
}

// A block per digit: counts[256][T] becomes the number before each tile, totals[256] that of all.
extern "C" __global__ void scan_digits(int* counts, int tiles, int* totals) {
    int* row = counts + blockIdx.x * tiles;
    int before = 0;
    for (int first = 0; first < tiles; first += BLOCK) {
        int tile = first + threadIdx.x, total;
        int sum = exclusive_sum(tile < tiles ? row[tile] : 0, &total);
        if (tile < tiles) row[tile] = before + sum;
        before += total;
    }
    if (threadIdx.x == 0) totals[blockIdx.x] = before;
}

// One pass of the stable sort by the digit at `shift`: a block per tile, a warp per part of it.
extern "C" __global__ void scatter_digits(
    const int* key, const int* entry, int entries, int shift, const int* counts, const int* totals,
    int* sorted_key, int* sorted_entry
) {
    constexpr int PART = TILE / WARPS;
    __shared__ int next[WARPS][BLOCK];  // where a warp's next entry of a digit goes
    int digit = threadIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32, unused;
    int part = blockIdx.x * TILE + warp * PART;
    for (int w = 0; w < WARPS; w++) next[w][digit] = 0;
    __syncthreads();
    for (int i = part + lane; i < part + PART; i += 32)
        if (i < entries) atomicAdd(&next[warp][digit_of(key[i], shift)], 1);
    int place = exclusive_sum(totals[digit], &unused);  // its barriers end the counting, too
    place += counts[digit * gridDim.x + blockIdx.x];
    for (int w = 0; w < WARPS; w++) {
        int count = next[w][digit];
        next[w][digit] = place;
        place += count;
    }
    __syncthreads();
    for (int i = part + lane; i - lane < part + PART; i += 32) {
        bool inside = i < entries;
        int mine = inside ? digit_of(key[i], shift) : -1;
        unsigned int equal = __match_any_sync(0xffffffffu, mine);
        int earlier = __popc(equal & ((1u << lane) - 1));
        int first = inside ? next[warp][mine] : 0;
        __syncwarp();
        if (inside) {
            sorted_key[first + earlier] = key[i];
            sorted_entry[first + earlier] = entry[i];
            if (earlier == 0) next[warp][mine] = first + __popc(equal);
        }
        __syncwarp();
    }
}

// Where each vertex's row starts among the sorted entries: start[M + 1]. No row is empty.
extern "C" __global__ void find_rows(const int* sorted_key, int entries, int* start) {
    int place = blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= entries) return;
    int vertex = sorted_key[place];
    if (place == 0 || sorted_key[place - 1] != vertex) start[vertex] = place;
    if (place == entries - 1) start[vertex + 1] = entries;
}

// Cut the rows into chunks, listed in any order: the entries [chunk_first, chunk_end) add up to the
// vertex `chunk_target`, or to the partial sum ~chunk_target of a row in long_row.
//
// A long row starting at s keeps its partial sums at 2 s / CHUNK and on: a row of l > CHUNK entries
// has ceil(l / CHUNK) <= floor(2 l / CHUNK) chunks, so no two rows overlap.
extern "C" __global__ void cut_rows(
    const int* sorted_key, const int* start, int entries, int* counters, int* chunk_first,
    int* chunk_end, int* chunk_target, int* long_row
) {
    int place = blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= entries) return;
    int vertex = sorted_key[place];
    int first = start[vertex], end = start[vertex + 1];
    if ((place - first) % CHUNK != 0) return;
    bool is_long = end - first > CHUNK;
    int chunk = atomicAdd(counters + CHUNKS, 1);
    chunk_first[chunk] = place;
    chunk_end[chunk] = min(place + CHUNK, end);
    int partial = static_cast<int>(2ll * first / CHUNK) + (place - first) / CHUNK;
    chunk_target[chunk] = is_long ? ~partial : vertex;
    if (is_long && place == first) long_row[atomicAdd(counters + LONG_ROWS, 1)] = vertex;
}

// The sorted entries' pixels and weights side by side: row_pixel[E], row_weight[E].
extern "C" __global__ void gather_entries(
    const int* sorted_entry, const float* entry_weight, int entries, int corners, int* row_pixel,
    float* row_weight
) {
    int place = blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= entries) return;
    int entry = sorted_entry[place];
    row_pixel[place] = entry / corners;
    row_weight[place] = entry_weight[entry];
}

// Fold n = 1 / sqrt(K 1) into the weights: entry_weight[N][corners] *= n, with K 1 = slice(values).
// `alpha` is the constant factor of the lattice's filter.
extern "C" __global__ void normalise(
    const float* values, const int* entry_vertex, int pixels, int corners, float alpha,
    float* entry_weight
) {
    int pixel = blockIdx.x * blockDim.x + threadIdx.x;
    if (pixel >= pixels) return;
    long long first = static_cast<long long>(pixel) * corners;
    float mass = 0;
    for (long long entry = first; entry < first + corners; entry++)
        mass += entry_weight[entry] * values[entry_vertex[entry]];
    float norm = 1 / sqrtf(mass * alpha);  // a pixel's own share alone keeps the mass from 0
    for (long long entry = first; entry < first + corners; entry++) entry_weight[entry] *= norm;
}

// ones[N] = 1, what the normalisation filters.
extern "C" __global__ void fill_ones(float* ones, int count) {
    int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index < count) ones[index] = 1;
}
