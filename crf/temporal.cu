// Evidence of the frames before on the logits' own grid: crf/temporal.py and crf/motion.py, operation
// by operation; compile without contraction to fused multiply-adds, and the scores are the same bits.
//
// Shapes: n cells of [height][width], pictures [n][3] RGB, scores and logits [classes][n].

typedef unsigned char Byte;

// What is counted on the way, counters[2].
constexpr int ALIKE = 0;   // the sum of the cells' shares, in whole steps
constexpr int BROKEN = 1;  // not 0: some logit is NaN or infinite

__device__ inline int thread_index() { return blockIdx.x * blockDim.x + threadIdx.x; }

__device__ inline int clamp(int value, int size) { return min(max(value, 0), size - 1); }

// (R + 2G + B) / 8 of a cell; beyond the border, the border is repeated.
__device__ inline int luma(const Byte* picture, int height, int width, int y, int x) {
    const Byte* rgb = picture + 3ll * (clamp(y, height) * width + clamp(x, width));
    return (rgb[0] + 2 * rgb[1] + rgb[2]) >> 3;
}

extern "C" __global__ void clear_counters(int* counters) {
    if (thread_index() < 2) counters[thread_index()] = 0;
}

extern "C" __global__ void find_broken(const float* logits, int count, int* counters) {
    int index = thread_index();
    if (index < count && !(fabsf(logits[index]) <= 3.402823466e38f)) counters[BROKEN] = 1;
}

// Where each cell of `after` was in `before`, source[n], and the past's share of it, weight[n].
//
// steps[count] (down, right) are the candidates, `stay` is what all but the first must gain;
// weights[256] and shares[256] go by the largest difference of the colours.
extern "C" __global__ void weigh_cells(
    const Byte* before, const Byte* after, int height, int width, const int* steps, int count,
    int stay, const float* weights, const int* shares, int* source, float* weight, int* counters
) {
    int cell = thread_index();
    if (cell >= height * width) return;
    int y = cell / width, x = cell % width, least = 0x7fffffff, best = 0;
    for (int candidate = 0; candidate < count; candidate++) {
        int down = steps[2 * candidate], right = steps[2 * candidate + 1];
        int difference = 0;
        for (int i = y - 1; i <= y + 1; i++)
            for (int j = x - 1; j <= x + 1; j++)
                difference += abs(
                    luma(after, height, width, i, j) -
                    luma(before, height, width, i + down, j + right)
                );
        int cost = difference + (candidate ? stay : 0);
        if (cost < least) {
            least = cost;
            best = candidate;
        }
    }
    int row = clamp(y + steps[2 * best], height), column = clamp(x + steps[2 * best + 1], width);
    int there = row * width + column, largest = 0;
    for (int channel = 0; channel < 3; channel++)
        largest = max(largest, abs(before[3ll * there + channel] - after[3ll * cell + channel]));
    source[cell] = there;
    weight[cell] = weights[largest];
    atomicAdd(counters + ALIKE, shares[largest]);
}

// scores = logits + weight (past - logits), or the logits alone where the past is broken, or they are,
// or the cells are less alike than `enough`.
extern "C" __global__ void mix_scores(
    const float* logits, const float* past, const int* source, const float* weight,
    const int* counters, const int* past_counters, int enough, int classes, int cells, float* scores
) {
    int index = thread_index();
    if (index >= classes * cells) return;
    int cell = index % cells;
    float score = logits[index];
    if (counters[ALIKE] >= enough && !counters[BROKEN] && !past_counters[BROKEN])
        score += (past[index - cell + source[cell]] - score) * weight[cell];
    scores[index] = score;
}

extern "C" __global__ void keep_picture(const Byte* picture, int size, Byte* kept) {
    if (thread_index() < size) kept[thread_index()] = picture[thread_index()];
}
