// Where each output coordinate reads: bilinear with align_corners=False.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "engines/native/kernels.h"

namespace deeplab {

// Output i of `size` mixes two neighbours of the `source` inputs; weight[i] is that of the higher.
struct Taps {
    std::vector<float> weight;
    std::vector<int> first;  // [source + 1]: outputs first[j] .. first[j + 1] - 1 lie in cell j

    Taps(int size, int source) : weight(size + kOverrun), first(source + 1, size) {
        const double scale = static_cast<double>(source) / size;
        for (int i = size - 1; i >= 0; --i) {
            const double position = std::clamp((i + 0.5) * scale - 0.5, 0.0, source - 1.0);
            const int low = static_cast<int>(position);
            weight[i] = static_cast<float>(position - low);
            first[low] = i;
        }
        for (int j = source - 1; j >= 0; --j) first[j] = std::min(first[j], first[j + 1]);
    }
};

// The cells of an output row, none wider than `widest` columns.
inline std::vector<Cell> cells_of(const Taps& taps, int widest) {
    std::vector<Cell> cells;
    const int source = static_cast<int>(taps.first.size()) - 1;
    for (int low = 0; low < source; ++low) {
        for (int x = taps.first[low]; x < taps.first[low + 1]; x += widest) {
            cells.push_back(
                {low, std::min(low + 1, source - 1), x, std::min(widest, taps.first[low + 1] - x)});
        }
    }
    return cells;
}

}  // namespace deeplab
