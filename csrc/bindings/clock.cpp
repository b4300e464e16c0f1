#include "pywatt/clock.hpp"

#include "register.hpp"

namespace py = pybind11;

void register_clock(py::module_& m) {
  using namespace pywatt;
  py::class_<Clock, std::shared_ptr<Clock>>(m, "Clock").def("now_s", &Clock::now_s);
  py::class_<SteadyClock, Clock, std::shared_ptr<SteadyClock>>(m, "SteadyClock");
  py::class_<ScriptedClock, Clock, std::shared_ptr<ScriptedClock>>(m, "ScriptedClock")
      .def(py::init<double>(), py::arg("start_s") = 0.0)
      // Samplers on this clock run meanwhile; they never take the GIL, but other threads may.
      .def("advance", &ScriptedClock::advance, py::arg("duration_s"),
           py::call_guard<py::gil_scoped_release>());
  m.def("steady_clock", &steady_clock);
}
