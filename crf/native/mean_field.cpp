// Mean-field inference in the fully connected CRF, with the semantics of crf/mean_field.py.
//
// One pass over the samples does all of an iteration but the blur: slice both lattices, add the
// unary, take the softmax, and splat the new marginals. They are never written to memory. Rows of
// classes are padded to whole vectors; in the padding the field is kNever, so its marginal is 0.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>

#include "buffer.h"
#include "engines/native/team.h"
#include "permutohedral.h"
#include "pixels.h"
#include "samples.h"
#include "simd.h"
#include "solver.h"

namespace deeplab {
namespace DEEPLAB_LEVEL {
namespace {

constexpr float kNever = -1e30f;
constexpr float kLeastLog = -11.512925f;  // ln 1e-5: pydensecrf clips probabilities there

double now_ms() {
    using namespace std::chrono;
    return duration<double, std::milli>(steady_clock::now().time_since_epoch()).count();
}

// K vectors hold a row of classes; 0 stands for any number, known only at run time.
template <int K>
class MeanField : public CrfSolver {
  public:
    explicit MeanField(const CrfSettings& settings)
        : settings_(settings),
          parameters_(settings.parameters),
          vectors_((settings.classes + kLanes - 1) / kLanes),
          stride_(size_t(vectors_) * kLanes),
          team_(settings.threads),
          pixels_(settings.height, settings.width) {
        store_padding();
    }

    bool configure() {
        const CrfParameters& p = parameters_;
        const float extents[5] = {float(settings_.width - 1), float(settings_.height - 1), 255, 255, 255};
        const float appearance[5] = {p.sigma_alpha, p.sigma_alpha, p.sigma_beta, p.sigma_beta, p.sigma_beta};
        const float smoothness[2] = {p.sigma_gamma, p.sigma_gamma};
        if (p.w1 != 0 && !appearance_.configure(appearance, extents)) return false;
        if (p.w2 == 0) return true;
        if (!smoothness_.configure(smoothness, extents)) return false;
        smoothness_.build(team_, pixels_.samples());
        return true;
    }

    int run(const CrfTask& task) override {
        const double start = now_ms();
        if (!take_logits(task)) return kRefused;
        const Samples& samples = pixels_.samples();
        team_.parallel_for(samples.tiles, [&](int tile, int) { pixels_.load_colours(task.frame, tile); });
        if (parameters_.w1 != 0) appearance_.build(team_, samples);
        reserve();
        const double built = now_ms();
        for_tiles([&](int tile) { begin(tile); });
        double pass = now_ms() - built;
        iterations_ = 0;
        while (iterations_ < parameters_.iterations) {
            const double before = now_ms();
            blur();
            ++iterations_;
            // Another iteration costs another blur and another pass, and then comes the last pass.
            const double after = now_ms();
            const bool late = task.budget_ms > 0 &&
                              after - start + (after - before) + 2 * pass > task.budget_ms;
            if (iterations_ == parameters_.iterations || late) break;
            for_tiles([&](int tile) { update(tile); });
            pass = now_ms() - after;
        }
        return iterations_;
    }

    void labels(uint8_t* out) override {
        const int32_t* pixel = pixels_.samples().pixel;
        for_samples([&](int s, Row& row) { out[pixel[s]] = uint8_t(first_largest(row)); });
    }

    void marginals(float* out) override {
        const int32_t* pixel = pixels_.samples().pixel;
        const size_t plane = size_t(settings_.height) * settings_.width;
        for_samples([&](int s, Row& row) {
            softmax(row);
            float marginal[256];
            for (int k = 0; k < used(); ++k) store(marginal + k * kLanes, row[k]);
            for (int c = 0; c < settings_.classes; ++c) out[c * plane + pixel[s]] = marginal[c];
        });
    }

    size_t bytes() const override {
        return appearance_.bytes() + smoothness_.bytes() + pixels_.bytes() + field_.bytes() +
               coarse_.bytes() + appearance_rows_.bytes() + appearance_values_.bytes() +
               smoothness_rows_.bytes() + smoothness_values_.bytes();
    }

  private:
    static constexpr int kMostVectors = 256 / kLanes;
    using Row = Vec[K ? K : kMostVectors];

    int used() const { return K ? K : vectors_; }

    template <class F>
    void for_tiles(F&& f) {
        team_.parallel_for(pixels_.samples().tiles, [&](int tile, int) { f(tile); });
    }

    // f(sample, the field of its marginals after the last iteration) for all samples.
    template <class F>
    void for_samples(F&& f) {
        for_tiles([&](int tile) {
            const Samples& samples = pixels_.samples();
            for (int s = samples.begin[tile]; s < samples.begin[tile + 1]; ++s) {
                Row row;
                if (iterations_ > 0) {
                    messages(s, tile, row);
                } else {
                    load_field(s, row);
                }
                f(s, row);
            }
        });
    }

    void store_padding() {
        float* row = padding_.need(stride_);
        for (size_t c = 0; c < stride_; ++c) row[c] = c < size_t(settings_.classes) ? 0.0f : kNever;
    }

    void reserve() {
        field_.need(size_t(pixels_.samples().count) * stride_);
        if (parameters_.w1 != 0) {
            appearance_rows_.need(appearance_.rows() * stride_);
            appearance_values_.need(appearance_.vertices() * stride_);
        }
        if (parameters_.w2 != 0) {
            smoothness_rows_.need(smoothness_.rows() * stride_);
            smoothness_values_.need(smoothness_.vertices() * stride_);
        }
    }

    // Planes of logits [C, h, w] to rows [h w, C], each less its largest; false if one is not finite.
    bool take_logits(const CrfTask& task) {
        const int height = task.logits_height, width = task.logits_width;
        pixels_.set_taps(height, width);
        float* rows = coarse_.need(size_t(height) * width * stride_);
        const size_t plane = size_t(height) * width;
        std::atomic<bool> finite{true};
        team_.parallel_for(height, [&](int y, int) {
            for (int x = 0; x < width; ++x) {
                const size_t at = size_t(y) * width + x;
                float* row = rows + at * stride_;
                for (int c = 0; c < settings_.classes; ++c) row[c] = task.logits[c * plane + at];
                float peak = row[0];
                bool number = row[0] == row[0];
                for (int c = 1; c < settings_.classes; ++c) {
                    peak = std::max(peak, row[c]);
                    number &= row[c] == row[c];
                }
                if (!number || !std::isfinite(peak)) finite.store(false, std::memory_order_relaxed);
                for (int c = 0; c < settings_.classes; ++c) row[c] = std::max(row[c] - peak, kNever);
                for (size_t c = settings_.classes; c < stride_; ++c) row[c] = kNever;
            }
        });
        return finite;
    }

    // Unary, first marginals, first splat.
    void begin(int tile) {
        const Samples& samples = pixels_.samples();
        const float sharpness = 1.0f / parameters_.temperature;
        clear_rows(tile);
        const int end = samples.begin[tile + 1];
        for (int batch = samples.begin[tile]; batch < end; batch += kLanes) {
            const int count = std::min(kLanes, end - batch);
            float sums[kLanes];
            std::fill(sums, sums + kLanes, 1.0f);
            for (int i = 0; i < count; ++i) sums[i] = interpolate(batch + i, sharpness);
            float logs[kLanes];
            store(logs, log_of_positive(load(sums)));
            for (int i = 0; i < count; ++i) {
                float* unary = &field_[size_t(batch + i) * stride_];
                Row marginal;
                for (int k = 0; k < used(); ++k) {
                    const Vec clipped = max(load(unary + k * kLanes) - logs[i], set(kLeastLog));
                    marginal[k] = min(clipped, load(padding_.data() + k * kLanes));
                    store(unary + k * kLanes, marginal[k]);
                }
                softmax(marginal);
                splat(batch + i, tile, marginal);
            }
        }
    }

    // The logits at a sample, less their largest, into its field; the sum of their exponentials.
    float interpolate(int sample, float sharpness) {
        const Taps taps = pixels_.taps(sample);
        const float* west = coarse_.data() + taps.top_left * stride_;
        const float* south_west = coarse_.data() + taps.bottom_left * stride_;
        const float* east = coarse_.data() + taps.top_right * stride_;
        const float* south_east = coarse_.data() + taps.bottom_right * stride_;
        const Vec down = set(taps.down), up = set(1 - taps.down);
        const Vec right = set(taps.right), left = set(1 - taps.right);
        float* field = &field_[size_t(sample) * stride_];
        Row row;
        for (int k = 0; k < used(); ++k) {
            const int at = k * kLanes;
            const Vec a = load(west + at) * up + load(south_west + at) * down;
            const Vec b = load(east + at) * up + load(south_east + at) * down;
            row[k] = a * left + b * right;
        }
        const Vec top = set(largest_of(row));
        Vec total = {};
        for (int k = 0; k < used(); ++k) {
            const Vec scaled = (row[k] - top) * sharpness;
            store(field + k * kLanes, scaled);
            total += exp_of_negative(scaled);
        }
        return sum(total);
    }

    void update(int tile) {
        const Samples& samples = pixels_.samples();
        clear_rows(tile);
        for (int s = samples.begin[tile]; s < samples.begin[tile + 1]; ++s) {
            Row row;
            messages(s, tile, row);
            softmax(row);
            splat(s, tile, row);
        }
    }

    void load_field(int sample, Row& row) const {
        for (int k = 0; k < used(); ++k) row[k] = load(&field_[size_t(sample) * stride_ + k * kLanes]);
    }

    // -U + sum over the kernels of w n K n Q.
    void messages(int sample, int tile, Row& row) const {
        load_field(sample, row);
        if (parameters_.w1 != 0) slice(appearance_, appearance_values_, sample, tile, row);
        if (parameters_.w2 != 0) slice(smoothness_, smoothness_values_, sample, tile, row);
    }

    template <int D>
    void slice(const Lattice<D>& lattice, const Buffer<float>& values, int sample, int tile, Row& row) const {
        const uint32_t* vertices = lattice.vertex_of_row() + lattice.first_row(tile);
        const uint16_t* corners = lattice.corners(sample);
        const float* weights = lattice.weights(sample);
        for (int r = 0; r < Lattice<D>::kCorners; ++r) {
            const float* value = values.data() + vertices[corners[r]] * stride();
            for (int k = 0; k < used(); ++k) {
                row[k] = fma(load(value + k * kLanes), set(weights[r]), row[k]);
            }
        }
    }

    size_t stride() const { return K ? size_t(K) * kLanes : stride_; }

    void splat(int sample, int tile, const Row& row) {
        if (parameters_.w1 != 0) splat(appearance_, appearance_rows_, sample, tile, row);
        if (parameters_.w2 != 0) splat(smoothness_, smoothness_rows_, sample, tile, row);
    }

    template <int D>
    void splat(const Lattice<D>& lattice, Buffer<float>& rows, int sample, int tile, const Row& row) {
        float* first = rows.data() + lattice.first_row(tile) * stride();
        const uint16_t* corners = lattice.corners(sample);
        const float* weights = lattice.weights(sample);
        for (int r = 0; r < Lattice<D>::kCorners; ++r) {
            float* value = first + corners[r] * stride();
            for (int k = 0; k < used(); ++k) {
                store(value + k * kLanes, fma(row[k], set(weights[r]), load(value + k * kLanes)));
            }
        }
    }

    void clear_rows(int tile) {
        if (parameters_.w1 != 0) clear_rows(appearance_, appearance_rows_, tile);
        if (parameters_.w2 != 0) clear_rows(smoothness_, smoothness_rows_, tile);
    }

    template <int D>
    void clear_rows(const Lattice<D>& lattice, Buffer<float>& rows, int tile) {
        std::memset(rows.data() + lattice.first_row(tile) * stride(), 0,
                    lattice.rows_of(tile) * stride() * sizeof(float));
    }

    float largest_of(const Row& row) const {
        Vec top = row[0];
        for (int k = 1; k < used(); ++k) top = max(top, row[k]);
        return largest(top);
    }

    void softmax(Row& row) const {
        const Vec top = set(largest_of(row));
        Vec total = {};
        for (int k = 0; k < used(); ++k) {
            row[k] = exp_of_negative(row[k] - top);
            total += row[k];
        }
        const Vec scale = set(1.0f / sum(total));
        for (int k = 0; k < used(); ++k) row[k] *= scale;
    }

    int first_largest(const Row& row) const {
        const Vec top = set(largest_of(row));
        for (int k = 0; k < used(); ++k) {
            const unsigned mask = equal_mask(row[k], top);
            if (mask != 0) return k * kLanes + __builtin_ctz(mask);
        }
        return 0;
    }

    // Join the tiles' rows and blur along each axis. Both lattices take their steps together.
    void blur() {
        const bool a = parameters_.w1 != 0, s = parameters_.w2 != 0;
        team_.run([&](int worker) {
            const int workers = team_.size();
            if (a) {
                appearance_.template merge<K>(appearance_rows_.data(), appearance_values_.data(), parameters_.w1,
                                     vectors_, Share(appearance_.vertices(), worker, workers));
            }
            if (s) {
                smoothness_.template merge<K>(smoothness_rows_.data(), smoothness_values_.data(), parameters_.w2,
                                     vectors_, Share(smoothness_.vertices(), worker, workers));
            }
            for (int axis = 0; axis < (a ? 6 : 3); ++axis) {
                team_.barrier();
                if (a) {
                    appearance_.template blur<K>(axis, appearance_values_.data(), vectors_,
                                        Share(appearance_.chained(axis), worker, workers));
                }
                if (s && axis < 3) {
                    smoothness_.template blur<K>(axis, smoothness_values_.data(), vectors_,
                                        Share(smoothness_.chained(axis), worker, workers));
                }
            }
        });
    }

    const CrfSettings settings_;
    const CrfParameters& parameters_;
    const int vectors_;
    const size_t stride_;
    Team team_;
    Pixels pixels_;
    Lattice<5> appearance_;
    Lattice<2> smoothness_;
    int iterations_ = 0;     // of the last run
    Buffer<float> padding_;  // 0 for a class, kNever beyond
    Buffer<float> coarse_;   // the logits as rows
    Buffer<float> field_;    // -U, a row per sample
    Buffer<float> appearance_rows_, appearance_values_, smoothness_rows_, smoothness_values_;
};

template <int K>
std::unique_ptr<CrfSolver> make(const CrfSettings& settings) {
    std::unique_ptr<MeanField<K>> solver(new MeanField<K>(settings));
    if (!solver->configure()) return nullptr;
    return solver;
}

}  // namespace

std::unique_ptr<CrfSolver> make_crf_solver(const CrfSettings& settings) {
    switch ((settings.classes + kLanes - 1) / kLanes) {
        case 1: return make<1>(settings);
        case 2: return make<2>(settings);
        case 3: return make<3>(settings);
        case 6: return make<6>(settings);  // 21 classes in vectors of 4
        default: return make<0>(settings);
    }
}

}  // namespace DEEPLAB_LEVEL
}  // namespace deeplab
