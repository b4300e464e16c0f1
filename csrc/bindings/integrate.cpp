#include "pywatt/integrate.hpp"

#include <pybind11/stl.h>

#include <optional>

#include "arrays.hpp"
#include "pywatt/errors.hpp"
#include "register.hpp"

namespace py = pybind11;

namespace {

using Column = py::array_t<double, py::array::c_style | py::array::forcecast>;

py::array_t<double> integrate_arrays(const Column& time_s, const std::optional<Column>& power_w,
                                     const Column& energy_j, const Column& start_s, const Column& end_s) {
  if (time_s.ndim() != 1 || time_s.size() == 0 || energy_j.size() != time_s.size() ||
      (power_w && power_w->size() != time_s.size())) {
    throw pywatt::ArgumentError("time_s, power_w and energy_j must be of one length, and not empty");
  }
  if (start_s.request().shape != end_s.request().shape) {
    throw pywatt::ArgumentError("start_s and end_s must have the same shape");
  }
  py::array_t<double> energy(start_s.request().shape);
  const pywatt::Curve curve{time_s.data(), power_w ? power_w->data() : nullptr, energy_j.data(),
                            static_cast<std::size_t>(time_s.size())};
  const double* starts = start_s.data();
  const double* ends = end_s.data();
  double* out = energy.mutable_data();
  const auto windows = static_cast<std::size_t>(start_s.size());
  {
    // Safe: the arguments are held by this call, and the result is not yet known to anybody.
    const py::gil_scoped_release release;
    pywatt::integrate(curve, starts, ends, windows, out);
  }
  return energy;
}

}  // namespace

void register_integrate(py::module_& m) {
  m.def("integrate", &integrate_arrays, py::arg("time_s"), py::arg("power_w"), py::arg("energy_j"),
        py::arg("start_s"), py::arg("end_s"));
}
