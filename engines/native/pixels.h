// From a network's stride-4 logits to labels, probabilities and pictures at the frame's size.
// Each has a twin of the same name in engines/twins.py; shapes are checked by the caller.
#pragma once

#include <cstdint>
#include <string>

namespace deeplab {

struct Size {
    int height, width;
};

// How to compute, which never changes what comes out.
struct Effort {
    int threads;
    std::string level;  // one of simd_levels(), or empty for the best of them
};

// logits [classes, source], contiguous; labels [size].
void upsample_argmax(const float* logits, int classes, Size source, uint8_t* labels, Size size,
                     const Effort& effort);

// logits [classes, source]; values [classes, size].
void upsample(const float* logits, int classes, Size source, float* values, Size size,
              const Effort& effort);

// upsample, then softmax over the classes.
void upsample_softmax(const float* logits, int classes, Size source, float* marginals, Size size,
                      const Effort& effort);

// mixed[y, x, k] = table[labels[y, x], k, frame[y, x, k]]; frame and mixed [size, 3].
void blend(const uint8_t* frame, const uint8_t* labels, const uint8_t* table, uint8_t* mixed,
           Size size, int threads);

}  // namespace deeplab
