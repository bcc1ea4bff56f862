// A row: one value per class, in vectors.
#pragma once

#include <cstddef>

#include "simd.h"

namespace deeplab {
namespace DEEPLAB_LEVEL {

constexpr float kNever = -1e30f;  // the field of a class that is excluded, and of a row's padding

// Rows of K vectors, held in registers; 0 stands for any number, known only at run time.
template <int K>
class RowShape {
public:
    using Row = Vec[K ? K : 256 / kLanes];

    explicit RowShape(int classes) : classes_(classes), vectors_((classes + kLanes - 1) / kLanes) {}

    int classes() const { return classes_; }
    int vectors() const { return K ? K : vectors_; }
    size_t stride() const { return size_t(vectors()) * kLanes; }  // floats from row to row

    void load(Row& row, const float* from) const {
        for (int k = 0; k < vectors(); ++k) row[k] = DEEPLAB_LEVEL::load(from + k * kLanes);
    }

    void store(float* to, const Row& row) const {
        for (int k = 0; k < vectors(); ++k) DEEPLAB_LEVEL::store(to + k * kLanes, row[k]);
    }

    void add_scaled(Row& row, const float* from, float scale) const {
        for (int k = 0; k < vectors(); ++k) {
            row[k] = fma(DEEPLAB_LEVEL::load(from + k * kLanes), set(scale), row[k]);
        }
    }

    void add_scaled_to(float* to, const Row& row, float scale) const {
        for (int k = 0; k < vectors(); ++k) {
            const Vec sum = fma(row[k], set(scale), DEEPLAB_LEVEL::load(to + k * kLanes));
            DEEPLAB_LEVEL::store(to + k * kLanes, sum);
        }
    }

    float largest(const Row& row) const {
        Vec top = row[0];
        for (int k = 1; k < vectors(); ++k) top = max(top, row[k]);
        return DEEPLAB_LEVEL::largest(top);
    }

    // Of equal ones the first, as NumPy's argmax.
    int first_largest(const Row& row) const {
        const Vec top = set(largest(row));
        int k = 0;
        while (equal_mask(row[k], top) == 0) ++k;
        return k * kLanes + __builtin_ctz(equal_mask(row[k], top));
    }

    // How many are greater than a bound.
    int count_above(const Row& row, float bound) const {
        int count = 0;
        for (int k = 0; k < vectors(); ++k)
            count += __builtin_popcount(greater_mask(row[k], set(bound)));
        return count;
    }

    void softmax(Row& row) const {
        const Vec top = set(largest(row));
        Vec total = {};
        for (int k = 0; k < vectors(); ++k) total += row[k] = exp_of_negative(row[k] - top);
        const Vec scale = set(1.0f / sum(total));
        for (int k = 0; k < vectors(); ++k) row[k] *= scale;
    }

private:
    const int classes_, vectors_;
};

}  // namespace DEEPLAB_LEVEL
}  // namespace deeplab
