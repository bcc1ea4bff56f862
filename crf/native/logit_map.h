// A network's logits as rows of classes, and what they say between their points.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>

#include "buffer.h"
#include "engines/native/team.h"
#include "row.h"
#include "simd.h"

namespace deeplab {
namespace DEEPLAB_LEVEL {

// Where one axis of the frame reads the map: align_corners=False, as in engines/labels.py.
class AxisTaps {
public:
    void set(int size, int source) {
        low.need(size), high.need(size), weight.need(size);
        for (int i = 0; i < size; ++i) {
            const double at = (i + 0.5) * (double(source) / size) - 0.5;
            const double inside = std::min(std::max(at, 0.0), source - 1.0);
            low[i] = int(inside);
            high[i] = std::min(low[i] + 1, source - 1);
            weight[i] = float(inside - low[i]);
        }
    }

    Buffer<int> low, high;
    Buffer<float> weight;  // of high
};

template <int K>
class LogitMap {
public:
    using Row = typename RowShape<K>::Row;
    static constexpr uint8_t kUnsure = 255;

    // A winner is sure if every other class is behind by `margin` at least.
    LogitMap(int frame_height, int frame_width, RowShape<K> shape, float margin)
        : frame_height_(frame_height), frame_width_(frame_width), shape_(shape), margin_(margin) {}

    // Take planes of logits [C, h, w], each point less its largest; false if one is not finite.
    bool take(Team& team, const float* logits, int height, int width) {
        if (height != height_ || width != width_) {
            rows_.set(frame_height_, height_ = height);
            columns_.set(frame_width_, width_ = width);
        }
        values_.need(size_t(height) * width * shape_.stride());
        winners_.need(size_t(height) * width);
        std::atomic<bool> finite{true};
        team.parallel_for(height, [&](int y, int) {
            if (!take_line(logits, y)) finite = false;
        });
        return finite;
    }

    // The logits at a pixel, bilinearly.
    void at(int y, int x, Row& row) const {
        const float *a = point(rows_.low[y], columns_.low[x]),
                    *b = point(rows_.low[y], columns_.high[x]);
        const float *c = point(rows_.high[y], columns_.low[x]),
                    *d = point(rows_.high[y], columns_.high[x]);
        const Vec down = set(rows_.weight[y]), up = 1.0f - down;
        const Vec right = set(columns_.weight[x]), left = 1.0f - right;
        for (int k = 0; k < shape_.vectors(); ++k) {
            const int i = k * kLanes;
            row[k] = (load(a + i) * up + load(c + i) * down) * left +
                     (load(b + i) * up + load(d + i) * down) * right;
        }
    }

    // The winner at a pixel if it is sure, else kUnsure.
    uint8_t winner_at(int y, int x) const {
        Row row;
        at(y, x, row);
        return sure_winner(row);
    }

    // The winner of a box of pixels if all the points that they read have it and are sure, so that
    // every pixel is; else kUnsure.
    uint8_t winner_in(int top, int bottom, int left, int right) const {
        const int last_row = rows_.high[bottom - 1], last_column = columns_.high[right - 1];
        const uint8_t winner = winners_[size_t(rows_.low[top]) * width_ + columns_.low[left]];
        for (int y = rows_.low[top]; y <= last_row; ++y) {
            for (int x = columns_.low[left]; x <= last_column; ++x) {
                if (winners_[size_t(y) * width_ + x] != winner) return kUnsure;
            }
        }
        return winner;
    }

    size_t bytes() const { return values_.bytes() + winners_.bytes(); }

private:
    const float* point(int y, int x) const {
        return &values_[(size_t(y) * width_ + x) * shape_.stride()];
    }

    bool take_line(const float* logits, int y) {
        const size_t plane = size_t(height_) * width_;
        for (size_t at = size_t(y) * width_; at < size_t(y + 1) * width_; ++at) {
            float* values = &values_[at * shape_.stride()];
            for (int c = 0; c < shape_.classes(); ++c) values[c] = logits[c * plane + at];
            for (size_t c = shape_.classes(); c < shape_.stride(); ++c) values[c] = kNever;
            if (!subtract_largest(values)) return false;  // NaN has no winner to look for
            Row row;
            shape_.load(row, values);
            winners_[at] = sure_winner(row);
        }
        return true;
    }

    bool subtract_largest(float* values) const {
        float top = values[0];
        bool numbers = true;
        for (int c = 0; c < shape_.classes(); ++c) {
            top = std::max(top, values[c]);
            numbers &= values[c] == values[c];
        }
        for (int c = 0; c < shape_.classes(); ++c) values[c] = std::max(values[c] - top, kNever);
        return numbers && std::isfinite(top);
    }

    uint8_t sure_winner(const Row& row) const {
        const int rivals = shape_.count_above(row, shape_.largest(row) - margin_);
        return rivals > 1 ? kUnsure : uint8_t(shape_.first_largest(row));
    }

    const int frame_height_, frame_width_;
    const RowShape<K> shape_;
    const float margin_;
    int height_ = 0, width_ = 0;
    AxisTaps rows_, columns_;
    Buffer<float> values_;
    Buffer<uint8_t> winners_;
};

}  // namespace DEEPLAB_LEVEL
}  // namespace deeplab
