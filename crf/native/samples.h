// The points that a lattice is built from.
#pragma once

#include <cstdint>

namespace deeplab {

// Samples in tile order: x, y in pixels and r, g, b in 0..255, each array with room for kPadding
// more, so that vectors may read past the end. A sample stands for `mass` pixels; only the first
// samples of each tile, up to `updated_end`, have marginals that are inferred, the others are
// evidence. In the exact mode every pixel is a sample of mass 1 and all are updated.
struct Samples {
    static constexpr int kPadding = 16;
    // Few enough that six corners each have 16-bit numbers (65536 / 6).
    static constexpr int kTileSide = 104;

    int count = 0;
    int tiles = 0;
    const int* begin = nullptr;        // [tiles + 1]
    const int* updated_end = nullptr;  // [tiles]
    const float* axes[5] = {};         // x, y, r, g, b
    const float* mass = nullptr;
    const int32_t* pixel = nullptr;  // where in the frame: y * width + x
};

}  // namespace deeplab
