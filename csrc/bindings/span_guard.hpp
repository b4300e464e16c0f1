#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "pywatt/spans.hpp"

/// A context manager that holds the spans `names` open, each inside the one before it; nothing where any
/// thread has a span open already. It is a plain CPython type: a loop that works for milliseconds has thrown
/// pybind11's call machinery out of the caches by the next time, and waits for it.
pybind11::object make_span_guard(std::shared_ptr<pywatt::SpanRecorder> recorder,
                                 std::vector<std::uint32_t> names);

/// Adds the type to the module. REQUIRES: before the first make_span_guard.
void register_span_guard(pybind11::module_& m);

bool is_span_guard(const PyObject* object);

/// As its `with` statement does; REQUIRES: is_span_guard. A span that cannot be recorded must not
/// end the work that is measured.
void enter_span_guard(PyObject* guard) noexcept;
void leave_span_guard(PyObject* guard) noexcept;
