// What happens to pixels on the way from a camera image to labels and their picture.
//
// Every kernel does the arithmetic of its twin in engines/twins.py, operation by operation: resizing
// and colours in integers, labels in floats that must not be contracted to fused multiply-adds.
// So a frame gives the same bits here as in NumPy, and as in FFmpeg where that does the CPU's part.
//
// Shapes: a frame is [height][width][3] RGB, one thread works on one pixel; all pixels of a kernel are
// numbered row by row, fewer than 2^31 / 3 of them.

typedef unsigned char Byte;

constexpr float IMPOSSIBLE = -1e30f;  // stands for -inf: survives interpolation with weight 0

__device__ inline int thread_index() { return blockIdx.x * blockDim.x + threadIdx.x; }

__device__ inline Byte level(int value) { return static_cast<Byte>(min(max(value, 0), 255)); }

// BT.601, luma 16 to 235, as swscale has it: y above black, u and v around 0, all in units of
// 2^(13 - bits).
__device__ inline void store_rgb(int y, int u, int v, int bits, Byte* rgb) {
    int luma = 9539 * y + (1 << (bits - 1));
    rgb[0] = level((luma + 13075 * v) >> bits);
    rgb[1] = level((luma - 3209 * u - 6660 * v) >> bits);
    rgb[2] = level((luma + 16525 * u) >> bits);
}

// Camera images, rows of `stride` bytes, to frames.

// `first` is the place of red: 0 for RGB, 2 for BGR.
extern "C" __global__ void pack_rgb(
    const Byte* camera, int height, int width, int stride, int first, Byte* frame
) {
    int pixel = thread_index();
    if (pixel >= height * width) return;
    const Byte* from = camera + static_cast<long long>(pixel / width) * stride + 3 * (pixel % width);
    Byte* to = frame + 3ll * pixel;
    to[0] = from[first];
    to[1] = from[1];
    to[2] = from[2 - first];
}

// Y U Y V for two pixels; an odd width ends in half of such a pair.
extern "C" __global__ void yuyv_to_rgb(
    const Byte* camera, int height, int width, int stride, Byte* frame
) {
    int pixel = thread_index();
    if (pixel >= height * width) return;
    int x = pixel % width;
    const Byte* row = camera + static_cast<long long>(pixel / width) * stride;
    const Byte* pair = row + 4 * (x / 2);
    store_rgb(pair[2 * (x % 2)] - 16, pair[1] - 128, pair[3] - 128, 13, frame + 3ll * pixel);
}

// `height` rows of Y, then half as many, rounded up, of U V for two by two pixels.
extern "C" __global__ void nv12_to_rgb(
    const Byte* camera, int height, int width, int stride, Byte* frame
) {
    int pixel = thread_index();
    if (pixel >= height * width) return;
    int x = pixel % width, y = pixel / width;
    Byte luma = camera[static_cast<long long>(y) * stride + x];
    const Byte* chroma = camera + static_cast<long long>(height + y / 2) * stride + 2 * (x / 2);
    store_rgb(luma - 16, chroma[0] - 128, chroma[1] - 128, 13, frame + 3ll * pixel);
}

// Resizing: see engines/stretch.py. A filter is first[n], weight[n][reach].

// One colour difference of the pixel or, doubled, of the pair of pixels that starts at `rgb`.
__device__ inline int chroma_14(const Byte* rgb, bool paired, int red, int green, int blue) {
    const Byte* other = paired ? rgb + 3 : rgb;
    int sum = red * (rgb[0] + other[0]) + green * (rgb[1] + other[1]) + blue * (rgb[2] + other[2]);
    return (sum + (256 << 15) + (1 << 9)) >> 10;
}

// Rows: frame[height][source_width][3] -> columns[height][width][3], Y U V in 15 bits.
extern "C" __global__ void stretch_rows(
    const Byte* frame, int height, int source_width, int width, int paired, const int* luma_first,
    const int* luma_weight, int luma_reach, const int* chroma_first, const int* chroma_weight,
    int chroma_reach, short* columns
) {
    int place = thread_index();
    if (place >= height * width) return;
    int x = place % width;
    const Byte* row = frame + static_cast<long long>(place / width) * source_width * 3;
    int y = 0, u = 0, v = 0;
    for (int i = 0; i < luma_reach; i++) {  // beyond the row there are weights of 0 alone
        const Byte* rgb = row + 3 * min(luma_first[x] + i, source_width - 1);
        int luma = 8414 * rgb[0] + 16519 * rgb[1] + 3208 * rgb[2] + (32 << 14) + (1 << 8);
        y += luma_weight[x * luma_reach + i] * (luma >> 9);
    }
    int pixels = paired ? 2 : 1, chroma_width = source_width / pixels;
    for (int i = 0; i < chroma_reach; i++) {
        const Byte* rgb = row + 3 * pixels * min(chroma_first[x] + i, chroma_width - 1);
        int weight = chroma_weight[x * chroma_reach + i];
        u += weight * chroma_14(rgb, paired, -4865, -9528, 14392);
        v += weight * chroma_14(rgb, paired, 14392, -12061, -2332);
    }
    short* to = columns + 3ll * place;
    to[0] = static_cast<short>(min(y >> 13, 32767));
    to[1] = static_cast<short>(min(u >> 13, 32767));
    to[2] = static_cast<short>(min(v >> 13, 32767));
}

// Columns: columns[source_height][width][3] -> frame[height][width][3].
extern "C" __global__ void stretch_columns(
    const short* columns, int source_height, int height, int width, const int* first,
    const int* weight, int reach, Byte* frame
) {
    int pixel = thread_index();
    if (pixel >= height * width) return;
    int x = pixel % width, row = pixel / width;
    int rounding = reach > 2 ? 1 << 9 : 0;  // swscale's short sums have none
    int y = rounding, u = rounding, v = rounding;
    for (int i = 0; i < reach; i++) {
        long long source = min(first[row] + i, source_height - 1);
        const short* yuv = columns + 3 * (source * width + x);
        int share = weight[row * reach + i];
        y += share * yuv[0];
        u += share * yuv[1];
        v += share * yuv[2];
    }
    Byte* to = frame + 3ll * pixel;
    store_rgb((y >> 10) - (16 << 9), (u >> 10) - (128 << 9), (v >> 10) - (128 << 9), 22, to);
}

// Labels. Logits are [classes][source_height][source_width]; NaN counts as the largest value.

// The first class whose score(class) is the largest.
template <typename Score>
__device__ inline Byte first_largest(int classes, Score score) {
    float best = score(0);
    int winner = 0;
    for (int label = 1; label < classes; label++) {
        float value = score(label);
        if (value > best || (value != value && best == best)) {
            best = value;
            winner = label;
        }
    }
    return static_cast<Byte>(winner);
}

// The class of each point of the map: winners[points].
extern "C" __global__ void find_winners(
    const float* logits, int classes, int points, Byte* winners
) {
    int point = thread_index();
    if (point >= points) return;
    winners[point] = first_largest(classes, [&](int label) {
        return logits[static_cast<long long>(label) * points + point];
    });
}

// labels[height][width] of the interpolated logits. Output row y reads the map's rows row_low[y] and
// the next one, which counts row_weight[y]; columns likewise.
//
// Four points with the same winner give that class to all pixels between them. So only pixels on the
// borders between classes, about a sixth of a street, are interpolated.
extern "C" __global__ void label_pixels(
    const float* logits, const Byte* winners, int classes, int source_height, int source_width,
    const int* row_low, const float* row_weight, const int* column_low, const float* column_weight,
    int height, int width, Byte* labels
) {
    int pixel = thread_index();
    if (pixel >= height * width) return;
    int x = pixel % width, y = pixel / width;
    int north = row_low[y], south = min(north + 1, source_height - 1);
    int west = column_low[x], east = min(west + 1, source_width - 1);
    int corner[4] = {
        north * source_width + west, north * source_width + east, south * source_width + west,
        south * source_width + east,
    };
    Byte winner = winners[corner[0]];
    bool agreed = winners[corner[1]] == winner && winners[corner[2]] == winner &&
                  winners[corner[3]] == winner;
    float down = row_weight[y], across = column_weight[x];
    long long plane = static_cast<long long>(source_height) * source_width;
    if (!agreed) winner = first_largest(classes, [&](int label) {
        float value[4];
        for (int i = 0; i < 4; i++) {
            float score = logits[label * plane + corner[i]];
            value[i] = score < IMPOSSIBLE ? IMPOSSIBLE : score;
        }
        float upper = value[0] * (1 - across) + value[1] * across;
        float lower = value[2] * (1 - across) + value[3] * across;
        return upper * (1 - down) + lower * down;
    });
    labels[pixel] = winner;
}

// mixed[pixels][3] from table[label][channel][level of the frame].
extern "C" __global__ void blend(
    const Byte* frame, const Byte* labels, const Byte* table, int pixels, Byte* mixed
) {
    int pixel = thread_index();
    if (pixel >= pixels) return;
    const Byte* mix = table + 768 * labels[pixel];
    for (int channel = 0; channel < 3; channel++) {
        long long place = 3ll * pixel + channel;
        mixed[place] = mix[256 * channel + frame[place]];
    }
}
