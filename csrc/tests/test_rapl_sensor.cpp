#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "check.hpp"
#include "pywatt/errors.hpp"
#include "pywatt/rapl_sensor.hpp"

using namespace pywatt;
namespace fs = std::filesystem;

namespace {

/// A sysfs of its own in a temporary folder.
class Sysfs {
 public:
  Sysfs() {
    char name[] = "/tmp/pywatt-sysfs-XXXXXX";
    if (!::mkdtemp(name)) check::fail(__FILE__, __LINE__, "mkdtemp failed");
    root_ = name;
  }
  ~Sysfs() { fs::remove_all(root_); }

  std::string root() const { return root_.string(); }
  fs::path zone(const std::string& id) const { return root_ / "class/powercap" / id; }

  void write(const std::string& id, const std::string& file, const std::string& text) const {
    fs::create_directories(zone(id));
    std::ofstream(zone(id) / file) << text << "\n";
  }

  void add(const std::string& id, const std::string& name, const std::string& energy_uj,
           const std::string& range_uj = "262143328850") const {
    write(id, "name", name);
    write(id, "energy_uj", energy_uj);
    if (!range_uj.empty()) write(id, "max_energy_range_uj", range_uj);
  }

  RaplSensor sensor(const std::string& name = "rapl:package-0") const {
    for (const RaplZone& zone : find_rapl_zones(root()))
      if (zone.name == name) return RaplSensor(zone);
    check::fail(__FILE__, __LINE__, "no zone " + name);
  }

 private:
  fs::path root_;
};

double read(RaplSensor& sensor) {
  double energy_j = -1.0;
  sensor.read(&energy_j);
  return energy_j;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

template <class Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

void check_zone(const RaplZone& zone, const std::string& name, const std::string& domain,
                const std::string& contained_in) {
  CHECK(zone.name == name);
  CHECK(zone.domain == domain);
  CHECK(zone.contained_in == contained_in);
  CHECK(zone.problem.empty());
}

}  // namespace

TEST(there_is_no_powercap) {
  const Sysfs sysfs;
  CHECK(find_rapl_zones(sysfs.root()).empty());
  CHECK(find_rapl_zones(sysfs.root() + "/nowhere").empty());
}

TEST(two_sockets) {
  const Sysfs sysfs;
  fs::create_directories(sysfs.zone("intel-rapl"));  // the control type, not a zone
  sysfs.add("intel-rapl:10", "psys", "1");           // in the order of numbers, not of letters
  sysfs.add("intel-rapl:1", "package-1", "1");
  sysfs.add("intel-rapl:1:0", "dram", "1");
  sysfs.add("intel-rapl:0", "package-0", "1");
  sysfs.add("intel-rapl:0:2", "dram", "1");
  sysfs.add("intel-rapl:0:0", "core", "1");
  sysfs.add("intel-rapl:0:1", "uncore", "1");
  sysfs.add("intel-rapl-mmio:0", "package-0", "1");  // the same counter once more
  sysfs.add("dtpm", "package-0", "1");               // another control type

  const auto zones = find_rapl_zones(sysfs.root());
  CHECK(zones.size() == 7);
  check_zone(zones[0], "rapl:package-0", "package", "");
  check_zone(zones[1], "rapl:package-0/core", "core", "rapl:package-0");
  check_zone(zones[2], "rapl:package-0/uncore", "uncore", "rapl:package-0");
  check_zone(zones[3], "rapl:package-0/dram", "dram", "");
  check_zone(zones[4], "rapl:package-1", "package", "");
  check_zone(zones[5], "rapl:package-1/dram", "dram", "");
  check_zone(zones[6], "rapl:psys", "psys", "");
  CHECK(zones[3].path == sysfs.zone("intel-rapl:0:2").string());
}

TEST(names_are_unique) {
  const Sysfs sysfs;
  sysfs.add("intel-rapl:0", "package-0", "1");
  sysfs.add("intel-rapl:0:0", "dram", "1");
  sysfs.add("intel-rapl:0:1", "dram", "1");
  sysfs.add("intel-rapl:1", "package-0", "1");
  sysfs.add("intel-rapl:1:0", "core", "1");
  sysfs.add("intel-rapl:2", "package-0-die-1", "1");
  sysfs.add("intel-rapl:5:0", "core", "1");  // its package is hidden

  const auto zones = find_rapl_zones(sysfs.root());
  CHECK(zones.size() == 7);
  check_zone(zones[1], "rapl:package-0/dram", "dram", "");
  check_zone(zones[2], "rapl:package-0/dram:0:1", "dram", "");
  check_zone(zones[3], "rapl:package-0:1", "package", "");
  check_zone(zones[4], "rapl:package-0:1/core", "core", "rapl:package-0:1");
  check_zone(zones[5], "rapl:package-0-die-1", "package", "");
  check_zone(zones[6], "rapl:zone-5/core", "core", "");
}

TEST(a_channel_says_what_it_is) {
  const Sysfs sysfs;
  sysfs.add("intel-rapl:0", "package-0", "1");
  sysfs.add("intel-rapl:0:0", "core", "1");
  sysfs.add("intel-rapl:1", "psys", "1");

  const RaplSensor core = sysfs.sensor("rapl:package-0/core");
  CHECK(core.name() == "rapl:package-0/core");
  CHECK(core.channels().size() == 1);
  const Channel& channel = core.channels()[0];
  CHECK(channel.name == "rapl:package-0/core");
  CHECK(channel.kind == Kind::counter);
  CHECK(channel.domain == "core");
  CHECK(!channel.estimated);
  CHECK(channel.resolution == 1e-6);
  CHECK(channel.contained_in == "rapl:package-0");
  CHECK(channel.note.empty());
  CHECK(contains(sysfs.sensor("rapl:psys").channels()[0].note, "not added"));
}

TEST(microjoules_become_joules_from_the_first_reading) {
  const Sysfs sysfs;
  sysfs.add("intel-rapl:0", "package-0", "5000000");
  RaplSensor sensor = sysfs.sensor();
  sysfs.write("intel-rapl:0", "energy_uj", "7000000");
  CHECK(read(sensor) == 0.0);
  sysfs.write("intel-rapl:0", "energy_uj", "9500000");
  CHECK(read(sensor) == 2.5);
  CHECK(read(sensor) == 2.5);
}

TEST(wrap_around_is_removed_exactly) {
  const Sysfs sysfs;
  sysfs.add("intel-rapl:0", "package-0", "900", "1000");
  RaplSensor sensor = sysfs.sensor();
  CHECK(read(sensor) == 0.0);
  std::uint64_t expected_uj = 0;
  for (int i = 0; i < 3; ++i) {
    sysfs.write("intel-rapl:0", "energy_uj", "100");  // 900 -> 1000 = 0 -> 100
    expected_uj += 200;
    CHECK(read(sensor) == static_cast<double>(expected_uj) * 1e-6);
    sysfs.write("intel-rapl:0", "energy_uj", "900");
    expected_uj += 800;
    CHECK(read(sensor) == static_cast<double>(expected_uj) * 1e-6);
  }
  CHECK(expected_uj == 3000);
}

TEST(a_fall_that_cannot_be_a_wrap_ends_the_sensor) {
  for (const char* const range_uj : {"", "garbage", "800"}) {
    const Sysfs sysfs;
    sysfs.add("intel-rapl:0", "package-0", "900", range_uj);
    RaplSensor sensor = sysfs.sensor();
    read(sensor);
    sysfs.write("intel-rapl:0", "energy_uj", "950");
    CHECK_NEAR(read(sensor), 50e-6, 1e-18);
    sysfs.write("intel-rapl:0", "energy_uj", "100");
    CHECK_THROWS(read(sensor), LostSensorError);
  }
}

TEST(garbage_is_passing) {
  const Sysfs sysfs;
  sysfs.add("intel-rapl:0", "package-0", "1000000");
  RaplSensor sensor = sysfs.sensor();
  CHECK(read(sensor) == 0.0);
  for (const char* const text : {"", "abc", "12abc", "-5", "1.5", "99999999999999999999999"}) {
    sysfs.write("intel-rapl:0", "energy_uj", text);
    CHECK_THROWS(read(sensor), PassingSensorError);
  }
  sysfs.write("intel-rapl:0", "energy_uj", "3000000");
  CHECK(read(sensor) == 2.0);
}

TEST(an_unreadable_zone_is_named) {
  const Sysfs sysfs;
  sysfs.add("intel-rapl:0", "package-0", "1");
  sysfs.add("intel-rapl:1", "package-1", "1");
  sysfs.add("intel-rapl:2", "package-2", "1");
  fs::remove(sysfs.zone("intel-rapl:1") / "energy_uj");
  fs::remove(sysfs.zone("intel-rapl:2") / "energy_uj");
  fs::create_directory(sysfs.zone("intel-rapl:2") / "energy_uj");
  // What a container runtime leaves of a masked powercap.
  fs::create_symlink(sysfs.root() + "/hidden", sysfs.zone("intel-rapl:3"));

  const auto zones = find_rapl_zones(sysfs.root());
  CHECK(zones.size() == 4);
  CHECK(zones[0].problem.empty());
  CHECK(contains(zones[1].problem, sysfs.zone("intel-rapl:1").string() + "/energy_uj: No such file"));
  CHECK(contains(zones[2].problem, "Is a directory"));
  CHECK(zones[3].name == "rapl:zone-3");
  CHECK(zones[3].domain.empty());
  CHECK(contains(zones[3].problem, "container"));

  const std::string said = message_of([&] { RaplSensor sensor(zones[1]); });
  CHECK(said == "rapl:package-1: " + zones[1].problem);
}

TEST(a_zone_that_holds_no_number_cannot_be_read) {
  for (const std::string text : {"", "12abc", "-5", "99999999999999999999999"}) {
    Sysfs sysfs;
    sysfs.add("intel-rapl:0", "package-0", text);
    const auto zones = find_rapl_zones(sysfs.root());
    CHECK(zones.size() == 1);
    CHECK(contains(zones[0].problem, "energy_uj holds '" + text + "', not a number"));
    CHECK_THROWS(RaplSensor(zones[0]), SensorError);
  }
}

TEST(a_zone_that_vanished_before_opening) {
  const Sysfs sysfs;
  sysfs.add("intel-rapl:0", "package-0", "1");
  const auto zones = find_rapl_zones(sysfs.root());
  fs::remove_all(sysfs.zone("intel-rapl:0"));
  CHECK_THROWS(RaplSensor(zones[0]), SensorError);
}

// A kernel file that holds a number, and whose open descriptor fails once what it shows is gone, as
// sysfs files do: the oom_score_adj of a child process.
TEST(a_zone_that_vanishes_while_open_is_lost) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  const Sysfs sysfs;
  sysfs.add("intel-rapl:0", "package-0", "0");
  const std::string number_of_child = "/proc/" + std::to_string(child) + "/oom_score_adj";
  fs::remove(sysfs.zone("intel-rapl:0") / "energy_uj");
  fs::create_symlink(number_of_child, sysfs.zone("intel-rapl:0") / "energy_uj");
  std::ofstream(number_of_child) << "100";

  RaplSensor sensor = sysfs.sensor();
  CHECK(read(sensor) == 0.0);
  std::ofstream(number_of_child) << "350";
  CHECK_NEAR(read(sensor), 250e-6, 1e-18);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  CHECK_THROWS(read(sensor), LostSensorError);
}

TEST(the_command_that_would_allow_it) {
  const std::string file = "/sys/class/powercap/intel-rapl:0/energy_uj";
  const std::string forbidden = rapl_problem(file, EACCES);
  CHECK(contains(forbidden, "cannot read " + file + ": Permission denied"));
  CHECK(contains(forbidden, "sudo chmod a+r " + file + " "));
  CHECK(contains(forbidden, "/etc/udev/rules.d/"));
  CHECK(contains(forbidden, "CVE-2020-8694"));
  CHECK(!contains(rapl_problem(file, ENOENT), "chmod"));  // it would not help
  CHECK(!contains(rapl_problem(file, EIO), "chmod"));
}

CHECK_MAIN
