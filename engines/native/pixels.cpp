#include "engines/native/pixels.h"

#include <cstring>
#include <memory>
#include <stdexcept>
#include <vector>

#include "engines/native/kernels.h"
#include "engines/native/levels.h"
#include "engines/native/taps.h"
#include "engines/native/workers.h"

namespace deeplab {
namespace {

const Kernels& kernels_of(const std::string& wanted) {
    static const std::vector<std::string> levels = simd_levels();
    const std::string& level = wanted.empty() ? levels.back() : wanted;
    if (std::find(levels.begin(), levels.end(), level) == levels.end()) {
        throw std::invalid_argument("this machine does not run SIMD level " + level);
    }
#if defined(__x86_64__)
    if (level == "avx2") return avx2::kernels;
    if (level == "avx512") return avx512::kernels;
#endif
    return baseline::kernels;
}

// Columns worked on at a time: two stretched rows of 21 classes and 256 columns fill 43 KB, a
// core's first cache.
constexpr int kBlock = 256;

// What all bands of one call share. Band y is the output rows between source rows y and y + 1.
struct Upsampling {
    const float* logits;  // [classes, source]
    int classes;
    Size source, size;
    const Kernels& kernels;
    Taps ys, xs;
    std::vector<Cell> cells;

    Upsampling(const float* logits, int classes, Size source, Size size, const Effort& effort)
        : logits(logits),
          classes(classes),
          source(source),
          size(size),
          kernels(kernels_of(effort.level)),
          ys(size.height, source.height),
          xs(size.width, source.width),
          cells(cells_of(xs, kBlock)) {}

    ptrdiff_t plane() const { return static_cast<ptrdiff_t>(source.height) * source.width; }

    // From the start of a plane to band y's upper and lower source row.
    ptrdiff_t above(int y) const { return static_cast<ptrdiff_t>(y) * source.width; }
    ptrdiff_t below(int y) const { return above(std::min(y + 1, source.height - 1)); }
};

// The two source rows of a band, all classes, stretched to some of the output columns.
class StretchedRows {
public:
    static constexpr ptrdiff_t kStride = kBlock + kOverrun;

    StretchedRows(const Upsampling& job, int band)
        : job_(job), band_(band), values_(new float[2 * job.classes * kStride]) {}

    // f(cells, number of cells, columns) for groups of cells that fit, after stretching them.
    template <class F>
    void for_each_block(const std::vector<Cell>& cells, F&& f) {
        for (auto cell = cells.begin(); cell != cells.end();) {
            const auto first = cell;
            int columns = 0;
            while (cell != cells.end() && columns + cell->columns <= kBlock) {
                columns += (cell++)->columns;
            }
            const int count = static_cast<int>(cell - first);
            stretch(&*first, count);
            f(&*first, count, columns);
        }
    }

    const float* top(int c = 0) const { return &values_[c * kStride]; }
    const float* bottom(int c = 0) const { return top(job_.classes + c); }

private:
    void stretch(const Cell* cells, int count) {
        const float* weight = job_.xs.weight.data();
        for (int c = 0; c < job_.classes; ++c) {
            const float* plane = job_.logits + c * job_.plane();
            float* to = &values_[c * kStride];
            job_.kernels.stretch(plane + job_.above(band_), cells, count, weight, to);
            job_.kernels.stretch(plane + job_.below(band_), cells, count, weight,
                                 to + job_.classes * kStride);
        }
    }

    const Upsampling& job_;
    const int band_;
    const std::unique_ptr<float[]> values_;
};

// The cells of a band whose four corners have different winners.
std::vector<Cell> mixed_cells(const Upsampling& job, const uint8_t* above, const uint8_t* below) {
    std::vector<Cell> mixed;
    for (const Cell& cell : job.cells) {
        const uint8_t corner = above[cell.low];
        if (above[cell.high] != corner || below[cell.low] != corner || below[cell.high] != corner) {
            mixed.push_back(cell);
        }
    }
    return mixed;
}

// A convex combination of four logit vectors with the same winner has that winner too. So where the
// four corners of a cell agree, its pixels are copied; only the cells on borders between classes,
// about a sixth of a street scene, are interpolated.
void label_band(const Upsampling& job, const uint8_t* winners, int band, uint8_t* labels) {
    const auto row = [&](int y) { return labels + static_cast<ptrdiff_t>(y) * job.size.width; };
    const int first = job.ys.first[band], end = job.ys.first[band + 1];
    if (first == end) return;
    const uint8_t* above = winners + job.above(band);
    for (const Cell& cell : job.cells) {
        std::memset(row(first) + cell.first, above[cell.low], cell.columns);
    }
    for (int y = first + 1; y < end; ++y) std::memcpy(row(y), row(first), job.size.width);

    StretchedRows rows(job, band);
    const std::vector<Cell> mixed = mixed_cells(job, above, winners + job.below(band));
    rows.for_each_block(mixed, [&](const Cell* cells, int count, int columns) {
        uint8_t block[kBlock];
        for (int y = first; y < end; ++y) {
            job.kernels.argmax_between(rows.top(), rows.bottom(), rows.kStride, job.classes,
                                       columns, job.ys.weight[y], block);
            const uint8_t* from = block;
            for (const Cell* cell = cells; cell < cells + count; from += (cell++)->columns) {
                std::memcpy(row(y) + cell->first, from, cell->columns);
            }
        }
    });
}

// values [classes, size] in the rows of one band; finish(block, columns) sees each block of them.
template <class Finish>
void upsample_band(const Upsampling& job, int band, float* values, Finish finish) {
    const int first = job.ys.first[band], end = job.ys.first[band + 1];
    if (first == end) return;
    const ptrdiff_t plane = static_cast<ptrdiff_t>(job.size.height) * job.size.width;
    StretchedRows rows(job, band);
    rows.for_each_block(job.cells, [&](const Cell* cells, int, int columns) {
        for (int y = first; y < end; ++y) {
            float* block = values + static_cast<ptrdiff_t>(y) * job.size.width + cells->first;
            for (int c = 0; c < job.classes; ++c) {
                job.kernels.between(rows.top(c), rows.bottom(c), columns, job.ys.weight[y],
                                    block + c * plane);
            }
            finish(block, columns);
        }
    });
}

}  // namespace

void upsample_argmax(const float* logits, int classes, Size source, uint8_t* labels, Size size,
                     const Effort& effort) {
    const Upsampling job(logits, classes, source, size, effort);
    const std::unique_ptr<uint8_t[]> winners(new uint8_t[job.plane()]);
    for_each_task(effort.threads, source.height, [&](int y) {
        const ptrdiff_t row = job.above(y);
        job.kernels.argmax(logits + row, job.plane(), classes, source.width, &winners[row]);
    });
    for_each_task(effort.threads, source.height,
                  [&](int band) { label_band(job, winners.get(), band, labels); });
}

void upsample(const float* logits, int classes, Size source, float* values, Size size,
              const Effort& effort) {
    const Upsampling job(logits, classes, source, size, effort);
    for_each_task(effort.threads, source.height,
                  [&](int band) { upsample_band(job, band, values, [](float*, int) {}); });
}

void upsample_softmax(const float* logits, int classes, Size source, float* marginals, Size size,
                      const Effort& effort) {
    const Upsampling job(logits, classes, source, size, effort);
    const ptrdiff_t plane = static_cast<ptrdiff_t>(size.height) * size.width;
    const auto softmax = [&](float* block, int columns) {
        job.kernels.softmax(block, plane, classes, columns);
    };
    for_each_task(effort.threads, source.height,
                  [&](int band) { upsample_band(job, band, marginals, softmax); });
}

void blend(const uint8_t* frame, const uint8_t* labels, const uint8_t* table, uint8_t* mixed,
           Size size, int threads) {
    for_each_task(threads, size.height, [&](int y) {
        const ptrdiff_t row = static_cast<ptrdiff_t>(y) * size.width;
        const uint8_t* from = frame + 3 * row;
        uint8_t* to = mixed + 3 * row;
        for (int x = 0; x < size.width; ++x) {
            const uint8_t* mix = table + 768 * labels[row + x];
            to[3 * x] = mix[from[3 * x]];
            to[3 * x + 1] = mix[256 + from[3 * x + 1]];
            to[3 * x + 2] = mix[512 + from[3 * x + 2]];
        }
    });
}

}  // namespace deeplab
