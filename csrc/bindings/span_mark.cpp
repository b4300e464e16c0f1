#include "span_mark.hpp"

#include <pthread.h>
#include <structmember.h>

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <memory>
#include <new>
#include <vector>

#include "span_guard.hpp"

namespace py = pybind11;

namespace {

struct Entered {
  pthread_t thread;
  PyObject* target;  // null for None
};

struct SpanMark {
  PyObject base;
  PyObject* target;
  std::vector<Entered> entered;  // by the `with` statements that are open
};

PyObject* make(PyTypeObject* type, PyObject*, PyObject*) {
  PyObject* self = type->tp_alloc(type, 0);
  if (self == nullptr) return nullptr;
  new (&reinterpret_cast<SpanMark*>(self)->entered) std::vector<Entered>();
  return self;
}

PyObject* enter(PyObject* self, PyObject*) {
  auto* mark = reinterpret_cast<SpanMark*>(self);
  PyObject* target = mark->target == Py_None ? nullptr : mark->target;
  Py_XINCREF(target);
  if (target != nullptr && is_span_guard(target)) {
    enter_span_guard(target);
  } else if (target != nullptr) {
    PyObject* result = PyObject_CallMethod(target, "__enter__", nullptr);
    if (result == nullptr) {  // there will be no exit
      Py_DECREF(target);
      return nullptr;
    }
    Py_DECREF(result);
  }
  try {
    mark->entered.push_back({pthread_self(), target});
  } catch (const std::bad_alloc&) {
    Py_XDECREF(target);
    return PyErr_NoMemory();
  }
  Py_RETURN_NONE;
}

PyObject* leave(PyObject* self, PyObject* exception) {
  auto* mark = reinterpret_cast<SpanMark*>(self);
  const auto last = std::find_if(mark->entered.rbegin(), mark->entered.rend(), [](const Entered& entered) {
    return pthread_equal(entered.thread, pthread_self()) != 0;
  });
  if (last == mark->entered.rend()) {
    PyErr_SetString(PyExc_RuntimeError, "left without having been entered");
    return nullptr;
  }
  PyObject* target = last->target;
  mark->entered.erase(std::next(last).base());
  if (target == nullptr) Py_RETURN_NONE;
  if (is_span_guard(target)) {
    leave_span_guard(target);
  } else {
    auto method = py::reinterpret_steal<py::object>(PyObject_GetAttrString(target, "__exit__"));
    PyObject* result = method ? PyObject_CallObject(method.ptr(), exception) : nullptr;
    if (result == nullptr) {
      Py_DECREF(target);
      return nullptr;
    }
    Py_DECREF(result);
  }
  Py_DECREF(target);
  Py_RETURN_NONE;
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  auto* mark = reinterpret_cast<SpanMark*>(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(mark->target);
  for (const Entered& entered : mark->entered) Py_VISIT(entered.target);
  return 0;
}

int clear(PyObject* self) {
  auto* mark = reinterpret_cast<SpanMark*>(self);
  Py_CLEAR(mark->target);
  std::vector<Entered> left;
  left.swap(mark->entered);
  for (const Entered& entered : left) Py_XDECREF(entered.target);
  return 0;
}

void dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  clear(self);
  std::destroy_at(&reinterpret_cast<SpanMark*>(self)->entered);
  type->tp_free(self);
  Py_DECREF(type);
}

PyMemberDef members[] = {
    {"target", T_OBJECT, offsetof(SpanMark, target), 0, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

PyMethodDef methods[] = {
    {"__enter__", &enter, METH_NOARGS, nullptr},
    {"__exit__", &leave, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(&make)},
    {Py_tp_dealloc, reinterpret_cast<void*>(&dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(&traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(&clear)},
    {Py_tp_members, members},
    {Py_tp_methods, methods},
    {0, nullptr},
};

PyType_Spec spec = {"pywatt._core.SpanMark", sizeof(SpanMark), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
                    slots};

}  // namespace

void register_span_mark(py::module_& m) {
  PyObject* type = PyType_FromSpec(&spec);
  if (type == nullptr) throw py::error_already_set();
  m.attr("SpanMark") = py::reinterpret_steal<py::object>(type);
}
