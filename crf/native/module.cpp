// crf._native: the dense CRF on the CPU.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "crf/native/solver.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace deeplab {
namespace {

using Frame = nb::ndarray<const uint8_t, nb::shape<-1, -1, 3>, nb::c_contig, nb::device::cpu>;
using Logits = nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Labels = nb::ndarray<uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Marginals = nb::ndarray<float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;

std::unique_ptr<CrfSolver> make_solver(const CrfSettings& settings, const std::string& level) {
    if (level == "baseline") return baseline::make_crf_solver(settings);
#if defined(__x86_64__)
    if (level == "avx2") return avx2::make_crf_solver(settings);
    if (level == "avx512") return avx512::make_crf_solver(settings);
#endif
    throw std::invalid_argument("no SIMD level " + level);
}

// A solver with the checks that keep C++ from reading beyond Python's arrays.
class MeanField {
public:
    MeanField(int height, int width, int classes, float w1, float sigma_alpha, float sigma_beta,
              float w2, float sigma_gamma, int iterations, float temperature, bool fast,
              int threads, const std::string& level)
        : settings_{
              height,  width,
              classes, {w1, sigma_alpha, sigma_beta, w2, sigma_gamma, iterations, temperature},
              fast,    threads},
          solver_(make_solver(settings_, level)) {
        if (solver_ == nullptr) throw std::overflow_error("a sigma is too small");
    }

    int run(const Frame& frame, const Logits& logits, double budget_ms) {
        require(frame.shape(0) == size_t(settings_.height) &&
                frame.shape(1) == size_t(settings_.width));
        require(logits.shape(0) == size_t(settings_.classes) && logits.size() > 0);
        nb::gil_scoped_release free;
        return iterations_ = solver_->run({frame.data(), logits.data(), int(logits.shape(1)),
                                           int(logits.shape(2)), budget_ms});
    }

    void labels(const Labels& out) {
        require_result();
        require(out.shape(0) == size_t(settings_.height) &&
                out.shape(1) == size_t(settings_.width));
        nb::gil_scoped_release free;
        solver_->labels(out.data());
    }

    void marginals(const Marginals& out) {
        require_result();
        require(out.shape(0) == size_t(settings_.classes) &&
                out.shape(1) == size_t(settings_.height) &&
                out.shape(2) == size_t(settings_.width));
        nb::gil_scoped_release free;
        solver_->marginals(out.data());
    }

    size_t bytes() const { return solver_->bytes(); }

private:
    static void require(bool fits) {
        if (!fits) throw std::invalid_argument("an array of another shape than the solver's");
    }

    void require_result() const {
        if (iterations_ == CrfSolver::kRefused) throw std::logic_error("no frame has been run");
    }

    const CrfSettings settings_;
    const std::unique_ptr<CrfSolver> solver_;
    int iterations_ = CrfSolver::kRefused;  // of the last frame
};

}  // namespace
}  // namespace deeplab

NB_MODULE(_native, module) {
    using deeplab::MeanField;
    module.attr("REFUSED") = deeplab::CrfSolver::kRefused;
    nb::class_<MeanField>(module, "MeanField")
        .def(nb::init<int, int, int, float, float, float, float, float, int, float, bool, int,
                      const std::string&>(),
             "height"_a, "width"_a, "classes"_a, "w1"_a, "sigma_alpha"_a, "sigma_beta"_a, "w2"_a,
             "sigma_gamma"_a, "iterations"_a, "temperature"_a, "fast"_a, "threads"_a, "level"_a)
        .def("run", &MeanField::run, "frame"_a.noconvert(), "logits"_a.noconvert(), "budget_ms"_a)
        .def("labels", &MeanField::labels, "out"_a.noconvert())
        .def("marginals", &MeanField::marginals, "out"_a.noconvert())
        .def_prop_ro("bytes", &MeanField::bytes);
}
