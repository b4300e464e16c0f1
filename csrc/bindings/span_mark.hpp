#pragma once

#include <pybind11/pybind11.h>

/// Adds `_core.SpanMark` to the module: what a user's loop enters. It may be kept, and whenever it is
/// entered it enters its `target`, such as a guard, which may be another each time or None. In the
/// caches' state after the work that is measured, a Python class takes some 20 us a time for this.
/// REQUIRES: after register_span_guard.
void register_span_mark(pybind11::module_& m);
