#include <pybind11/native_enum.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <limits>
#include <optional>

#include "pywatt/errors.hpp"
#include "pywatt/estimated_cpu_sensor.hpp"
#include "pywatt/nvml_sensor.hpp"
#include "pywatt/rapl_sensor.hpp"
#include "pywatt/scripted_sensor.hpp"
#include "register.hpp"

namespace py = pybind11;
using namespace pywatt;

namespace {

Kind kind_of(const std::string& kind) {
  if (kind == "power") return Kind::power;
  if (kind == "counter") return Kind::counter;
  throw ArgumentError("kind is '" + kind + "', but must be 'power' or 'counter'");
}

std::vector<double> read_once(Sensor& sensor) {
  std::vector<double> values(sensor.channels().size());
  // Safe: a sensor never touches Python.
  const py::gil_scoped_release release;
  sensor.read(values.data());
  return values;
}

/// Median time of a read, in seconds.
double reading_cost(Sensor& sensor, std::size_t readings) {
  std::vector<double> values(sensor.channels().size());
  std::vector<double> cost_s;
  const auto clock = steady_clock();
  const py::gil_scoped_release release;
  for (std::size_t i = 0; i < std::max<std::size_t>(1, readings); ++i) {
    const double before_s = clock->now_s();
    sensor.read(values.data());
    cost_s.push_back(clock->now_s() - before_s);
  }
  std::nth_element(cost_s.begin(), cost_s.begin() + static_cast<std::ptrdiff_t>(cost_s.size() / 2),
                   cost_s.end());
  return cost_s[cost_s.size() / 2];
}

Channel scripted_channel(const std::string& name, const std::string& kind, const std::string& domain,
                         bool estimated, const std::string& contained_in) {
  Channel channel;
  channel.name = name;
  channel.kind = kind_of(kind);
  channel.domain = domain;
  channel.estimated = estimated;
  channel.contained_in = contained_in;
  return channel;
}

void register_scripted_sensor(py::module_& m) {
  py::class_<ScriptedSensor, Sensor, std::shared_ptr<ScriptedSensor>>(m, "ScriptedSensor")
      .def(py::init([](std::vector<double> power_w, std::optional<std::vector<double>> time_s,
                       const std::string& name, const std::string& kind, const std::string& domain,
                       bool estimated, const std::string& contained_in, double repeat_s,
                       std::shared_ptr<Clock> clock, std::optional<double> origin_s, double period_s,
                       double window_s) {
             if (!time_s && power_w.size() != 1) {
               throw ArgumentError("time_s is needed to say from when each of the " +
                                   std::to_string(power_w.size()) + " powers holds");
             }
             if (!clock) clock = steady_clock();
             Channel channel = scripted_channel(name, kind, domain, estimated, contained_in);
             channel.update_period_s = period_s;
             return std::make_shared<ScriptedSensor>(
                 name, channel,
                 PowerSteps(time_s ? *std::move(time_s) : std::vector<double>{0.0}, std::move(power_w),
                            repeat_s),
                 clock, origin_s ? *origin_s : clock->now_s(), Publishing{period_s, window_s});
           }),
           py::arg("power_w"), py::arg("time_s") = std::nullopt, py::kw_only(), py::arg("name") = "scripted",
           py::arg("kind") = "power", py::arg("domain") = "package", py::arg("estimated") = false,
           py::arg("contained_in") = "", py::arg("repeat_s") = std::numeric_limits<double>::infinity(),
           py::arg("clock") = nullptr, py::arg("origin_s") = std::nullopt, py::arg("period_s") = 0.0,
           py::arg("window_s") = 0.0)
      .def_static(
          "from_readings",
          [](std::vector<double> readings, const std::string& name, const std::string& kind,
             const std::string& domain, bool estimated, const std::string& contained_in) {
            return std::make_shared<ScriptedSensor>(
                name, scripted_channel(name, kind, domain, estimated, contained_in), std::move(readings));
          },
          py::arg("readings"), py::kw_only(), py::arg("name") = "scripted", py::arg("kind") = "power",
          py::arg("domain") = "package", py::arg("estimated") = false, py::arg("contained_in") = "")
      .def("hang", &ScriptedSensor::hang)
      .def("release", &ScriptedSensor::release)
      .def("true_energy_j", &ScriptedSensor::true_energy_j, py::arg("start_s"), py::arg("end_s"));
}

void register_rapl(py::module_& m) {
  py::class_<RaplZone>(m, "RaplZone")
      .def_readonly("path", &RaplZone::path)
      .def_readonly("name", &RaplZone::name)
      .def_readonly("domain", &RaplZone::domain)
      .def_readonly("contained_in", &RaplZone::contained_in)
      .def_readonly("problem", &RaplZone::problem);
  m.def("find_rapl_zones", &find_rapl_zones, py::arg("sys_root") = "/sys");
  py::class_<RaplSensor, Sensor, std::shared_ptr<RaplSensor>>(m, "RaplSensor")
      .def(py::init<const RaplZone&>(), py::arg("zone"));
}

void register_estimated_cpu(py::module_& m) {
  py::class_<CpuPowerModel>(m, "CpuPowerModel")
      .def(py::init([](double idle_w, double full_w, unsigned cpus, double relative_std) {
             return CpuPowerModel{idle_w, full_w, cpus, relative_std};
           }),
           py::arg("idle_w"), py::arg("full_w"), py::arg("cpus"), py::arg("relative_std"))
      .def_static("from_tdp", &CpuPowerModel::from_tdp, py::arg("full_w"))
      .def_static("default_for_this_machine", &CpuPowerModel::default_for_this_machine)
      .def_readonly("idle_w", &CpuPowerModel::idle_w)
      .def_readonly("full_w", &CpuPowerModel::full_w)
      .def_readonly("cpus", &CpuPowerModel::cpus)
      .def_readonly("relative_std", &CpuPowerModel::relative_std);
  py::native_enum<CpuScope>(m, "CpuScope", "enum.Enum")
      .value("process", CpuScope::process)
      .value("children", CpuScope::children)
      .finalize();
  py::class_<EstimatedCpuSensor, Sensor, std::shared_ptr<EstimatedCpuSensor>>(m, "EstimatedCpuSensor")
      .def(py::init<CpuPowerModel, CpuScope, std::shared_ptr<Clock>>(), py::arg("model"), py::arg("scope"),
           py::arg("clock"))
      .def_property_readonly("model", &EstimatedCpuSensor::model);
}

}  // namespace

void register_sensors(py::module_& m) {
  py::class_<Channel>(m, "Channel")
      .def_readonly("name", &Channel::name)
      .def_property_readonly("kind",
                             [](const Channel& c) { return c.kind == Kind::power ? "power" : "counter"; })
      .def_readonly("domain", &Channel::domain)
      .def_readonly("estimated", &Channel::estimated)
      .def_readonly("resolution", &Channel::resolution)
      .def_readonly("contained_in", &Channel::contained_in)
      .def_readonly("note", &Channel::note)
      .def_readonly("scale_std", &Channel::scale_std)
      .def_readonly("update_period_s", &Channel::update_period_s)
      .def_readonly("power_limit_w", &Channel::power_limit_w);

  py::class_<Sensor, std::shared_ptr<Sensor>>(m, "Sensor")
      .def_property_readonly("name", &Sensor::name)
      .def_property_readonly("channels", &Sensor::channels)
      .def("read", &read_once);
  m.def("reading_cost_s", &reading_cost, py::arg("sensor"), py::arg("readings") = 20);

  py::class_<NvmlSensor, Sensor, std::shared_ptr<NvmlSensor>>(m, "NvmlSensor")
      .def(py::init<std::string, const std::string&, const std::string&, const std::string&>(),
           py::arg("name"), py::arg("device"), py::arg("note") = "", py::arg("library_path") = "")
      .def_property_readonly("power_source", &NvmlSensor::power_source);
  register_rapl(m);
  register_estimated_cpu(m);
  register_scripted_sensor(m);
}
