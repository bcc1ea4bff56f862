// From lattice keys to small numbers: open addressing with linear probing.
#pragma once

#include <cstdint>
#include <cstring>

#include "buffer.h"

namespace deeplab {
namespace DEEPLAB_LEVEL {

class HashTable {
public:
    static constexpr uint32_t kAbsent = UINT32_MAX;

    // Forget everything; room for at least `count` keys before the first growth.
    void clear(size_t count) {
        bits_ = 10;
        while ((size_t(1) << bits_) < 2 * count) ++bits_;
        reset();
    }

    // The number of `key`; the next free one, `size()`, if it is new.
    uint32_t insert(uint64_t key) {
        size_t slot = home(key);
        while (keys_[slot] != key) {
            if (keys_[slot] == kEmpty) return add(key, slot);
            slot = (slot + 1) & mask_;
        }
        return numbers_[slot];
    }

    // The number of `key`, or kAbsent.
    uint32_t find(uint64_t key) const {
        size_t slot = home(key);
        while (keys_[slot] != key) {
            if (keys_[slot] == kEmpty) return kAbsent;
            slot = (slot + 1) & mask_;
        }
        return numbers_[slot];
    }

    // Start loading what `insert(key)` or `find(key)` will look at.
    void prefetch(uint64_t key) const { __builtin_prefetch(&keys_[home(key)]); }

    uint32_t size() const { return size_; }

    // Keys in the order of their numbers, `size()` of them.
    const uint64_t* keys() const { return in_order_.data(); }

    size_t bytes() const { return keys_.bytes() + numbers_.bytes() + in_order_.bytes(); }

private:
    static constexpr uint64_t kEmpty = UINT64_MAX;  // keys have at most 63 bits

    // Fibonacci hashing: the high bits of a product with 2^64 / golden ratio.
    size_t home(uint64_t key) const { return (key * 0x9E3779B97F4A7C15u) >> (64 - bits_); }

    void reset() {
        const size_t slots = size_t(1) << bits_;
        mask_ = slots - 1;
        size_ = 0;
        std::memset(keys_.need(slots), 0xff, slots * sizeof(uint64_t));
        numbers_.need(slots);
        in_order_.need(slots / 2);
    }

    uint32_t add(uint64_t key, size_t slot) {
        if (2 * (size_ + 1) > mask_ + 1) {
            grow();
            return insert(key);
        }
        keys_[slot] = key;
        in_order_[size_] = key;
        return numbers_[slot] = size_++;
    }

    void grow() {
        const uint32_t count = size_;
        old_.need(count);
        std::memcpy(old_.data(), in_order_.data(), count * sizeof(uint64_t));
        ++bits_;
        reset();
        for (uint32_t i = 0; i < count; ++i) insert(old_[i]);
    }

    int bits_ = 10;
    size_t mask_ = 0;
    uint32_t size_ = 0;
    Buffer<uint64_t> keys_, in_order_, old_;
    Buffer<uint32_t> numbers_;
};

}  // namespace DEEPLAB_LEVEL
}  // namespace deeplab
