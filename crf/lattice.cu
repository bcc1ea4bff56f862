// The permutohedral lattice of a frame (Adams, Baek and Davis 2010), vertices found in a hash table.
//
// One thread per pixel walks no memory but its own: it computes the simplex around its point in
// registers and inserts the D + 1 corners by a single 64-bit compare-and-swap of the whole key, so
// there is no lock, no half-written key and no clean-up pass. Which vertex gets which number depends
// on the order of execution; nothing computed from the lattice does, see rows.cu.
//
// Arithmetic is the oracle's (crf/permutohedral.py), operation by operation: compile without
// contraction to fused multiply-adds, and the vertices are the same ones.
//
// Shapes: N pixels, D dimensions, M vertices; corner c of pixel p is entry p * (D + 1) + c.

#include "counters.cuh"

typedef unsigned long long Key;

constexpr Key EMPTY = ~0ull;  // no key: they have 63 bits

__device__ inline unsigned int hash(Key key) {  // the finaliser of MurmurHash3
    key ^= key >> 33;
    key *= 0xff51afd7ed558ccdull;
    key ^= key >> 33;
    key *= 0xc4ceb9fe1a85ec53ull;
    return static_cast<unsigned int>(key ^ (key >> 33));
}

// The table of `slots` places, a power of two at least twice `capacity`: never more than half full.
struct Table {
    Key* slot_key;    // [slots]
    int* slot_vertex;  // [slots]
    Key* vertex_key;  // [capacity]
    int* counters;
    int slots;
    int capacity;
};

// The place of `key`, claimed if it is new; -1 once the lattice is known to overflow.
__device__ inline int insert(const Table& table, Key key) {
    int slot = hash(key) & (table.slots - 1);
    while (true) {
        // Most corners are there already: an ordinary read finds out without an atomic operation.
        Key found = *static_cast<volatile Key*>(table.slot_key + slot);
        if (found == EMPTY) found = atomicCAS(table.slot_key + slot, EMPTY, key);
        if (found == key) return slot;
        if (found == EMPTY) break;
        if (*static_cast<volatile int*>(table.counters + OVERFLOWS)) return -1;
        slot = (slot + 1) & (table.slots - 1);
    }
    int vertex = atomicAdd(table.counters + VERTICES, 1);
    if (vertex >= table.capacity) {
        table.counters[OVERFLOWS] = 1;
        return -1;
    }
    table.slot_vertex[slot] = vertex;
    table.vertex_key[vertex] = key;
    return slot;
}

// The vertex of `key`, -1 if no pixel touches it.
__device__ inline int find(const Table& table, Key key) {
    int slot = hash(key) & (table.slots - 1);
    for (Key found; (found = table.slot_key[slot]) != EMPTY; slot = (slot + 1) & (table.slots - 1))
        if (found == key) return table.slot_vertex[slot];
    return -1;
}

// The simplex around a point, section 3.2 of the paper.
template <int D>
struct Simplex {
    int origin[D + 1];    // its vertex of remainder 0
    int rank[D + 1];      // place of each coordinate of (point - origin) in descending order
    float weight[D + 1];  // barycentric weight of the vertex of each remainder
};

// Scale and rotate the point into the plane of D + 1 coordinates that sum to 0.
template <int D>
__device__ inline void elevate(const float* feature, const float* scale, float* elevated) {
    float running = 0;  // the sum of the axes after this one, in this order
#pragma unroll
    for (int axis = D; axis > 0; axis--) {
        float scaled = feature[axis - 1] * scale[axis - 1];
        elevated[axis] = running - axis * scaled;
        running += scaled;
    }
    elevated[0] = running;
}

template <int D>
__device__ inline Simplex<D> embed(const float* feature, const float* scale) {
    constexpr float share = 1.0f / (D + 1);
    Simplex<D> simplex;
    float elevated[D + 1], beyond[D + 1], remainder[D + 1], by_rank[D + 1];
    elevate<D>(feature, scale, elevated);
    int excess = 0;  // not 0: the nearest point is off the lattice's plane
#pragma unroll
    for (int i = 0; i <= D; i++) {
        float nearest = rintf(elevated[i] * share);
        beyond[i] = elevated[i] - nearest * (D + 1);
        simplex.origin[i] = static_cast<int>(nearest) * (D + 1);
        simplex.rank[i] = 0;
        excess += static_cast<int>(nearest);
    }
#pragma unroll
    for (int i = 0; i < D; i++)
#pragma unroll
        for (int j = i + 1; j <= D; j++) {
            bool smaller = beyond[i] < beyond[j];
            simplex.rank[i] += smaller;
            simplex.rank[j] += !smaller;
        }
#pragma unroll
    for (int i = 0; i <= D; i++) {
        int rank = simplex.rank[i] + excess;
        int wrap = rank < 0 ? D + 1 : rank > D ? -(D + 1) : 0;
        simplex.rank[i] = rank + wrap;
        simplex.origin[i] += wrap;
        remainder[i] = (elevated[i] - static_cast<float>(simplex.origin[i])) * share;
    }
#pragma unroll
    for (int place = 0; place <= D; place++) {
        by_rank[place] = 0;
#pragma unroll
        for (int i = 0; i <= D; i++)  // selects instead of an index: stays in registers
            if (simplex.rank[i] == place) by_rank[place] = remainder[i];
    }
    simplex.weight[0] = by_rank[D] + (1 - by_rank[0]);
#pragma unroll
    for (int i = 1; i <= D; i++) simplex.weight[i] = by_rank[D - i] - by_rank[D - i + 1];
    return simplex;
}

// Insert the corners of one pixel; their weights and places go to its D + 1 entries.
//
// The first D coordinates of a vertex tell it (all sum to 0). Less `low[D]`, times `stride[D]`, they
// add up to its key; the fields have room for neighbours.
template <int D>
__device__ inline void add_pixel(
    const float* feature, int pixel, const float* scale, const long long* low,
    const long long* stride, const Table& table, int* entry_slot, float* entry_weight
) {
    Simplex<D> simplex = embed<D>(feature, scale);
#pragma unroll
    for (int remainder = 0; remainder <= D; remainder++) {
        long long key = 0;
#pragma unroll
        for (int i = 0; i < D; i++) {
            int wrap = simplex.rank[i] > D - remainder ? D + 1 : 0;
            key += (simplex.origin[i] + remainder - wrap - low[i]) * stride[i];
        }
        int entry = pixel * (D + 1) + remainder;
        entry_slot[entry] = insert(table, static_cast<Key>(key));
        entry_weight[entry] = simplex.weight[remainder];
    }
}

// Empty the table: slot_key[slots], counters[4].
extern "C" __global__ void clear_table(Key* slot_key, int slots, int* counters) {
    int slot = blockIdx.x * blockDim.x + threadIdx.x;
    if (slot < slots) slot_key[slot] = EMPTY;
    if (slot < 4) counters[slot] = 0;
}

// Appearance: the points (x / sigma_alpha, y / sigma_alpha, (r, g, b) / sigma_beta) of frame[N][3].
// entry_slot[N][6], entry_weight[N][6]; scale, low and stride [5].
extern "C" __global__ void embed_colours(
    const unsigned char* frame, int width, int pixels, float sigma_alpha, float sigma_beta,
    const float* scale, const long long* low, const long long* stride, Key* slot_key,
    int* slot_vertex, Key* vertex_key, int* counters, int slots, int capacity, int* entry_slot,
    float* entry_weight
) {
    int pixel = blockIdx.x * blockDim.x + threadIdx.x;
    if (pixel >= pixels) return;
    const unsigned char* colour = frame + 3ll * pixel;
    float feature[5] = {
        static_cast<float>(pixel % width) / sigma_alpha,
        static_cast<float>(pixel / width) / sigma_alpha,
        static_cast<float>(colour[0]) / sigma_beta,
        static_cast<float>(colour[1]) / sigma_beta,
        static_cast<float>(colour[2]) / sigma_beta,
    };
    Table table = {slot_key, slot_vertex, vertex_key, counters, slots, capacity};
    add_pixel<5>(feature, pixel, scale, low, stride, table, entry_slot, entry_weight);
}

// Smoothness: the points (x, y) / sigma_gamma. entry_slot[N][3], entry_weight[N][3]; the rest [2].
extern "C" __global__ void embed_positions(
    int width, int pixels, float sigma_gamma, const float* scale, const long long* low,
    const long long* stride, Key* slot_key, int* slot_vertex, Key* vertex_key, int* counters,
    int slots, int capacity, int* entry_slot, float* entry_weight
) {
    int pixel = blockIdx.x * blockDim.x + threadIdx.x;
    if (pixel >= pixels) return;
    float feature[2] = {
        static_cast<float>(pixel % width) / sigma_gamma,
        static_cast<float>(pixel / width) / sigma_gamma,
    };
    Table table = {slot_key, slot_vertex, vertex_key, counters, slots, capacity};
    add_pixel<2>(feature, pixel, scale, low, stride, table, entry_slot, entry_weight);
}

// From places in the table to vertices: entry_vertex[entries], and the same as keys to sort by.
extern "C" __global__ void name_corners(
    const int* slot_vertex, int entries, int* entry_vertex, int* sort_key, int* sort_entry
) {
    int entry = blockIdx.x * blockDim.x + threadIdx.x;
    if (entry >= entries) return;
    int vertex = slot_vertex[entry_vertex[entry]];  // holds the slot until now
    entry_vertex[entry] = vertex;
    sort_key[entry] = vertex;
    sort_entry[entry] = entry;
}

// before[axes][M] = -1, for `link_neighbours` to fill in.
extern "C" __global__ void forget(int* before, int count) {
    int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index < count) before[index] = -1;
}

// The vertex one step on along each axis, after[axes][M], and its inverse before[axes][M]; -1: none.
// step[axes] is what a step adds to the key.
extern "C" __global__ void link_neighbours(
    const Key* vertex_key, int vertices, int axes, const long long* step, Key* slot_key,
    int* slot_vertex, int slots, int* before, int* after
) {
    int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= vertices * axes) return;
    int axis = index / vertices, vertex = index % vertices;
    Table table = {slot_key, slot_vertex, nullptr, nullptr, slots, 0};
    int next = find(table, vertex_key[vertex] + static_cast<Key>(step[axis]));
    after[index] = next;
    if (next >= 0) before[axis * vertices + next] = vertex;
}
