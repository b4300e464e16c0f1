#include "pywatt/errors.hpp"

#include <cstring>
#include <exception>

#include "register.hpp"

namespace py = pybind11;

namespace {

/// The Python classes live in pywatt/errors.py, so that they exist without this module. A message may
/// hold a path, and so bytes that are no UTF-8.
void raise_as(const char* name, const std::exception& error) {
  const char* const what = error.what();
  const auto text = py::reinterpret_steal<py::object>(
      PyUnicode_DecodeUTF8(what, static_cast<Py_ssize_t>(std::strlen(what)), "replace"));
  if (!text) throw py::error_already_set();
  PyErr_SetObject(py::module_::import("pywatt.errors").attr(name).ptr(), text.ptr());
}

}  // namespace

void register_errors(py::module_& m) {
  (void)m;
  py::register_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const pywatt::NvmlError& error) {
      raise_as("NvmlError", error);
    } catch (const pywatt::SensorError& error) {
      raise_as("SensorError", error);
    } catch (const pywatt::CoverageError& error) {
      raise_as("CoverageError", error);
    } catch (const pywatt::ArgumentError& error) {
      raise_as("ArgumentError", error);
    } catch (const pywatt::Error& error) {
      raise_as("PywattError", error);
    }
  });
}
