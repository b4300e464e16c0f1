#pragma once

#include <sys/types.h>

#include <atomic>
#include <limits>
#include <string>
#include <vector>

namespace pywatt {

enum class Kind {
  power,    ///< a reading is watts
  counter,  ///< a reading is joules since some beginning, and only grows
};

/// One value of a sensor's reading: what it means and what it covers.
struct Channel {
  std::string name;  ///< unique: "nvml:0", "nvml:0/energy", "rapl:package-0/dram", "cpu:estimated"
  Kind kind = Kind::power;
  std::string domain;        ///< gpu, memory, module, package, core, uncore, dram, psys
  bool estimated = false;    ///< computed from a model of the machine, not read from a meter
  double resolution = 0.0;   ///< smallest step of a reading, W or J; 0 where it is not known
  std::string contained_in;  ///< name of the channel whose energy includes this one's; else empty
  std::string note;          ///< a caveat the user must see ("power of the whole card, not of the MIG slice")
  /// Time between fresh values; 0: fresh at every read; NaN: not known.
  double update_period_s = std::numeric_limits<double>::quiet_NaN();
  /// Relative standard deviation of the scale of its readings; NaN: not known.
  double scale_std = std::numeric_limits<double>::quiet_NaN();
  /// Most power that the device keeps itself to, in W; NaN: not known.
  double power_limit_w = std::numeric_limits<double>::quiet_NaN();
};

/// Something that can be read: a device with one or more channels, read together in one call.
class Sensor {
 public:
  virtual ~Sensor() = default;

  /// "nvml:0", "rapl:package-0", "cpu:estimated"; the name under which a user asks for it.
  virtual const std::string& name() const noexcept = 0;

  /// Fixed for the life of the sensor.
  virtual const std::vector<Channel>& channels() const noexcept = 0;

  /// Writes one value per channel, in W or J; NaN for a channel that failed this time while others
  /// did not. Counters are already unwrapped: they only grow.
  /// Several samplers may share a sensor: a thread waits while another one is reading.
  /// REQUIRES: `values` has room for channels().size() doubles.
  /// Throws PassingSensorError (try again), LostSensorError (never again), both SensorErrors.
  /// Never takes Python's GIL.
  void read(double* values);

 private:
  /// What `read` promises, called by one thread at a time.
  virtual void read_alone(double* values) = 0;

  /// The process in which a thread is reading; 0: none. Not a mutex, because a child that is forked
  /// amid a read has nobody to unlock it: there, the parent's number is as good as none.
  std::atomic<pid_t> reader_{0};
};

}  // namespace pywatt
