#include "hook.hpp"

#include <structmember.h>

#include <cstddef>
#include <new>

namespace py = pybind11;
using pywatt::SpanRecorder;

namespace {

struct Hook {
  PyObject base;
  vectorcallfunc vectorcall;
  std::shared_ptr<SpanRecorder> recorder;  // null in a copy, which records nothing
  std::uint32_t name;
};

/// A span that cannot be recorded must not end the call that is measured.
template <HookEnd end>
PyObject* call(PyObject* self, PyObject* const*, std::size_t, PyObject*) {
  const auto* hook = reinterpret_cast<Hook*>(self);
  try {
    if (hook->recorder) {
      if constexpr (end == HookEnd::enter) {
        hook->recorder->enter(hook->name);
      } else {
        hook->recorder->exit(hook->name);
      }
    }
  } catch (const std::exception&) {
  }
  Py_RETURN_NONE;
}

void dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  reinterpret_cast<Hook*>(self)->recorder.~shared_ptr();
  type->tp_free(self);
  Py_DECREF(type);
}

/// A copied or pickled model keeps working, unmeasured: its hooks become ones that do nothing.
PyObject* reduce(PyObject* self, PyObject*) {
  return Py_BuildValue("O()", reinterpret_cast<PyObject*>(Py_TYPE(self)));
}

PyObject* new_detached(PyTypeObject* type, PyObject*, PyObject*) {
  PyObject* self = type->tp_alloc(type, 0);
  if (self == nullptr) return nullptr;
  auto* hook = reinterpret_cast<Hook*>(self);
  hook->vectorcall = &call<HookEnd::enter>;
  new (&hook->recorder) std::shared_ptr<SpanRecorder>();
  hook->name = 0;
  return self;
}

PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Hook, vectorcall), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

PyMethodDef methods[] = {
    {"__reduce__", &reduce, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(&new_detached)},
    {Py_tp_dealloc, reinterpret_cast<void*>(&dealloc)},
    {Py_tp_call, reinterpret_cast<void*>(&PyVectorcall_Call)},
    {Py_tp_members, members},
    {Py_tp_methods, methods},
    {0, nullptr},
};

PyType_Spec spec = {"pywatt._core.Hook", sizeof(Hook), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL,
                    slots};

PyTypeObject* hook_type = nullptr;  // owned by the module for the life of the process

}  // namespace

py::object make_hook(std::shared_ptr<SpanRecorder> recorder, std::uint32_t name, HookEnd end) {
  auto made = py::reinterpret_steal<py::object>(new_detached(hook_type, nullptr, nullptr));
  if (!made) throw py::error_already_set();
  auto* hook = reinterpret_cast<Hook*>(made.ptr());
  hook->vectorcall = end == HookEnd::enter ? &call<HookEnd::enter> : &call<HookEnd::exit>;
  hook->recorder = std::move(recorder);
  hook->name = name;
  return made;
}

void register_hook(py::module_& m) {
  hook_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (hook_type == nullptr) throw py::error_already_set();
  m.attr("Hook") = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(hook_type));
}
