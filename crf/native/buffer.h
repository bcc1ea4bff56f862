// A growing array for scratch that lives as long as its owner.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>

namespace deeplab {
namespace DEEPLAB_LEVEL {

// Memory on a 64-byte boundary that `need` makes at least as large as asked for. What it held is
// lost when it grows, and it is never cleared: its users write before they read. Plain malloc and
// not std::vector, because vectors clear, and because their out-of-line functions, compiled once
// for each SIMD level, would be merged into one by the linker.
template <class T>
class Buffer {
public:
    Buffer() = default;
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { std::free(data_); }

    T* need(size_t count) {
        if (count > capacity_) {
            // A quarter more than asked: counts vary from frame to frame.
            const size_t bytes = ((count + count / 4) * sizeof(T) + 63) / 64 * 64;
            std::free(data_);
            capacity_ = 0;
            data_ = static_cast<T*>(std::aligned_alloc(64, bytes));
            if (data_ == nullptr) throw std::bad_alloc();
            capacity_ = bytes / sizeof(T);
        }
        return data_;
    }

    T* zeros(size_t count) {
        std::memset(need(count), 0, count * sizeof(T));
        return data_;
    }

    T* data() { return data_; }
    const T* data() const { return data_; }
    T& operator[](size_t i) { return data_[i]; }
    const T& operator[](size_t i) const { return data_[i]; }
    size_t bytes() const { return capacity_ * sizeof(T); }

private:
    T* data_ = nullptr;
    size_t capacity_ = 0;
};

}  // namespace DEEPLAB_LEVEL
}  // namespace deeplab
