#include "pywatt/spans.hpp"

#include <pybind11/stl.h>

#include "arrays.hpp"
#include "hook.hpp"
#include "register.hpp"
#include "span_guard.hpp"
#include "span_mark.hpp"

namespace py = pybind11;
using pywatt::SpanRecorder;

namespace {

py::tuple paths_of(const SpanRecorder& recorder) {
  std::vector<std::int32_t> name, parent;
  for (const auto& path : recorder.paths()) {
    name.push_back(static_cast<std::int32_t>(path.name));
    parent.push_back(path.parent);
  }
  return py::make_tuple(to_array(std::move(name)), to_array(std::move(parent)));
}

py::tuple rows_of(const SpanRecorder& recorder, std::size_t first, std::size_t count) {
  auto rows = recorder.rows(first, count);
  return py::make_tuple(to_array(std::move(rows.start_s)), to_array(std::move(rows.end_s)),
                        to_array(std::move(rows.path)), to_array(std::move(rows.thread)));
}

}  // namespace

void register_spans(py::module_& m) {
  register_hook(m);
  register_span_guard(m);
  register_span_mark(m);
  py::class_<SpanRecorder, std::shared_ptr<SpanRecorder>>(m, "SpanRecorder")
      .def(py::init<std::shared_ptr<pywatt::Clock>>(), py::arg("clock"))
      .def("enter", &SpanRecorder::enter, py::arg("name"))
      .def(
          "exit",
          [](SpanRecorder& recorder, std::uint32_t name) -> py::object {
            const std::size_t row = recorder.exit(name);
            if (row == SpanRecorder::none) return py::none();
            return py::int_(row);
          },
          py::arg("name"))
      .def(
          "leave",
          [](SpanRecorder& recorder, std::uint32_t name) -> py::object {
            const std::int32_t path = recorder.leave(name);
            if (path == SpanRecorder::no_path) return py::none();
            return py::int_(path);
          },
          py::arg("name"))
      .def("add", &SpanRecorder::add, py::arg("path"), py::arg("start_s"), py::arg("end_s"),
           py::arg("thread"))
      .def("close_all", &SpanRecorder::close_all)
      .def("__len__", &SpanRecorder::size)
      .def_property_readonly("threads", &SpanRecorder::threads)
      .def_property_readonly("memory_bytes", &SpanRecorder::memory_bytes)
      .def("paths", &paths_of)
      .def("rows", &rows_of, py::arg("first"), py::arg("count"))
      .def(
          "hooks",
          [](const std::shared_ptr<SpanRecorder>& recorder, std::uint32_t name) {
            return py::make_tuple(make_hook(recorder, name, HookEnd::enter),
                                  make_hook(recorder, name, HookEnd::exit));
          },
          py::arg("name"))
      .def("guard", &make_span_guard, py::arg("names"));
}
