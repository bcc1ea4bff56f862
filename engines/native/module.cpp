// engines._native: the pixel loops between a network's logits and what people see.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "engines/native/levels.h"

NB_MODULE(_native, module) {
    module.def("simd_levels", &deeplab::simd_levels,
               "Names of the SIMD levels that this machine runs, plainest first.");
}
