// Which points of a frame the CRF is inferred at: all pixels, or fewer where the network is sure.
#pragma once

#include <algorithm>
#include <cstdint>

#include "buffer.h"
#include "logit_map.h"
#include "samples.h"

namespace deeplab {
namespace DEEPLAB_LEVEL {

// Tiles are cut along blocks of 8x8 pixels. In the fast mode, a block is settled where the network
// is sure of one class: it keeps that label, and is one sample of its mean colour and position,
// which its neighbours see as evidence. A block that is not is cut into four, down to 2x2, and what
// is not settled then gives its pixels.
class Sampling {
public:
    static constexpr int kLargest = 8;

    Sampling(int height, int width) : height_(height), width_(width) {
        const int count = height * width;
        for (Buffer<float>& axis : axes_) axis.zeros(count + Samples::kPadding);
        mass_.zeros(count + Samples::kPadding);
        top_.need(count), left_.need(count), side_.need(count);
        lay_tiles();
        samples_.capacity = count;
        for (int i = 0; i < 5; ++i) samples_.axes[i] = axes_[i].data();
        samples_.mass = mass_.data();
    }

    const Samples& samples() const { return samples_; }

    // Every pixel of a tile; colours come with the frame.
    void take_all(int tile) {
        int next = begin_[tile];
        for_blocks(tiles_[tile], 1, [&](const Box& pixel) { add(next++, pixel); });
        updated_end_[tile] = end_[tile] = next;
    }

    void load_colours(int tile, const uint8_t* frame) {
        for (int s = begin_[tile]; s < updated_end_[tile]; ++s) {
            const uint8_t* rgb = frame + (size_t(top_[s]) * width_ + left_[s]) * 3;
            for (int channel = 0; channel < 3; ++channel) axes_[2 + channel][s] = rgb[channel];
        }
    }

    // The pixels of a tile where the network is not sure, then its settled blocks.
    template <int K>
    void adapt(int tile, const uint8_t* frame, const LogitMap<K>& logits) {
        int next = begin_[tile];
        int last = next + area(tiles_[tile]);  // settled blocks are put here, backwards
        divide(tiles_[tile], kLargest, logits, next, last);
        updated_end_[tile] = next;
        load_colours(tile, frame);
        end_[tile] = next + (begin_[tile] + area(tiles_[tile]) - last);
        close_gap(tile, next, last, frame);
    }

    // The middle pixel of a sample.
    int row(int sample) const { return std::min(top_[sample] + side_[sample] / 2, height_ - 1); }
    int column(int sample) const { return std::min(left_[sample] + side_[sample] / 2, width_ - 1); }

    // f(y, x) for the pixels that a sample stands for.
    template <class F>
    void for_pixels(int sample, F&& f) const {
        const Box box = box_of(sample);
        for (int y = box.top; y < box.bottom; ++y) {
            for (int x = box.left; x < box.right; ++x) f(y, x);
        }
    }

    size_t bytes() const {
        size_t total = mass_.bytes() + top_.bytes() + left_.bytes() + side_.bytes();
        for (const Buffer<float>& axis : axes_) total += axis.bytes();
        return total;
    }

private:
    struct Box {
        int top, bottom, left, right;
    };

    static int area(const Box& box) { return (box.bottom - box.top) * (box.right - box.left); }

    template <class F>
    static void for_blocks(const Box& box, int side, F&& f) {
        for (int y = box.top; y < box.bottom; y += side) {
            for (int x = box.left; x < box.right; x += side) {
                f(Box{y, std::min(y + side, box.bottom), x, std::min(x + side, box.right)});
            }
        }
    }

    template <int K>
    void divide(const Box& box, int side, const LogitMap<K>& logits, int& next, int& last) {
        for_blocks(box, side, [&](const Box& block) {
            if (settled(block, side, logits)) {
                remember(--last, block, side);
            } else if (side > 2) {
                divide(block, side / 2, logits, next, last);
            } else {
                for_blocks(block, 1, [&](const Box& pixel) { add(next++, pixel); });
            }
        });
    }

    // Whether the network is sure of one class: of large blocks by the points of the map that they
    // read, of the smallest ones pixel by pixel.
    template <int K>
    static bool settled(const Box& block, int side, const LogitMap<K>& logits) {
        constexpr uint8_t kUnsure = LogitMap<K>::kUnsure;
        if (side > 2) {
            return logits.winner_in(block.top, block.bottom, block.left, block.right) != kUnsure;
        }
        const uint8_t winner = logits.winner_at(block.top, block.left);
        bool same = winner != kUnsure;
        for (int y = block.top; same && y < block.bottom; ++y) {
            for (int x = block.left; same && x < block.right; ++x) {
                same = logits.winner_at(y, x) == winner;
            }
        }
        return same;
    }

    void add(int sample, const Box& pixel) {
        axes_[0][sample] = float(pixel.left);
        axes_[1][sample] = float(pixel.top);
        mass_[sample] = 1;
        remember(sample, pixel, 1);
    }

    void remember(int sample, const Box& box, int side) {
        top_[sample] = uint16_t(box.top);
        left_[sample] = uint16_t(box.left);
        side_[sample] = uint8_t(side);
    }

    // Bring the settled blocks, remembered from the tile's end backwards, behind its pixels.
    void close_gap(int tile, int next, int last, const uint8_t* frame) {
        const int end = begin_[tile] + area(tiles_[tile]);
        for (int from = last; from < end; ++from, ++next) {
            top_[next] = top_[from];
            left_[next] = left_[from];
            side_[next] = side_[from];
            average(next, frame);
        }
    }

    void average(int sample, const uint8_t* frame) {
        const Box box = box_of(sample);
        int total[3] = {};
        for (int y = box.top; y < box.bottom; ++y) {
            const uint8_t* rgb = frame + (size_t(y) * width_ + box.left) * 3;
            for (int i = 0; i < (box.right - box.left) * 3; i += 3) {
                for (int channel = 0; channel < 3; ++channel) total[channel] += rgb[i + channel];
            }
        }
        const float mass = float(area(box));
        axes_[0][sample] = 0.5f * float(box.left + box.right - 1);
        axes_[1][sample] = 0.5f * float(box.top + box.bottom - 1);
        for (int channel = 0; channel < 3; ++channel) {
            axes_[2 + channel][sample] = float(total[channel]) / mass;
        }
        mass_[sample] = mass;
    }

    Box box_of(int sample) const {
        const int top = top_[sample], left = left_[sample], side = side_[sample];
        return {top, std::min(top + side, height_), left, std::min(left + side, width_)};
    }

    static int blocks_along(int length) { return (length + kLargest - 1) / kLargest; }

    static int tiles_along(int length) {
        constexpr int kBlocks = Samples::kTileSide / kLargest;
        return (blocks_along(length) + kBlocks - 1) / kBlocks;
    }

    // Where the i-th of `tiles` tiles along an axis begins.
    static int cut(int i, int tiles, int length) {
        return std::min(blocks_along(length) * i / tiles * kLargest, length);
    }

    void lay_tiles() {
        const int down = tiles_along(height_), across = tiles_along(width_);
        const int tiles = samples_.tiles = down * across;
        tiles_.need(tiles), begin_.need(tiles), updated_end_.need(tiles), end_.need(tiles);
        int sample = 0;
        for (int tile = 0; tile < tiles; ++tile) {
            const int i = tile / across, j = tile % across;
            tiles_[tile] = {cut(i, down, height_), cut(i + 1, down, height_),
                            cut(j, across, width_), cut(j + 1, across, width_)};
            begin_[tile] = sample;
            sample += area(tiles_[tile]);
        }
        samples_.begin = begin_.data();
        samples_.updated_end = updated_end_.data();
        samples_.end = end_.data();
    }

    const int height_, width_;
    Buffer<Box> tiles_;
    Buffer<int> begin_, updated_end_, end_;
    Buffer<float> axes_[5], mass_;
    Buffer<uint16_t> top_, left_;  // of its box
    Buffer<uint8_t> side_;         // 1, 2, 4 or 8 pixels, less at the frame's edge
    Samples samples_;
};

}  // namespace DEEPLAB_LEVEL
}  // namespace deeplab
