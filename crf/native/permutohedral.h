// The permutohedral lattice of a frame's samples (Adams, Baek and Davis 2010), built tile by tile.
//
// Its arithmetic is that of crf/permutohedral.py, the oracle: the same simplices, blur taps 1/2, 1,
// 1/2, and no vertex beyond those that a sample touches. What differs is the layout, made for speed
// and for results that do not depend on the number of threads:
//
//   * The frame is cut into tiles. Each has rows of values of its own, one for each vertex that its
//     samples touch (16-bit numbers, in the order in which they do), so tiles are independent.
//   * The lattice is their union: a vertex's value is the sum of its rows, in tile order.
//   * The vertices on a line along an axis form a chain, and the blur walks along it in place: each
//     value is read and written once. A vertex without neighbours is not visited at all.
#pragma once

#include <cmath>
#include <cstdint>
#include <memory>

#include "buffer.h"
#include "engines/native/team.h"
#include "hash_table.h"
#include "key_space.h"
#include "samples.h"
#include "simd.h"

namespace deeplab {
namespace DEEPLAB_LEVEL {

// A worker's part of `count` things.
struct Share {
    int first, last;

    Share(int count, int worker, int workers)
        : first(int(int64_t(count) * worker / workers)),
          last(int(int64_t(count) * (worker + 1) / workers)) {}
};

// D feature axes: 2 (position) or 5 (position and colour).
template <int D>
class Lattice {
public:
    static constexpr int kCorners = D + 1;

    // Standard deviations of the feature axes, and the largest feature on each (the least is 0).
    // False if a standard deviation is too small to tell lattice positions apart.
    bool configure(const float* deviations, const float* extents) {
        for (int j = 0; j < D; ++j) {
            deviations_[j] = deviations[j];
            scales_[j] = KeySpace<D>::scale(j + 1);
        }
        return keys_.fit(deviations, extents);
    }

    // Building takes five steps, of which each must be done before the next: reserve; embed every
    // tile; join; link every axis; weigh; normalise every tile. Steps of several lattices can be
    // done together; tiles and axes by any worker.
    void reserve(const Samples& samples, int workers) {
        samples_ = samples;
        const size_t corners = size_t(samples_.capacity) * kCorners;
        corners_.need(corners);
        weights_.need(corners + kLanes);
        row_keys_.need(corners);
        row_mass_.need(corners);
        first_row_.need(samples_.tiles + 1);
        rows_in_.need(samples_.tiles);
        if (workers_count_ != workers) {
            workers_.reset(new Worker[workers]);
            workers_count_ = workers;
        }
    }

    // Number the vertices of a tile's samples and add up the mass at each.
    void embed(int tile, int worker) { embed(tile, workers_[worker]); }

    // Number the vertices of all tiles, in the order of their first row, and list each one's rows.
    void join() {
        rows_ = 0;
        for (int tile = 0; tile < samples_.tiles; ++tile) {
            first_row_[tile] = rows_;
            rows_ += rows_in_[tile];
        }
        first_row_[samples_.tiles] = rows_;
        vertex_of_row_.need(rows_);
        table_.clear(table_.size());
        for (int tile = 0; tile < samples_.tiles; ++tile) {
            const uint64_t* keys = row_keys_.data() + size_t(samples_.begin[tile]) * kCorners;
            uint32_t* vertex = vertex_of_row_.data() + first_row_[tile];
            const int count = rows_in_[tile];
            for (int i = 0; i < count; ++i) {
                table_.prefetch(keys[i + kAhead < count ? i + kAhead : i]);
                vertex[i] = table_.insert(keys[i]);
            }
        }
        vertices_ = int(table_.size());
        list_sources();
    }

    // List the chains of an axis: a vertex with none before it, the one after it, and so on.
    void link(int axis, int worker) { link(axis, workers_[worker]); }

    // K's right-hand side for the normalisation: the mass at each vertex, blurred.
    void weigh() {
        sum_mass();
        for (int axis = 0; axis < kCorners; ++axis) blur_mass(axis);
    }

    // Multiply the weights of a tile's samples by n = 1 / sqrt(K mass).
    void normalise(int tile) {
        const uint32_t* vertex = vertex_of_row_.data() + first_row_[tile];
        for (int s = samples_.begin[tile]; s < samples_.end[tile]; ++s) {
            const uint16_t* corner = &corners_[size_t(s) * kCorners];
            float* weight = &weights_[size_t(s) * kCorners];
            float mass = 1e-20f;
            for (int r = 0; r < kCorners; ++r) mass += weight[r] * mass_[vertex[corner[r]]];
            const float norm = 1.0f / std::sqrt(mass);
            for (int r = 0; r < kCorners; ++r) weight[r] *= norm;
        }
    }

    int vertices() const { return vertices_; }
    int rows() const { return rows_; }
    int first_row(int tile) const { return first_row_[tile]; }
    int rows_of(int tile) const { return first_row_[tile + 1] - first_row_[tile]; }

    // The vertex that a row is a part of; rows of a tile follow each other.
    const uint32_t* vertex_of_row() const { return vertex_of_row_.data(); }

    // The kCorners rows of a sample, counted within its tile, and its weights there: the
    // barycentric coordinate times n = 1 / sqrt(K 1), so that the filter computes n K n.
    const uint16_t* corners(int sample) const { return &corners_[size_t(sample) * kCorners]; }
    const float* weights(int sample) const { return &weights_[size_t(sample) * kCorners]; }

    // values[vertex] = scale * the sum of its rows, for the vertices of `share`.
    template <int K>
    void merge(const float* rows, float* values, float scale, int vectors, Share share) const {
        const int used = K ? K : vectors;
        const size_t stride = size_t(used) * kLanes;
        for (int v = share.first; v < share.last; ++v) {
            const uint32_t end = first_source_[v + 1];
            uint32_t source = first_source_[v];
            for (int k = 0; k < used; ++k) {
                Vec total = load(rows + sources_[source] * stride + k * kLanes);
                for (uint32_t s = source + 1; s < end; ++s) {
                    total += load(rows + sources_[s] * stride + k * kLanes);
                }
                store(values + v * stride + k * kLanes, total * scale);
            }
        }
    }

    // values = values + (the vertex before + the vertex after) / 2 along an axis, in place.
    template <int K>
    void blur(int axis, float* values, int vectors, Share share) const {
        const uint32_t* chain = chains_[axis].data();
        const int first = next_start(axis, share.first), last = next_start(axis, share.last);
        if (first == last) return;
        const int used = K ? K : vectors;
        const size_t stride = size_t(used) * kLanes;
        Vec before[K ? K : kMostVectors], here[K ? K : kMostVectors];
        for (int k = 0; k < used; ++k) {
            before[k] = Vec{};
            here[k] = load(values + (chain[first] & ~kLast) * stride + k * kLanes);
        }
        for (int i = first; i < last; ++i) {
            // The list is padded, so looking ahead is safe. What follows the end of a chain is the
            // start of another, which counts as nothing, or another worker's, which is not read.
            __builtin_prefetch(values + (chain[i + kAhead] & ~kLast) * stride, 1);
            float* value = values + (chain[i] & ~kLast) * stride;
            const float* after = values + (chain[i + 1 < last ? i + 1 : i] & ~kLast) * stride;
            const Int linked = Int{} + (int32_t(chain[i] >> 31) - 1);
            for (int k = 0; k < used; ++k) {
                const Vec next = load(after + k * kLanes);
                const Vec neighbours = before[k] + as_float(as_int(next) & linked);
                store(value + k * kLanes, fma(neighbours, set(0.5f), here[k]));
                before[k] = as_float(as_int(here[k]) & linked);
                here[k] = next;
            }
        }
    }

    int chained(int axis) const { return chained_[axis]; }

    size_t bytes() const {
        size_t total = corners_.bytes() + weights_.bytes() + vertex_of_row_.bytes() +
                       first_source_.bytes() + sources_.bytes() + table_.bytes();
        for (const auto& chain : chains_) total += chain.bytes();
        return total;
    }

private:
    static constexpr uint32_t kLast = 1u << 31;  // marks the last vertex of a chain
    static constexpr int kAhead = 12;
    static constexpr int kMostVectors = 256 / kLanes;

    struct Simplices {                   // of kLanes samples
        int32_t origin[D][kLanes];       // lattice coordinates of the vertex of remainder 0
        int32_t rank[kCorners][kLanes];  // of (sample - origin), descending
        float weight[kCorners][kLanes];  // barycentric, by remainder
    };

    struct Worker {
        HashTable table;
        Buffer<uint32_t> next;
        Buffer<uint8_t> reached;
    };

    void embed(int tile, Worker& worker) {
        HashTable& table = worker.table;
        table.clear(table.size());  // as many as in the tile before
        const size_t base = size_t(samples_.begin[tile]) * kCorners;
        float* mass = row_mass_.data() + base;
        uint64_t last_key[kCorners];
        uint32_t last_row[kCorners] = {};
        for (uint64_t& key : last_key) key = UINT64_MAX;
        Simplices simplex;
        const int end = samples_.end[tile];
        for (int batch = samples_.begin[tile]; batch < end; batch += kLanes) {
            find_simplices(batch, simplex);
            const int used = end - batch < kLanes ? end - batch : kLanes;
            for (int i = 0; i < used; ++i) {
                uint64_t key = keys_.origin;
                for (int j = 0; j < D; ++j) key += int64_t(simplex.origin[j][i]) * keys_.strides[j];
                uint64_t drop[kCorners];  // by rank: what the coordinate of that rank steps back by
                for (int j = 0; j < kCorners; ++j) {
                    drop[simplex.rank[j][i]] = kCorners * keys_.strides[j];
                }
                const size_t at = size_t(batch + i) * kCorners;
                for (int r = 0; r < kCorners; ++r) {
                    if (key != last_key[r]) {
                        const uint32_t known = table.size();
                        last_key[r] = key;
                        last_row[r] = table.insert(key);
                        if (last_row[r] == known) mass[known] = 0;
                    }
                    const uint32_t row = last_row[r];
                    corners_[at + r] = uint16_t(row);
                    weights_[at + r] = simplex.weight[r][i];
                    mass[row] += simplex.weight[r][i] * samples_.mass[batch + i];
                    key += keys_.strides_sum - drop[D - r];
                }
            }
        }
        rows_in_[tile] = int(table.size());
        std::memcpy(row_keys_.data() + base, table.keys(), table.size() * sizeof(uint64_t));
    }

    // Adams et al. 2010, section 3.2, for kLanes samples at once.
    void find_simplices(int sample, Simplices& out) const {
        Vec elevated[kCorners];
        Vec running = {};
        for (int j = D; j > 0; --j) {
            const Vec scaled =
                load(samples_.axes[j - 1] + sample) / deviations_[j - 1] * scales_[j - 1];
            elevated[j] = running - scaled * float(j);
            running += scaled;
        }
        elevated[0] = running;

        constexpr float share = 1.0f / kCorners;
        Int origin[kCorners], rank[kCorners], excess = {};
        Vec beyond[kCorners];
        for (int j = 0; j < kCorners; ++j) {
            const Vec nearest = round(elevated[j] * share);
            beyond[j] = elevated[j] - nearest * float(kCorners);
            origin[j] = to_int(nearest);
            excess += origin[j];
            rank[j] = Int{};
        }
        for (int i = 0; i < D; ++i) {
            for (int j = i + 1; j < kCorners; ++j) {
                const Int smaller = beyond[i] < beyond[j];  // -1 where it is
                rank[i] -= smaller;
                rank[j] += smaller + 1;
            }
        }
        Vec sorted[kCorners];
        for (int j = 0; j < kCorners; ++j) {
            rank[j] += excess;  // not 0: off the lattice's plane, bring it back
            const Int wrap = ((rank[j] > D) & 1) - ((rank[j] < 0) & 1);
            rank[j] -= wrap * kCorners;
            origin[j] = (origin[j] - wrap) * kCorners;
            sorted[j] = (elevated[j] - to_float(origin[j])) * share;
            if (j < D) std::memcpy(out.origin[j], &origin[j], sizeof out.origin[j]);
            std::memcpy(out.rank[j], &rank[j], sizeof out.rank[j]);
        }
        sort_descending(sorted);
        store(out.weight[0], sorted[D] + (1.0f - sorted[0]));
        for (int r = 1; r < kCorners; ++r) store(out.weight[r], sorted[D - r] - sorted[D - r + 1]);
    }

    static void sort_descending(Vec* v) {
        const auto order = [v](int i, int j) {
            const Vec large = max(v[i], v[j]);
            v[j] = min(v[i], v[j]);
            v[i] = large;
        };
        if constexpr (D == 2) {
            order(0, 2), order(0, 1), order(1, 2);
        } else {  // the network of 12 exchanges for 6
            order(0, 5), order(1, 3), order(2, 4), order(1, 2), order(3, 4), order(0, 3);
            order(2, 5), order(0, 1), order(2, 3), order(4, 5), order(1, 2), order(3, 4);
        }
    }

    void list_sources() {
        uint32_t* first = first_source_.need(vertices_ + 1);
        std::memset(first, 0, (vertices_ + 1) * sizeof(uint32_t));
        for (int row = 0; row < rows_; ++row) ++first[vertex_of_row_[row]];
        uint32_t end = 0;
        for (int v = 0; v <= vertices_; ++v) {
            end += v < vertices_ ? first[v] : 0;
            first[v] = end;
        }
        sources_.need(rows_);
        for (int row = rows_ - 1; row >= 0; --row) sources_[--first[vertex_of_row_[row]]] = row;
    }

    void link(int axis, Worker& worker) {
        const uint64_t step = keys_.step(axis);
        const uint64_t* keys = table_.keys();
        uint32_t* next = worker.next.need(vertices_);
        uint8_t* reached = worker.reached.need(vertices_);
        std::memset(reached, 0, vertices_);
        for (int v = 0; v < vertices_; ++v) {
            table_.prefetch(keys[v + kAhead < vertices_ ? v + kAhead : v] + step);
            next[v] = table_.find(keys[v] + step);
            if (next[v] != HashTable::kAbsent) reached[next[v]] = 1;
        }
        uint32_t* chain = chains_[axis].need(vertices_ + kAhead);
        int count = 0;
        for (int v = 0; v < vertices_; ++v) {
            if (reached[v] || next[v] == HashTable::kAbsent) continue;
            for (uint32_t on = uint32_t(v); on != HashTable::kAbsent; on = next[on])
                chain[count++] = on;
            chain[count - 1] |= kLast;
        }
        chained_[axis] = count;
        for (int i = 0; i < kAhead; ++i) chain[count + i] = 0;
    }

    // The first chain that starts at or after `position`.
    int next_start(int axis, int position) const {
        const uint32_t* chain = chains_[axis].data();
        while (position > 0 && position < chained_[axis] && !(chain[position - 1] & kLast))
            ++position;
        return position;
    }

    void sum_mass() {
        mass_.need(vertices_);
        std::memset(mass_.data(), 0, vertices_ * sizeof(float));
        for (int tile = 0; tile < samples_.tiles; ++tile) {
            const float* mass = row_mass_.data() + size_t(samples_.begin[tile]) * kCorners;
            const uint32_t* vertex = vertex_of_row_.data() + first_row_[tile];
            for (int i = 0; i < rows_in_[tile]; ++i) mass_[vertex[i]] += mass[i];
        }
    }

    void blur_mass(int axis) {
        const uint32_t* chain = chains_[axis].data();
        float before = 0;
        for (int i = 0; i < chained_[axis]; ++i) {
            float& value = mass_[chain[i] & ~kLast];
            const bool last = chain[i] & kLast;
            const float here = value;
            value = here + 0.5f * (before + (last ? 0.0f : mass_[chain[i + 1] & ~kLast]));
            before = last ? 0.0f : here;
        }
    }

    float deviations_[D], scales_[D];
    KeySpace<D> keys_;
    Samples samples_;

    Buffer<uint16_t> corners_;
    Buffer<float> weights_;
    // Each tile's part of these starts at its first sample's first corner: room for all that could
    // be needed, of which the system provides only the pages that are used.
    Buffer<uint64_t> row_keys_;
    Buffer<float> row_mass_;
    Buffer<int> rows_in_, first_row_;

    int vertices_ = 0, rows_ = 0;
    HashTable table_;
    Buffer<uint32_t> vertex_of_row_, first_source_, sources_;
    Buffer<float> mass_;
    Buffer<uint32_t> chains_[kCorners];
    int chained_[kCorners] = {};

    std::unique_ptr<Worker[]> workers_;
    int workers_count_ = 0;
};

}  // namespace DEEPLAB_LEVEL
}  // namespace deeplab
