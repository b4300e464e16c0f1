#include "span_guard.hpp"

#include <new>

namespace py = pybind11;
using pywatt::SpanRecorder;

namespace {

struct SpanGuard {
  PyObject base;
  std::shared_ptr<SpanRecorder> recorder;
  std::vector<std::uint32_t> names;
  std::size_t entered;  // how many `with` statements are in it
  bool opened;          // whether the outermost has opened the spans
};

/// A span that cannot be recorded must not end the work that is measured.
PyObject* enter(PyObject* self, PyObject*) {
  auto* guard = reinterpret_cast<SpanGuard*>(self);
  try {
    if (guard->entered++ == 0 && guard->recorder->is_idle()) {
      guard->opened = true;
      for (const std::uint32_t name : guard->names) guard->recorder->enter(name);
    }
  } catch (const std::exception&) {
  }
  Py_INCREF(self);
  return self;
}

PyObject* leave(PyObject* self, PyObject* const*, Py_ssize_t) {
  auto* guard = reinterpret_cast<SpanGuard*>(self);
  try {
    if (guard->entered > 0 && --guard->entered == 0 && guard->opened) {
      guard->opened = false;
      for (auto name = guard->names.rbegin(); name != guard->names.rend(); ++name)
        guard->recorder->exit(*name);
    }
  } catch (const std::exception&) {
  }
  Py_RETURN_NONE;
}

void dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  auto* guard = reinterpret_cast<SpanGuard*>(self);
  guard->recorder.~shared_ptr();
  guard->names.~vector();
  type->tp_free(self);
  Py_DECREF(type);
}

PyMethodDef methods[] = {
    {"__enter__", &enter, METH_NOARGS, nullptr},
    {"__exit__", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(&leave)), METH_FASTCALL, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(&dealloc)},
    {Py_tp_methods, methods},
    {0, nullptr},
};

PyType_Spec spec = {"pywatt._core.SpanGuard", sizeof(SpanGuard), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

PyTypeObject* guard_type = nullptr;  // owned by the module for the life of the process

}  // namespace

py::object make_span_guard(std::shared_ptr<SpanRecorder> recorder, std::vector<std::uint32_t> names) {
  auto made = py::reinterpret_steal<py::object>(guard_type->tp_alloc(guard_type, 0));
  if (!made) throw py::error_already_set();
  auto* guard = reinterpret_cast<SpanGuard*>(made.ptr());
  new (&guard->recorder) std::shared_ptr<SpanRecorder>(std::move(recorder));
  new (&guard->names) std::vector<std::uint32_t>(std::move(names));
  guard->entered = 0;
  guard->opened = false;
  return made;
}

void register_span_guard(py::module_& m) {
  guard_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (guard_type == nullptr) throw py::error_already_set();
  m.attr("SpanGuard") = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(guard_type));
}
