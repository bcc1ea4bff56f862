// Mean-field inference in the fully connected CRF, with the semantics of crf/mean_field.py.
//
// One pass over the samples does all of an iteration but the blur: slice both kernels, add the
// unary, take the softmax, and splat the new marginals, which are never written to memory.

#include <algorithm>
#include <chrono>
#include <cmath>

#include "buffer.h"
#include "engines/native/team.h"
#include "gaussian_kernel.h"
#include "logit_map.h"
#include "row.h"
#include "sampling.h"
#include "simd.h"
#include "solver.h"

namespace deeplab {
namespace DEEPLAB_LEVEL {
namespace {

constexpr float kLeastLog = -11.512925f;  // ln 1e-5: pydensecrf clips probabilities there

double now_ms() {
    using namespace std::chrono;
    return duration<double, std::milli>(steady_clock::now().time_since_epoch()).count();
}

template <int K>
class MeanField : public CrfSolver {
public:
    explicit MeanField(const CrfSettings& settings)
        : settings_(settings),
          shape_(settings.classes),
          sampling_(settings.height, settings.width),
          logits_(settings.height, settings.width, shape_, margin(settings.parameters)),
          appearance_(shape_, settings.parameters.w1),
          smoothness_(shape_, settings.parameters.w2) {
        field_.need(size_t(settings.height) * settings.width * shape_.stride());
        const int used = settings.classes - (shape_.vectors() - 1) * kLanes;
        for (int i = used; i < kLanes; ++i) padding_[i] = kNever;
    }

    // False if a standard deviation is too small for a lattice.
    bool configure() {
        const CrfParameters& p = settings_.parameters;
        const float extents[] = {float(settings_.width - 1), float(settings_.height - 1), 255, 255,
                                 255};
        const float appearance[] = {p.sigma_alpha, p.sigma_alpha, p.sigma_beta, p.sigma_beta,
                                    p.sigma_beta};
        const float smoothness[] = {p.sigma_gamma, p.sigma_gamma};
        if (appearance_ && !appearance_.configure(appearance, extents)) return false;
        if (smoothness_ && !smoothness_.configure(smoothness, extents)) return false;
        if (!settings_.fast) {
            for_tiles([&](int tile) { sampling_.take_all(tile); });
            if (smoothness_) build_lattices(false, true);
        }
        return true;
    }

    int run(const CrfTask& task) override {
        const double start = now_ms();
        if (!logits_.take(team(), task.logits, task.logits_height, task.logits_width)) {
            return kRefused;
        }
        build(task.frame);
        const double built = now_ms();
        for_tiles([&](int tile) { begin(tile); });
        double pass = now_ms() - built;
        for (iterations_ = 0; iterations_ < settings_.parameters.iterations;) {
            const double before = now_ms();
            blur();
            ++iterations_;
            // Another iteration costs another blur and another pass, and then comes the last pass.
            const double after = now_ms();
            const double next = after - start + (after - before) + 2 * pass;
            if (task.budget_ms > 0 && next > task.budget_ms) break;
            if (iterations_ == settings_.parameters.iterations) break;
            for_tiles([&](int tile) { update(tile); });
            pass = now_ms() - after;
        }
        return iterations_;
    }

    void labels(uint8_t* out) override {
        finish(
            [&](int y, int x, Row& row) {
                out[size_t(y) * settings_.width + x] = uint8_t(shape_.first_largest(row));
            },
            [&](int sample) {
                Row row;
                shape_.load(row, field(sample));
                const uint8_t label = uint8_t(shape_.first_largest(row));
                sampling_.for_pixels(
                    sample, [&](int y, int x) { out[size_t(y) * settings_.width + x] = label; });
            });
    }

    void marginals(float* out) override {
        const size_t plane = size_t(settings_.height) * settings_.width;
        const auto write = [&](int y, int x, Row& row) {
            shape_.softmax(row);
            float marginal[256];
            shape_.store(marginal, row);
            for (int c = 0; c < settings_.classes; ++c) {
                out[c * plane + size_t(y) * settings_.width + x] = marginal[c];
            }
        };
        finish(write, [&](int sample) {
            sampling_.for_pixels(sample, [&](int y, int x) {
                Row row;
                const float total = scores(y, x, row);
                clip(row, std::log(total));
                write(y, x, row);
            });
        });
    }

    size_t bytes() const override {
        return sampling_.bytes() + logits_.bytes() + appearance_.bytes() + smoothness_.bytes() +
               field_.bytes();
    }

private:
    using Row = typename RowShape<K>::Row;

    // How far ahead a winner must be for the fast mode to trust it: half the most that the kernels
    // can change (a message is at most about 1 per weight), and where they are strong, e^3 = 20
    // times as probable as any other. docs/crf.md has what that keeps and costs.
    static float margin(const CrfParameters& p) {
        return std::min(0.5f * (std::fabs(p.w1) + std::fabs(p.w2)), 3.0f) * p.temperature;
    }

    Team& team() { return team_.of(settings_.threads); }

    template <class F>
    void for_tiles(F&& f) {
        team().parallel_for(sampling_.samples().tiles, [&](int tile, int) { f(tile); });
    }

    void build(const uint8_t* frame) {
        for_tiles([&](int tile) {
            if (settings_.fast) {
                sampling_.adapt(tile, frame, logits_);
            } else {
                sampling_.load_colours(tile, frame);
            }
        });
        build_lattices(bool(appearance_), settings_.fast && smoothness_);
    }

    // Of either kernel or both, each step of both at once: `join` and `weigh` use one worker each.
    void build_lattices(bool appearance, bool smoothness) {
        Lattice<5>& a = appearance_.lattice();
        Lattice<2>& s = smoothness_.lattice();
        const Samples& samples = sampling_.samples();
        if (appearance) a.reserve(samples, team().size());
        if (smoothness) s.reserve(samples, team().size());
        team().parallel_for(samples.tiles, [&](int tile, int worker) {
            if (appearance) a.embed(tile, worker);
            if (smoothness) s.embed(tile, worker);
        });
        team().parallel_for(2, [&](int which, int) {
            if (which == 0 && appearance) a.join();
            if (which == 1 && smoothness) s.join();
        });
        team().parallel_for(a.kCorners + s.kCorners, [&](int task, int worker) {
            const int axis = task - a.kCorners;
            if (axis < 0 && appearance) a.link(task, worker);
            if (axis >= 0 && smoothness) s.link(axis, worker);
        });
        team().parallel_for(2, [&](int which, int) {
            if (which == 0 && appearance) a.weigh();
            if (which == 1 && smoothness) s.weigh();
        });
        for_tiles([&](int tile) {
            if (appearance) a.normalise(tile);
            if (smoothness) s.normalise(tile);
        });
        if (appearance) appearance_.reserve(settings_.fast);
        if (smoothness) smoothness_.reserve(settings_.fast);
    }

    // Unaries, first marginals and first splat: the evidence's stays.
    void begin(int tile) {
        const Samples& samples = sampling_.samples();
        if (appearance_) appearance_.begin(tile);
        if (smoothness_) smoothness_.begin(tile);
        if (settings_.fast) {
            begin(tile, samples.updated_end[tile], samples.end[tile]);
            if (appearance_) appearance_.keep_evidence(tile);
            if (smoothness_) smoothness_.keep_evidence(tile);
        }
        begin(tile, samples.begin[tile], samples.updated_end[tile]);
    }

    void begin(int tile, int first, int last) {
        for (int batch = first; batch < last; batch += kLanes) {
            const int count = std::min(kLanes, last - batch);
            float totals[kLanes], logs[kLanes];
            for (int i = 0; i < kLanes; ++i) totals[i] = 1;
            for (int i = 0; i < count; ++i) {
                Row row;
                const int sample = batch + i;
                totals[i] = scores(sampling_.row(sample), sampling_.column(sample), row);
                shape_.store(field(sample), row);
            }
            store(logs, log_of_positive(load(totals)));  // one vector for as many samples
            for (int i = 0; i < count; ++i) {
                Row row;
                shape_.load(row, field(batch + i));
                clip(row, logs[i]);
                shape_.store(field(batch + i), row);
                shape_.softmax(row);
                const Vec mass = set(sampling_.samples().mass[batch + i]);
                for (int k = 0; k < shape_.vectors(); ++k) row[k] *= mass;
                splat(tile, batch + i, row);
            }
        }
    }

    // The tempered logits at a pixel, less their largest; returns the sum of their exponentials.
    float scores(int y, int x, Row& row) const {
        logits_.at(y, x, row);
        const Vec largest = set(shape_.largest(row));
        const Vec sharpness = set(1 / settings_.parameters.temperature);
        Vec total = {};
        for (int k = 0; k < shape_.vectors(); ++k) {
            row[k] = (row[k] - largest) * sharpness;
            total += exp_of_negative(row[k]);
        }
        return sum(total);
    }

    // -U: the logarithm of the softmax, not below kLeastLog; kNever in the padding.
    void clip(Row& row, float log_total) const {
        for (int k = 0; k < shape_.vectors(); ++k) {
            row[k] = max(row[k] - log_total, set(kLeastLog));
        }
        Vec& last = row[shape_.vectors() - 1];
        last = min(last, padding_);
    }

    void update(int tile) {
        const Samples& samples = sampling_.samples();
        if (appearance_) appearance_.restart(tile);
        if (smoothness_) smoothness_.restart(tile);
        for (int s = samples.begin[tile]; s < samples.updated_end[tile]; ++s) {
            Row row;
            infer(tile, s, row);
            shape_.softmax(row);
            splat(tile, s, row);
        }
    }

    // -U + sum over the kernels of w n K n Q.
    void infer(int tile, int sample, Row& row) {
        shape_.load(row, field(sample));
        if (iterations_ == 0) return;
        if (appearance_) appearance_.slice(tile, sample, row);
        if (smoothness_) smoothness_.slice(tile, sample, row);
    }

    void splat(int tile, int sample, const Row& row) {
        if (appearance_) appearance_.splat(tile, sample, row);
        if (smoothness_) smoothness_.splat(tile, sample, row);
    }

    // pixel(y, x, its field) for the pixels that were inferred, block(sample) for settled blocks.
    template <class Pixel, class Block>
    void finish(Pixel&& pixel, Block&& block) {
        for_tiles([&](int tile) {
            const Samples& samples = sampling_.samples();
            for (int s = samples.begin[tile]; s < samples.updated_end[tile]; ++s) {
                Row row;
                infer(tile, s, row);
                pixel(sampling_.row(s), sampling_.column(s), row);
            }
            for (int s = samples.updated_end[tile]; s < samples.end[tile]; ++s) block(s);
        });
    }

    // Join the tiles and blur along each axis; both kernels take their steps together.
    void blur() {
        Team& team = this->team();
        team.run([&](int worker) {
            const int workers = team.size();
            if (appearance_) appearance_.merge(worker, workers);
            if (smoothness_) smoothness_.merge(worker, workers);
            const int axes = appearance_ ? appearance_.kAxes : smoothness_.kAxes;
            for (int axis = 0; axis < axes; ++axis) {
                team.barrier();
                if (appearance_) appearance_.blur(axis, worker, workers);
                if (smoothness_ && axis < smoothness_.kAxes)
                    smoothness_.blur(axis, worker, workers);
            }
        });
    }

    float* field(int sample) { return &field_[size_t(sample) * shape_.stride()]; }

    const CrfSettings settings_;
    const RowShape<K> shape_;
    LastingTeam team_;
    Sampling sampling_;
    LogitMap<K> logits_;
    GaussianKernel<5, K> appearance_;
    GaussianKernel<2, K> smoothness_;
    Vec padding_ = {};     // of a row's last vector: 0 for classes, kNever after them
    Buffer<float> field_;  // -U, a row per sample
    int iterations_ = 0;   // of the last run
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
        case 1:
            return make<1>(settings);
        case 2:
            return make<2>(settings);
        case 3:
            return make<3>(settings);
        case 6:
            return make<6>(settings);  // 21 classes in vectors of 4
        default:
            return make<0>(settings);
    }
}

}  // namespace DEEPLAB_LEVEL
}  // namespace deeplab
