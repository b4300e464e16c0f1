#include "pywatt/rapl_sensor.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>
#include <tuple>

#include "pywatt/errors.hpp"

namespace pywatt {
namespace {

namespace fs = std::filesystem;

class File {
 public:
  explicit File(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  bool is_open() const { return fd_ >= 0; }

  /// The text without the white space at its end, valid until the next call; nullopt with errno set.
  /// sysfs computes the text anew for every read from the beginning.
  std::optional<std::string_view> text() {
    const ssize_t size = ::pread(fd_, buffer_.data(), buffer_.size(), 0);
    if (size < 0) return std::nullopt;
    std::string_view all(buffer_.data(), static_cast<std::size_t>(size));
    const std::size_t last = all.find_last_not_of(" \n\t");
    return all.substr(0, last == std::string_view::npos ? 0 : last + 1);
  }

 private:
  int fd_;
  std::array<char, 128> buffer_;
};

std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::string not_a_number(const std::string& file, std::string_view text) {
  return file + " holds '" + std::string(text) + "', not a number of microjoules";
}

std::string read_text(const std::string& path) {
  File file(path);
  const auto text = file.is_open() ? file.text() : std::nullopt;
  return std::string(text.value_or(""));
}

/// Empty where an energy file can be opened and read, and holds what it should.
std::string problem_of(const std::string& energy_file) {
  File file(energy_file);
  const auto text = file.is_open() ? file.text() : std::nullopt;
  if (!text) return rapl_problem(energy_file, errno);
  if (!parse_number(*text)) return not_a_number(energy_file, *text);
  return "";
}

/// N and M of intel-rapl:N:M; M is -1 for a zone that is no sub-zone.
struct ZoneId {
  int zone;
  int sub_zone;

  bool operator<(const ZoneId& other) const {
    return std::tie(zone, sub_zone) < std::tie(other.zone, other.sub_zone);
  }
  std::string text() const {
    return std::to_string(zone) + (sub_zone < 0 ? "" : ":" + std::to_string(sub_zone));
  }
};

std::optional<ZoneId> parse_zone_id(std::string_view file_name) {
  constexpr std::string_view prefix = "intel-rapl:";
  if (file_name.substr(0, prefix.size()) != prefix) return std::nullopt;
  ZoneId id{0, -1};
  const char* const end = file_name.data() + file_name.size();
  auto parsed = std::from_chars(file_name.data() + prefix.size(), end, id.zone);
  if (parsed.ec == std::errc() && parsed.ptr != end && *parsed.ptr == ':')
    parsed = std::from_chars(parsed.ptr + 1, end, id.sub_zone);
  if (parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
  return id;
}

std::string domain_of(const std::string& kernel_name) {
  return kernel_name.rfind("package", 0) == 0 ? "package" : kernel_name;
}

bool may_pass(int error) {
  return error == EAGAIN || error == EINTR || error == EIO || error == EBUSY || error == ETIMEDOUT ||
         error == ENOMEM;
}

}  // namespace

std::string rapl_problem(const std::string& file, int error) {
  const std::string what = "cannot read " + file + ": " + std::strerror(error) + ".";
  if (error == EACCES || error == EPERM)
    return what +
           " Since CVE-2020-8694 Linux lets only root read it, because fine power readings can give away "
           "secrets of other programs. To let every user of this machine read it until the next boot: "
           "sudo chmod a+r " +
           file +
           " (on the host, if this is a container). To keep that, put this line into "
           "/etc/udev/rules.d/70-rapl.rules: SUBSYSTEM==\"powercap\", ACTION==\"add\", "
           "KERNEL==\"intel-rapl:*\", RUN+=\"/bin/chmod a+r /sys%p/energy_uj\"";
  if (error == ENOENT)
    return what +
           " A container may hide it: try on the host, or with /sys/devices/virtual/powercap made visible.";
  return what;
}

std::vector<RaplZone> find_rapl_zones(const std::string& sys_root) {
  std::map<ZoneId, std::string> paths;
  std::error_code ignored;
  for (fs::directory_iterator entry(sys_root + "/class/powercap", ignored), end; entry != end;
       entry.increment(ignored)) {
    if (const auto id = parse_zone_id(entry->path().filename().string())) paths[*id] = entry->path().string();
  }

  std::vector<RaplZone> zones;
  std::map<int, std::string> top_names;  // of the zones that are no sub-zones
  std::set<std::string> taken;
  for (const auto& [id, path] : paths) {  // a zone comes before its sub-zones
    RaplZone zone;
    zone.path = path;
    std::string label = read_text(path + "/name");
    zone.domain = domain_of(label);
    if (label.empty()) label = "zone-" + id.text();

    std::string parent;
    if (id.sub_zone >= 0) {
      const auto found = top_names.find(id.zone);
      parent = found != top_names.end() ? found->second : "rapl:zone-" + std::to_string(id.zone);
      // Below a package in powercap's tree, but not in what its counter covers.
      if (found != top_names.end() && zone.domain != "dram") zone.contained_in = parent;
    }
    zone.name = (parent.empty() ? "rapl:" : parent + "/") + label;
    if (!taken.insert(zone.name).second) {
      zone.name += ":" + id.text();
      taken.insert(zone.name);
    }
    if (id.sub_zone < 0) top_names[id.zone] = zone.name;

    zone.problem = problem_of(path + "/energy_uj");
    zones.push_back(std::move(zone));
  }
  return zones;
}

struct RaplSensor::Impl {
  explicit Impl(const RaplZone& zone)
      : name(zone.name),
        path(zone.path + "/energy_uj"),
        file(path),
        range_uj(parse_number(read_text(zone.path + "/max_energy_range_uj"))) {
    Channel channel;
    channel.name = zone.name;
    channel.kind = Kind::counter;
    channel.domain = zone.domain;
    channel.resolution = 1e-6;
    channel.update_period_s = 0.001;  // RAPL counters move about every millisecond
    channel.contained_in = zone.contained_in;
    if (zone.domain == "psys")
      channel.note = "the whole platform, in which the packages may be included: not added to other zones";
    channels.push_back(std::move(channel));
  }

  std::uint64_t read_uj() {
    const auto text = file.text();
    if (!text) {
      const int error = errno;
      const std::string what = name + ": " + rapl_problem(path, error);
      if (may_pass(error)) throw PassingSensorError(what);
      throw LostSensorError(what);
    }
    const auto number = parse_number(*text);
    if (!number) throw PassingSensorError(name + ": " + not_a_number(path, *text));
    return *number;
  }

  std::uint64_t gained_uj(std::uint64_t now_uj) const {
    if (!last_uj || now_uj >= *last_uj) return now_uj - last_uj.value_or(now_uj);
    if (!range_uj || *range_uj < *last_uj)
      throw LostSensorError(name + ": " + path + " fell from " + std::to_string(*last_uj) + " to " +
                            std::to_string(now_uj) +
                            ", and max_energy_range_uj does not say how much it lost by that");
    return *range_uj - *last_uj + now_uj;
  }

  const std::string name;
  const std::string path;
  File file;
  const std::optional<std::uint64_t> range_uj;
  std::vector<Channel> channels;
  std::optional<std::uint64_t> last_uj;
  std::uint64_t total_uj = 0;  // since the first reading
};

RaplSensor::RaplSensor(const RaplZone& zone) {
  const std::string problem = zone.problem.empty() ? problem_of(zone.path + "/energy_uj") : zone.problem;
  if (!problem.empty()) throw SensorError(zone.name + ": " + problem);
  impl_ = std::make_unique<Impl>(zone);
}

RaplSensor::~RaplSensor() = default;

const std::string& RaplSensor::name() const noexcept { return impl_->name; }
const std::vector<Channel>& RaplSensor::channels() const noexcept { return impl_->channels; }

void RaplSensor::read_alone(double* values) {
  const std::uint64_t now_uj = impl_->read_uj();
  impl_->total_uj += impl_->gained_uj(now_uj);
  impl_->last_uj = now_uj;
  values[0] = static_cast<double>(impl_->total_uj) * 1e-6;
}

}  // namespace pywatt
