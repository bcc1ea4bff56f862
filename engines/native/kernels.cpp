// Compiled once per SIMD level: GCC's vector extensions, DEEPLAB_VECTOR_BYTES wide, and no fused
// multiply-add (-ffp-contract=off), so that all levels and NumPy round alike.
#include "engines/native/kernels.h"

#include <cstring>

namespace deeplab {
namespace DEEPLAB_LEVEL {
namespace {

constexpr int kLanes = DEEPLAB_VECTOR_BYTES / 4;
typedef float Floats __attribute__((vector_size(DEEPLAB_VECTOR_BYTES)));
typedef int32_t Ints __attribute__((vector_size(DEEPLAB_VECTOR_BYTES)));
typedef uint8_t Bytes __attribute__((vector_size(kLanes)));

// How many of a vector's lanes the elements from `index` on fill: all but at the end of the array.
inline int lanes_left(ptrdiff_t index, ptrdiff_t count) {
    return count - index < kLanes ? static_cast<int>(count - index) : kLanes;
}

inline Floats load(const float* from, int lanes) {
    Floats values{};
    if (lanes == kLanes) {
        std::memcpy(&values, from, sizeof values);
    } else {
        std::memcpy(&values, from, lanes * sizeof(float));
    }
    return values;
}

inline void store(float* to, Floats values, int lanes) {
    if (lanes == kLanes) {
        std::memcpy(to, &values, sizeof values);
    } else {
        std::memcpy(to, &values, lanes * sizeof(float));
    }
}

// `value(c, i, lanes)`: the values of class c at the elements from i on.
template <class Value>
inline void first_largest(Value value, int classes, ptrdiff_t count, uint8_t* winner) {
    for (ptrdiff_t i = 0; i < count; i += kLanes) {
        const int lanes = lanes_left(i, count);
        Floats best = value(0, i, lanes);
        Ints label{};
        for (int c = 1; c < classes; ++c) {
            const Floats candidate = value(c, i, lanes);
            const Ints better = ~(candidate <= best) & (best == best);  // NaN is never <=
            best = better ? candidate : best;
            label = better ? Ints{} + c : label;
        }
        const Bytes narrow = __builtin_convertvector(label, Bytes);
        std::memcpy(winner + i, &narrow, lanes);
    }
}

void argmax(const float* planes, ptrdiff_t stride, int classes, ptrdiff_t count, uint8_t* winner) {
    const auto value = [=](int c, ptrdiff_t i, int lanes) {
        return load(planes + c * stride + i, lanes);
    };
    first_largest(value, classes, count, winner);
}

void argmax_between(const float* top, const float* bottom, ptrdiff_t stride, int classes,
                    ptrdiff_t count, float weight, uint8_t* winner) {
    const auto value = [=](int c, ptrdiff_t i, int lanes) {
        const ptrdiff_t at = c * stride + i;
        return load(top + at, lanes) * (1 - weight) + load(bottom + at, lanes) * weight;
    };
    first_largest(value, classes, count, winner);
}

inline float possible(float value) { return value < kImpossible ? kImpossible : value; }

void stretch(const float* row, const Cell* cells, int count, const float* weight, float* out) {
    for (const Cell* cell = cells; cell < cells + count; ++cell) {
        const float west = possible(row[cell->low]), east = possible(row[cell->high]);
        // A vector that is longer than the cell is written over by the next one's.
        for (int i = 0; i < cell->columns; i += kLanes) {
            const Floats across = load(weight + cell->first + i, kLanes);
            store(out + i, west * (1 - across) + east * across, kLanes);
        }
        out += cell->columns;
    }
}

void between(const float* top, const float* bottom, ptrdiff_t count, float weight, float* out) {
    for (ptrdiff_t i = 0; i < count; ++i) out[i] = top[i] * (1 - weight) + bottom[i] * weight;
}

// e^x for x <= 0 within 2 units in the last place, 0 below -87.3, where e^x leaves the normal range
// (Cephes' expf: x = n ln 2 + r with |r| <= ln(2) / 2, a polynomial in r). NaN stays NaN.
inline Floats exp_of_negative(Floats x) {
    const Floats bounded = x < -87.3f ? Floats{} - 87.3f : x;
    const float to_integer = 12582912.0f;  // 1.5 * 2^23: adding it leaves no bit for a fraction
    const Floats n = (bounded * 1.44269504088896341f + to_integer) - to_integer;
    const Floats r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
    Floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    const Ints exponent = __builtin_convertvector(n, Ints) + 127;
    return x < -87.3f ? Floats{} : p * (Floats)(exponent << 23);
}

void softmax(float* planes, ptrdiff_t stride, int classes, ptrdiff_t count) {
    for (ptrdiff_t i = 0; i < count; i += kLanes) {
        const int lanes = lanes_left(i, count);
        Floats peak = load(planes + i, lanes);
        for (int c = 1; c < classes; ++c) {
            const Floats value = load(planes + c * stride + i, lanes);
            peak = value > peak ? value : peak;
        }
        Floats sum{};
        for (int c = 0; c < classes; ++c) {
            float* at = planes + c * stride + i;
            const Floats power = exp_of_negative(load(at, lanes) - peak);
            store(at, power, lanes);
            sum += power;
        }
        const Floats scale = 1.0f / sum;
        for (int c = 0; c < classes; ++c) {
            float* at = planes + c * stride + i;
            store(at, load(at, lanes) * scale, lanes);
        }
    }
}

}  // namespace

const Kernels kernels = {argmax, argmax_between, stretch, between, softmax};

}  // namespace DEEPLAB_LEVEL
}  // namespace deeplab
