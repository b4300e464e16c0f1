#include <pybind11/pybind11.h>

#include "register.hpp"

PYBIND11_MODULE(_core, m) {
  m.doc() = "Native power sampling, integration and span recording.";
  m.attr("__version__") = PYWATT_VERSION;
  register_errors(m);
  register_clock(m);
  register_sensors(m);
  register_sampler(m);
  register_integrate(m);
  register_spans(m);
}
