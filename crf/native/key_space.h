// How lattice positions become integers.
#pragma once

#include <cmath>
#include <cstdint>

namespace deeplab {
namespace DEEPLAB_LEVEL {

// A key is a mixed-radix number of a position's first D lattice coordinates; the last one follows,
// as they sum to 0. Each coordinate has room for the corners of every possible sample, and their
// neighbours, so that steps on the lattice are sums of keys.
template <int D>
struct KeySpace {
    uint64_t strides[D + 1];
    uint64_t strides_sum;
    uint64_t origin;  // added to every key: no coordinate is negative then

    // From features to the elevated plane: splat, blur and slice together have this deviation.
    // Rounded twice, as pydensecrf does: a vertex more or less at a tie would be seen in Q.
    static float scale(int axis) {
        const float deviation = float(std::sqrt(2.0 / 3) * (D + 1));
        return float(1 / std::sqrt(axis * (axis + 1.0)) * deviation);
    }

    // The key of the next vertex along an axis: D steps on there, one step back on all others.
    uint64_t step(int axis) const { return (D + 1) * strides[axis] - strides_sum; }

    // False if coordinates would need more than 16 bits or keys more than 63, for features from 0
    // to `extents` that are divided by `deviations`.
    bool fit(const float* deviations, const float* extents) {
        double low[D + 1] = {}, high[D + 1] = {};
        for (int j = 1; j <= D; ++j) {
            const double reach = double(extents[j - 1]) / deviations[j - 1] * scale(j);
            for (int i = 0; i < j; ++i) high[i] += reach;
            low[j] -= j * reach;
        }
        constexpr double kMargin = 4 * (D + 1);  // to the nearest vertex, a corner, its neighbour
        double size = 1;
        strides_sum = origin = strides[D] = 0;
        for (int j = 0; j <= D; ++j) {
            if (!(std::fmax(-low[j], high[j]) < 32768)) return false;
            if (j == D) break;
            const double first = std::floor(low[j]) - kMargin;
            if (!(size < 9.2e18)) return false;
            strides[j] = uint64_t(size);
            strides_sum += strides[j];
            origin += uint64_t(-first) * strides[j];
            size *= std::ceil(high[j]) + kMargin - first + 1;
        }
        return size < 9.2e18;
    }
};

}  // namespace DEEPLAB_LEVEL
}  // namespace deeplab
