#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>

#include "pywatt/spans.hpp"

enum class HookEnd { enter, exit };

/// A callable that opens or closes the span `name`, whatever it is called with, and returns None. It
/// is a plain CPython type with a vectorcall, since a hook runs twice in every call of a module.
pybind11::object make_hook(std::shared_ptr<pywatt::SpanRecorder> recorder, std::uint32_t name, HookEnd end);

/// Adds the type to the module. REQUIRES: before the first make_hook.
void register_hook(pybind11::module_& m);
