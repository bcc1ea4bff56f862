// The inner loops of the pixel functions, compiled once per SIMD level.
#pragma once

#include <cstddef>
#include <cstdint>

namespace deeplab {

// Stands for -inf, which interpolation with weight 0 would turn into NaN.
constexpr float kImpossible = -1e30f;

// Output columns first .. first + columns - 1, which mix the source columns `low` and `high`.
struct Cell {
    int32_t low, high;
    int32_t first, columns;
};

constexpr int kOverrun = 15;  // lanes of the widest vector, less one

// Values of class c lie at `planes + c * stride`; results are the same, bit for bit, on every
// level.
struct Kernels {
    // winner[i] = the first class with the largest planes[c][i]; NaN counts as the largest.
    void (*argmax)(const float* planes, ptrdiff_t stride, int classes, ptrdiff_t count,
                   uint8_t* winner);
    // The same of the values between two sets of planes: (1 - weight) top + weight bottom.
    void (*argmax_between)(const float* top, const float* bottom, ptrdiff_t stride, int classes,
                           ptrdiff_t count, float weight, uint8_t* winner);
    // One source row at the output columns of some cells, one after the other; writes up to
    // kOverrun values too many. `weight` is that of all output columns, and as much longer.
    void (*stretch)(const float* row, const Cell* cells, int count, const float* weight,
                    float* out);
    // out[i] = (1 - weight) top[i] + weight bottom[i].
    void (*between)(const float* top, const float* bottom, ptrdiff_t count, float weight,
                    float* out);
    // planes[c][i] becomes exp(planes[c][i]) / sum over c.
    void (*softmax)(float* planes, ptrdiff_t stride, int classes, ptrdiff_t count);
};

namespace baseline {
extern const Kernels kernels;
}
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}

}  // namespace deeplab
