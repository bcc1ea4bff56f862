// The points that the CRF is inferred at.
#pragma once

#include <cstdint>

namespace deeplab {

// Samples of a frame, tile by tile: those of tile t are begin[t] .. end[t] - 1, and then there may
// be a gap. Each stands for `mass` pixels. The first of a tile, up to updated_end[t], are pixels
// with marginals to infer; the others are evidence, whose marginals stay what the unary says.
struct Samples {
    static constexpr int kTileSide = 104;  // 65536 / 6 pixels at most: corners have 16-bit numbers
    static constexpr int kPadding = 16;    // vectors may read this far past the last sample

    int tiles = 0;
    int capacity = 0;                  // of the arrays below
    const int* begin = nullptr;        // [tiles]
    const int* updated_end = nullptr;  // [tiles]
    const int* end = nullptr;          // [tiles]
    const float* axes[5] = {};         // x, y in pixels; r, g, b in 0..255
    const float* mass = nullptr;
};

}  // namespace deeplab
