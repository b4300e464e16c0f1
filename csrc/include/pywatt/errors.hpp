#pragma once

#include <stdexcept>
#include <string>

namespace pywatt {

/// Root of everything this library throws on purpose. Messages say what happened, to which
/// device, and what the user can do.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A bad argument: a rate out of range, times that do not grow, arrays of unequal length.
class ArgumentError : public Error {
 public:
  using Error::Error;
};

/// A sensor cannot be opened or read.
class SensorError : public Error {
 public:
  using Error::Error;
};

/// A read failed, but the next one may succeed (a time-out, a busy device): it is counted and
/// tried again at the next deadline.
class PassingSensorError : public SensorError {
 public:
  using SensorError::SensorError;
};

/// The sensor is gone for good (device lost, file removed): its trace ends here.
class LostSensorError : public SensorError {
 public:
  using SensorError::SensorError;
};

/// An error that came from NVML.
class NvmlError : public SensorError {
 public:
  using SensorError::SensorError;
};

/// A window was asked for that the trace does not cover.
class CoverageError : public Error {
 public:
  using Error::Error;
};

}  // namespace pywatt
