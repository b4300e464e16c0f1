#include "span_guard.hpp"

#include <pthread.h>

#include <new>

namespace py = pybind11;
using pywatt::SpanRecorder;

namespace {

struct SpanGuard {
  PyObject base;
  std::shared_ptr<SpanRecorder> recorder;
  std::vector<std::uint32_t> names;
  pthread_t owner;      // the thread that is in it, while one is
  std::size_t entered;  // how many `with` statements of that thread are, from the one that opened the spans
};

bool is_owner(const SpanGuard& guard) {
  return guard.entered > 0 && pthread_equal(guard.owner, pthread_self()) != 0;
}

PyObject* enter(PyObject* self, PyObject*) {
  enter_span_guard(self);
  Py_INCREF(self);
  return self;
}

PyObject* leave(PyObject* self, PyObject* const*, Py_ssize_t) {
  leave_span_guard(self);
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

bool is_span_guard(const PyObject* object) { return Py_TYPE(object) == guard_type; }

void enter_span_guard(PyObject* object) noexcept {
  auto* guard = reinterpret_cast<SpanGuard*>(object);
  try {
    if (guard->entered == 0) {
      if (!guard->recorder->is_idle()) return;
      guard->owner = pthread_self();
      guard->entered = 1;
      for (const std::uint32_t name : guard->names) guard->recorder->enter(name);
    } else if (is_owner(*guard)) {
      ++guard->entered;
    }
  } catch (const std::exception&) {
  }
}

void leave_span_guard(PyObject* object) noexcept {
  auto* guard = reinterpret_cast<SpanGuard*>(object);
  try {
    if (is_owner(*guard) && --guard->entered == 0) {
      for (auto name = guard->names.rbegin(); name != guard->names.rend(); ++name)
        guard->recorder->exit(*name);
    }
  } catch (const std::exception&) {
  }
}

py::object make_span_guard(std::shared_ptr<SpanRecorder> recorder, std::vector<std::uint32_t> names) {
  auto made = py::reinterpret_steal<py::object>(guard_type->tp_alloc(guard_type, 0));
  if (!made) throw py::error_already_set();
  auto* guard = reinterpret_cast<SpanGuard*>(made.ptr());
  new (&guard->recorder) std::shared_ptr<SpanRecorder>(std::move(recorder));
  new (&guard->names) std::vector<std::uint32_t>(std::move(names));
  guard->entered = 0;  // with no owner
  return made;
}

void register_span_guard(py::module_& m) {
  guard_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (guard_type == nullptr) throw py::error_already_set();
  m.attr("SpanGuard") = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(guard_type));
}
