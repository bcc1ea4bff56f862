// Vectors of the SIMD level that a file is compiled for: 16, 8 or 4 floats.
//
// Arithmetic and comparisons are those of GCC's vector extensions; only what they lack is written
// per instruction set here.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#else
#error "the CRF core is written for x86-64 and 64-bit ARM"
#endif

namespace deeplab {
namespace DEEPLAB_LEVEL {

constexpr int kLanes = DEEPLAB_VECTOR_BYTES / 4;

typedef float Vec __attribute__((vector_size(kLanes * 4)));
typedef int32_t Int __attribute__((vector_size(kLanes * 4)));

inline Vec load(const float* from) {
    Vec v;
    std::memcpy(&v, from, sizeof v);
    return v;
}
inline void store(float* to, Vec v) { std::memcpy(to, &v, sizeof v); }
inline Vec set(float x) { return x - Vec{}; }
inline Vec choose(Int mask, Vec yes, Vec no) { return mask ? yes : no; }
inline Vec max(Vec a, Vec b) { return a > b ? a : b; }
inline Vec min(Vec a, Vec b) { return a < b ? a : b; }
inline Vec as_float(Int v) { return (Vec)v; }
inline Int as_int(Vec v) { return (Int)v; }
inline Vec to_float(Int v) { return __builtin_convertvector(v, Vec); }
inline Int to_int(Vec v) { return __builtin_convertvector(v, Int); }

#if defined(__AVX512F__)
inline Vec fma(Vec a, Vec b, Vec c) {
    return (Vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
inline Vec round(Vec v) { return (Vec)_mm512_roundscale_ps((__m512)v, 0); }
inline float largest(Vec v) { return _mm512_reduce_max_ps((__m512)v); }
inline float sum(Vec v) { return _mm512_reduce_add_ps((__m512)v); }
inline unsigned equal_mask(Vec a, Vec b) {
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_EQ_OQ);
}
inline unsigned greater_mask(Vec a, Vec b) {
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ);
}
#elif defined(__AVX2__)
inline Vec fma(Vec a, Vec b, Vec c) {
    return (Vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
inline Vec round(Vec v) { return (Vec)_mm256_round_ps((__m256)v, 0); }
inline float largest(Vec v) {
    __m128 half =
        _mm_max_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}
inline float sum(Vec v) {
    __m128 half =
        _mm_add_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}
inline unsigned equal_mask(Vec a, Vec b) {
    return unsigned(_mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_EQ_OQ)));
}
inline unsigned greater_mask(Vec a, Vec b) {
    return unsigned(_mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_GT_OQ)));
}
#elif defined(__x86_64__)
inline Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
inline Vec round(Vec v) { return (Vec)_mm_round_ps((__m128)v, 0); }  // SSE4.1
inline float largest(Vec v) {
    const __m128 half = _mm_max_ps((__m128)v, _mm_movehl_ps((__m128)v, (__m128)v));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}
inline float sum(Vec v) {
    const __m128 half = _mm_add_ps((__m128)v, _mm_movehl_ps((__m128)v, (__m128)v));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}
inline unsigned equal_mask(Vec a, Vec b) {
    return unsigned(_mm_movemask_ps(_mm_cmpeq_ps((__m128)a, (__m128)b)));
}
inline unsigned greater_mask(Vec a, Vec b) {
    return unsigned(_mm_movemask_ps(_mm_cmpgt_ps((__m128)a, (__m128)b)));
}
#else
inline Vec fma(Vec a, Vec b, Vec c) {
    return (Vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
inline Vec round(Vec v) { return (Vec)vrndnq_f32((float32x4_t)v); }
inline float largest(Vec v) { return vmaxvq_f32((float32x4_t)v); }
inline float sum(Vec v) { return vaddvq_f32((float32x4_t)v); }
inline unsigned to_mask(uint32x4_t lanes) {
    const uint32x4_t bits = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(lanes, bits));
}
inline unsigned equal_mask(Vec a, Vec b) {
    return to_mask(vceqq_f32((float32x4_t)a, (float32x4_t)b));
}
inline unsigned greater_mask(Vec a, Vec b) {
    return to_mask(vcgtq_f32((float32x4_t)a, (float32x4_t)b));
}
#endif

// e^x for x <= 0 within 2 units in the last place; below -87.3, where e^x leaves the normal range,
// it is 0 (Cephes' expf: x = n ln 2 + r, |r| <= ln(2)/2, a polynomial of degree 6 in r).
inline Vec exp_of_negative(Vec x) {
    const Vec n = round(x * 1.44269504088896341f);
    Vec r = fma(n, set(-0.693359375f), x);
    r = fma(n, set(2.12194440e-4f), r);
    Vec p = fma(set(1.9875691500e-4f), r, set(1.3981999507e-3f));
    p = fma(p, r, set(8.3334519073e-3f));
    p = fma(p, r, set(4.1665795894e-2f));
    p = fma(p, r, set(1.6666665459e-1f));
    p = fma(p, r, set(5.0000001201e-1f));
    p = fma(p, r * r, r + 1.0f);
    const Int exponent = to_int(max(n, set(-126.0f))) + 127;
    return choose(x < -87.3f, Vec{}, p * as_float(exponent << 23));
}

// ln(x) for normal x > 0 within 2 units in the last place (Cephes' logf).
inline Vec log_of_positive(Vec x) {
    const Int bits = as_int(x);
    Int exponent = (bits >> 23) - 126;
    Vec m = as_float((bits & 0x007fffff) | 0x3f000000);  // [0.5, 1)
    const Int low = m < 0.70710678f;
    exponent += low;
    m = choose(low, m + m, m) - 1.0f;
    Vec p = fma(set(7.0376836292e-2f), m, set(-1.1514610310e-1f));
    p = fma(p, m, set(1.1676998740e-1f));
    p = fma(p, m, set(-1.2420140846e-1f));
    p = fma(p, m, set(1.4249322787e-1f));
    p = fma(p, m, set(-1.6668057665e-1f));
    p = fma(p, m, set(2.0000714765e-1f));
    p = fma(p, m, set(-2.4999993993e-1f));
    p = fma(p, m, set(3.3333331174e-1f));
    const Vec e = to_float(exponent);
    const Vec square = m * m;
    Vec result = p * m * square;
    result = fma(e, set(-2.12194440e-4f), result);
    result = fma(square, set(-0.5f), result);
    return fma(e, set(0.693359375f), m + result);
}

}  // namespace DEEPLAB_LEVEL
}  // namespace deeplab
