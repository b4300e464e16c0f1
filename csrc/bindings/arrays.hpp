#pragma once

#include <pybind11/numpy.h>

#include <memory>
#include <utility>
#include <vector>

/// A numpy array that owns what was a vector, without a copy.
template <typename T>
pybind11::array_t<T> to_array(std::vector<T> values) {
  auto owned = std::make_unique<std::vector<T>>(std::move(values));
  const auto* raw = owned.get();
  pybind11::capsule owner(owned.release(), [](void* p) { delete static_cast<std::vector<T>*>(p); });
  return pybind11::array_t<T>({raw->size()}, {sizeof(T)}, raw->data(), owner);
}
