#include "pywatt/sampler.hpp"

#include <pybind11/stl.h>

#include "arrays.hpp"
#include "register.hpp"

namespace py = pybind11;
using pywatt::ChannelTrace;
using pywatt::Quality;
using pywatt::Sampler;

namespace {

/// A sampler's end waits for its thread, up to 2 s: others may have the GIL meanwhile.
struct ReleaseAndDelete {
  void operator()(Sampler* sampler) const {
    const py::gil_scoped_release release;
    delete sampler;
  }
};

py::dict runs_of(const ChannelTrace& trace) {
  std::vector<double> first_s, last_s, value;
  for (const auto& run : trace.runs) {
    first_s.push_back(run.first_s);
    last_s.push_back(run.last_s);
    value.push_back(run.value);
  }
  py::dict runs;
  runs["first_s"] = to_array(std::move(first_s));
  runs["last_s"] = to_array(std::move(last_s));
  runs["value"] = to_array(std::move(value));
  return runs;
}

}  // namespace

void register_sampler(py::module_& m) {
  py::class_<Quality>(m, "Quality")
      .def_readonly("asked_rate_hz", &Quality::asked_rate_hz)
      .def_readonly("achieved_rate_hz", &Quality::achieved_rate_hz)
      .def_readonly("missed_deadlines", &Quality::missed_deadlines)
      .def_readonly("longest_gap_s", &Quality::longest_gap_s)
      .def_readonly("failed_readings", &Quality::failed_readings)
      .def_readonly("sampler_cpu_s", &Quality::sampler_cpu_s);

  py::class_<ChannelTrace>(m, "ChannelTrace")
      .def_readonly("channel", &ChannelTrace::channel)
      .def_readonly("quality", &ChannelTrace::quality)
      .def_readonly("ended", &ChannelTrace::ended)
      .def_property_readonly("time_s", [](const ChannelTrace& t) { return to_array(t.knots.time_s); })
      .def_property_readonly("power_w",
                             [](const ChannelTrace& t) -> py::object {
                               if (t.channel.kind == pywatt::Kind::counter) return py::none();
                               return to_array(t.knots.power_w);
                             })
      .def_property_readonly("energy_j", [](const ChannelTrace& t) { return to_array(t.knots.energy_j); })
      .def_property_readonly("runs", &runs_of);

  py::class_<Sampler, std::unique_ptr<Sampler, ReleaseAndDelete>>(m, "Sampler")
      .def(py::init([](std::vector<std::shared_ptr<pywatt::Sensor>> sensors, double rate_hz,
                       std::shared_ptr<pywatt::Clock> clock, std::size_t capacity) {
             return std::unique_ptr<Sampler, ReleaseAndDelete>(
                 new Sampler(std::move(sensors), rate_hz, std::move(clock), capacity));
           }),
           py::arg("sensors"), py::arg("rate_hz"), py::arg("clock"),
           py::arg("capacity") = pywatt::TraceWriter::default_capacity)
      .def_readonly_static("min_rate_hz", &Sampler::min_rate_hz)
      .def_readonly_static("max_rate_hz", &Sampler::max_rate_hz)
      // These wait for the sampling thread, which never takes the GIL.
      .def("start", &Sampler::start, py::call_guard<py::gil_scoped_release>())
      .def("stop", &Sampler::stop, py::call_guard<py::gil_scoped_release>())
      .def("stop_at", &Sampler::stop_at, py::arg("time_s"), py::call_guard<py::gil_scoped_release>())
      .def("running", &Sampler::running)
      .def("channel_count", &Sampler::channel_count)
      .def("trace", &Sampler::trace, py::arg("index"), py::call_guard<py::gil_scoped_release>());
}
