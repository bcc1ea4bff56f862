// A frame's pixels as samples in tile order, and where each reads the logits.
#pragma once

#include <algorithm>
#include <cstdint>

#include "buffer.h"
#include "samples.h"

namespace deeplab {
namespace DEEPLAB_LEVEL {

// Bilinear interpolation: four places in the map of logits, and the weights of the far ones.
struct Taps {
    size_t top_left, top_right, bottom_left, bottom_right;
    float right, down;
};

class Pixels {
  public:
    Pixels(int height, int width) : height_(height), width_(width) {
        const int count = height * width;
        for (Buffer<float>& axis : axes_) {
            std::fill_n(axis.need(count + Samples::kPadding), count + Samples::kPadding, 0.0f);
        }
        std::fill_n(mass_.need(count), count, 1.0f);
        pixel_.need(count);
        lay_tiles();
        samples_.count = count;
        for (int i = 0; i < 5; ++i) samples_.axes[i] = axes_[i].data();
        samples_.mass = mass_.data();
        samples_.pixel = pixel_.data();
    }

    const Samples& samples() const { return samples_; }

    void load_colours(const uint8_t* frame, int tile) {
        for (int s = begin_[tile]; s < begin_[tile + 1]; ++s) {
            const uint8_t* rgb = frame + size_t(pixel_[s]) * 3;
            for (int channel = 0; channel < 3; ++channel) axes_[2 + channel][s] = rgb[channel];
        }
    }

    // For logits of this size; align_corners=False, as in engines/labels.py.
    void set_taps(int logits_height, int logits_width) {
        logits_width_ = logits_width;
        rows_.set(height_, logits_height);
        columns_.set(width_, logits_width);
    }

    Taps taps(int sample) const {
        const int y = int(axes_[1][sample]), x = int(axes_[0][sample]);
        const size_t top = size_t(rows_.low[y]) * logits_width_;
        const size_t bottom = size_t(rows_.high[y]) * logits_width_;
        const size_t left = columns_.low[x], right = columns_.high[x];
        return {top + left, top + right, bottom + left, bottom + right, columns_.weight[x], rows_.weight[y]};
    }

    size_t bytes() const {
        size_t total = mass_.bytes() + pixel_.bytes() + begin_.bytes();
        for (const Buffer<float>& axis : axes_) total += axis.bytes();
        return total;
    }

  private:
    struct Axis {
        Buffer<int> low, high;
        Buffer<float> weight;

        void set(int size, int source) {
            low.need(size), high.need(size), weight.need(size);
            for (int i = 0; i < size; ++i) {
                const double at = std::clamp((i + 0.5) * (double(source) / size) - 0.5, 0.0, source - 1.0);
                low[i] = int(at);
                high[i] = std::min(low[i] + 1, source - 1);
                weight[i] = float(at - low[i]);
            }
        }
    };

    void lay_tiles() {
        const int down = (height_ + Samples::kTileSide - 1) / Samples::kTileSide;
        const int across = (width_ + Samples::kTileSide - 1) / Samples::kTileSide;
        samples_.tiles = down * across;
        begin_.need(samples_.tiles + 1);
        int sample = 0;
        for (int tile = 0; tile < samples_.tiles; ++tile) {
            begin_[tile] = sample;
            const int i = tile / across, j = tile % across;
            for (int y = height_ * i / down; y < height_ * (i + 1) / down; ++y) {
                for (int x = width_ * j / across; x < width_ * (j + 1) / across; ++x) {
                    axes_[0][sample] = float(x);
                    axes_[1][sample] = float(y);
                    pixel_[sample++] = y * width_ + x;
                }
            }
        }
        begin_[samples_.tiles] = sample;
        samples_.begin = begin_.data();
    }

    const int height_, width_;
    Buffer<float> axes_[5], mass_;
    Buffer<int32_t> pixel_;
    Buffer<int> begin_;
    Samples samples_;
    int logits_width_ = 0;
    Axis rows_, columns_;
};

}  // namespace DEEPLAB_LEVEL
}  // namespace deeplab
