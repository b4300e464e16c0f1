#pragma once

#include <pybind11/pybind11.h>

void register_errors(pybind11::module_& m);
void register_clock(pybind11::module_& m);
void register_sensors(pybind11::module_& m);
void register_sampler(pybind11::module_& m);
void register_integrate(pybind11::module_& m);
void register_spans(pybind11::module_& m);
