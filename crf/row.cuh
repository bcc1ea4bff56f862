// A row holds one number per class, and a small group of lanes of a warp works on it together.
//
// CLASSES is a compile-time constant, so rows live in registers and every loop over one is unrolled.
// In memory a row is PACKS packs of WIDTH floats; the padding of the last pack is always 0. Lane l of
// the group owns the packs l, l + LANES, ...: a group reads a row in one or two coalesced loads.

constexpr int WIDTH = CLASSES == 1 ? 1 : 4;  // 16 bytes, the widest load of a lane
constexpr int PACKS = (CLASSES + WIDTH - 1) / WIDTH;

__device__ constexpr int power_of_two(int least) {
    return least <= 1 ? 1 : 2 * power_of_two((least + 1) / 2);
}
constexpr int LANES = PACKS < 32 ? power_of_two(PACKS) : 32;  // lanes of a group
constexpr int SHARE = (PACKS + LANES - 1) / LANES;            // packs of a lane
constexpr int BLOCK = 256;                                    // threads of a block
constexpr int GROUPS = BLOCK / LANES;                         // groups of a block

struct alignas(4 * WIDTH) Pack {
    float at[WIDTH];
};

// One lane's share of a row, in registers.
struct Row {
    Pack pack[SHARE];
};

__device__ inline int group_index() { return blockIdx.x * GROUPS + threadIdx.x / LANES; }

__device__ inline int lane_index() { return threadIdx.x % LANES; }

// The class that place `place` of share `share` stands for in this lane; CLASSES and more is padding.
__device__ inline int class_of(int share, int place) {
    return (lane_index() + share * LANES) * WIDTH + place;
}

__device__ inline Row zero_row() {
    Row row;
#pragma unroll
    for (int share = 0; share < SHARE; share++)
#pragma unroll
        for (int place = 0; place < WIDTH; place++) row.pack[share].at[place] = 0;
    return row;
}

// sum += weight * rows[index], this lane's share of it. Lanes beyond the row repeat its last pack and
// never store it: a branch here would make every load wait for the one before.
__device__ inline void add_row(Row& sum, float weight, const Pack* rows, int index) {
#pragma unroll
    for (int share = 0; share < SHARE; share++) {
        int pack = min(lane_index() + share * LANES, PACKS - 1);
        Pack part = rows[static_cast<long long>(index) * PACKS + pack];
#pragma unroll
        for (int place = 0; place < WIDTH; place++)
            sum.pack[share].at[place] += weight * part.at[place];
    }
}

__device__ inline void store_row(const Row& row, Pack* rows, int index) {
#pragma unroll
    for (int share = 0; share < SHARE; share++) {
        int pack = lane_index() + share * LANES;
        if (pack < PACKS) rows[static_cast<long long>(index) * PACKS + pack] = row.pack[share];
    }
}
