// What the Python module sees of the CRF core: one solver per size, whatever the SIMD level.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace deeplab {

// engines.spec.CrfParams.
struct CrfParameters {
    float w1, sigma_alpha, sigma_beta, w2, sigma_gamma;
    int iterations;
    float temperature;
};

struct CrfSettings {
    int height, width, classes;
    CrfParameters parameters;
    bool fast;
    int threads;
};

struct CrfTask {
    const uint8_t* frame;  // [H, W, 3] RGB
    const float* logits;   // [C, h, w]
    int logits_height, logits_width;
    double budget_ms;  // no further iteration when it would exceed this; 0 for no limit
};

class CrfSolver {
public:
    static constexpr int kRefused = -1;  // logits with NaN or +infinity, or all classes excluded

    virtual ~CrfSolver() = default;
    virtual int run(const CrfTask& task) = 0;  // how many iterations ran, or kRefused
    virtual void labels(uint8_t* out) = 0;     // of the last run, [H, W]
    virtual void marginals(float* out) = 0;    // of the last run, [C, H, W]
    virtual size_t bytes() const = 0;          // of the buffers that grow with the lattices
};

// Made by crf/native/mean_field.cpp, compiled once per SIMD level; null if a standard deviation is
// too small for a lattice.
#define DEEPLAB_DECLARE_LEVEL(level)                                         \
    namespace level {                                                        \
    std::unique_ptr<CrfSolver> make_crf_solver(const CrfSettings& settings); \
    }
DEEPLAB_DECLARE_LEVEL(baseline)
#if defined(__x86_64__)
DEEPLAB_DECLARE_LEVEL(avx2)
DEEPLAB_DECLARE_LEVEL(avx512)
#endif
#undef DEEPLAB_DECLARE_LEVEL

}  // namespace deeplab
