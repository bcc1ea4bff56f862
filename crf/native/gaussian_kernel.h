// One term of the pairwise energy: what w n K n Q adds to each sample's field.
#pragma once

#include <cstring>

#include "buffer.h"
#include "permutohedral.h"
#include "row.h"
#include "samples.h"

namespace deeplab {
namespace DEEPLAB_LEVEL {

// D feature axes, rows of K vectors. Per frame: build the lattice, reserve; then, tile by tile:
// begin, splat the evidence, keep it, splat the samples. Per iteration: merge, blur each axis;
// then, tile by tile: restart, slice and splat each sample.
template <int D, int K>
class GaussianKernel {
public:
    static constexpr int kAxes = D + 1;
    using Row = typename RowShape<K>::Row;

    GaussianKernel(RowShape<K> shape, float weight) : shape_(shape), weight_(weight) {}

    // Whether it adds anything; if not, none of what follows may be called.
    explicit operator bool() const { return weight_ != 0; }

    bool configure(const float* deviations, const float* extents) {
        return lattice_.configure(deviations, extents);
    }

    Lattice<D>& lattice() { return lattice_; }

    // Room for the values at the vertices of a lattice that has been built.
    void reserve(bool evidence) {
        rows_.need(lattice_.rows() * shape_.stride());
        values_.need(lattice_.vertices() * shape_.stride());
        if (evidence) evidence_.need(lattice_.rows() * shape_.stride());
    }

    void begin(int tile) { std::memset(tile_rows(rows_, tile), 0, tile_bytes(tile)); }

    // What was splatted on the tile so far is there from now on after each restart.
    void keep_evidence(int tile) {
        std::memcpy(tile_rows(evidence_, tile), tile_rows(rows_, tile), tile_bytes(tile));
    }

    void restart(int tile) {
        if (evidence_.data() == nullptr) return begin(tile);
        std::memcpy(tile_rows(rows_, tile), tile_rows(evidence_, tile), tile_bytes(tile));
    }

    void splat(int tile, int sample, const Row& row) {
        const uint16_t* corners = lattice_.corners(sample);
        const float* weights = lattice_.weights(sample);
        float* rows = tile_rows(rows_, tile);
        for (int r = 0; r < kAxes; ++r) {
            shape_.add_scaled_to(rows + corners[r] * shape_.stride(), row, weights[r]);
        }
    }

    void slice(int tile, int sample, Row& row) const {
        const uint32_t* vertices = lattice_.vertex_of_row() + lattice_.first_row(tile);
        const uint16_t* corners = lattice_.corners(sample);
        const float* weights = lattice_.weights(sample);
        for (int r = 0; r < kAxes; ++r) {
            shape_.add_scaled(row, &values_[vertices[corners[r]] * shape_.stride()], weights[r]);
        }
    }

    void merge(int worker, int workers) {
        const Share share(lattice_.vertices(), worker, workers);
        lattice_.template merge<K>(rows_.data(), values_.data(), weight_, shape_.vectors(), share);
    }

    void blur(int axis, int worker, int workers) {
        const Share share(lattice_.chained(axis), worker, workers);
        lattice_.template blur<K>(axis, values_.data(), shape_.vectors(), share);
    }

    size_t bytes() const {
        return lattice_.bytes() + rows_.bytes() + values_.bytes() + evidence_.bytes();
    }

private:
    float* tile_rows(Buffer<float>& rows, int tile) {
        return rows.data() + lattice_.first_row(tile) * shape_.stride();
    }

    size_t tile_bytes(int tile) const {
        return lattice_.rows_of(tile) * shape_.stride() * sizeof(float);
    }

    const RowShape<K> shape_;
    const float weight_;
    Lattice<D> lattice_;
    Buffer<float> rows_, values_, evidence_;
};

}  // namespace DEEPLAB_LEVEL
}  // namespace deeplab
