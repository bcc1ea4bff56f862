// engines._native: the pixel loops between a network's logits and what people see. Results are
// written into arrays that the caller brings; engines/labels.py and engines/blend.py check shapes.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "engines/native/levels.h"
#include "engines/native/pixels.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

template <class T, int Axes>
using Array = nb::ndarray<T, nb::ndim<Axes>, nb::c_contig, nb::device::cpu>;
using Logits = Array<const float, 3>;  // [C, h, w]

template <class A>
deeplab::Size last_two(const A& array) {
    const size_t axes = array.ndim();
    return {static_cast<int>(array.shape(axes - 2)), static_cast<int>(array.shape(axes - 1))};
}

void upsample_argmax(Logits logits, Array<uint8_t, 2> labels, int threads, std::string level) {
    const int classes = static_cast<int>(logits.shape(0));
    const nb::gil_scoped_release others_may_run;
    deeplab::upsample_argmax(logits.data(), classes, last_two(logits), labels.data(),
                             last_two(labels), {threads, level});
}

void upsample(Logits logits, Array<float, 3> values, int threads, std::string level) {
    const int classes = static_cast<int>(logits.shape(0));
    const nb::gil_scoped_release others_may_run;
    deeplab::upsample(logits.data(), classes, last_two(logits), values.data(), last_two(values),
                      {threads, level});
}

void upsample_softmax(Logits logits, Array<float, 3> marginals, int threads, std::string level) {
    const int classes = static_cast<int>(logits.shape(0));
    const nb::gil_scoped_release others_may_run;
    deeplab::upsample_softmax(logits.data(), classes, last_two(logits), marginals.data(),
                              last_two(marginals), {threads, level});
}

void blend(Array<const uint8_t, 3> frame, Array<const uint8_t, 2> labels,
           Array<const uint8_t, 3> table, Array<uint8_t, 3> mixed, int threads) {
    const nb::gil_scoped_release others_may_run;
    deeplab::blend(frame.data(), labels.data(), table.data(), mixed.data(), last_two(labels),
                   threads);
}

}  // namespace

NB_MODULE(_native, module) {
    module.def("simd_levels", &deeplab::simd_levels,
               "Names of the SIMD levels that this machine runs, plainest first.");
    module.def("upsample_argmax", &upsample_argmax, "logits"_a.noconvert(), "labels"_a.noconvert(),
               "threads"_a, "level"_a = "");
    module.def("upsample", &upsample, "logits"_a.noconvert(), "values"_a.noconvert(), "threads"_a,
               "level"_a = "");
    module.def("upsample_softmax", &upsample_softmax, "logits"_a.noconvert(),
               "marginals"_a.noconvert(), "threads"_a, "level"_a = "");
    module.def("blend", &blend, "frame"_a.noconvert(), "labels"_a.noconvert(),
               "table"_a.noconvert(), "mixed"_a.noconvert(), "threads"_a);
}
