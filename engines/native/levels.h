// Which of the compiled SIMD levels this machine runs; cmake/native_module.cmake compiles them.
#pragma once

#include <string>
#include <vector>

namespace deeplab {

// Names of the levels this machine runs, plainest first: a prefix of baseline, avx2, avx512.
inline std::vector<std::string> simd_levels() {
    std::vector<std::string> levels = {"baseline"};
#if defined(__x86_64__)
    // What code for x86-64-v3 and v4 may contain (psABI) and no older machine has. GCC 11 does not
    // know __builtin_cpu_supports("x86-64-v3") itself.
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2")) {
        levels.push_back("avx2");
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
            __builtin_cpu_supports("avx512vl")) {
            levels.push_back("avx512");
        }
    }
#endif
    return levels;
}

}  // namespace deeplab
