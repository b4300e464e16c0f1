#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <limits>
#include <new>
#include <vector>

#include "check.hpp"
#include "pywatt/errors.hpp"
#include "pywatt/integrate.hpp"
#include "pywatt/trace.hpp"

using namespace pywatt;

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif

namespace {

std::atomic<std::size_t> allocated{0}, peak{0};
constexpr std::size_t header = alignof(std::max_align_t);

}  // namespace

// Count what is allocated, so that the bound on memory is checked to the byte.
void* operator new(std::size_t size) {
  auto* start = static_cast<char*>(std::malloc(size + header));
  if (start == nullptr) throw std::bad_alloc();
  *reinterpret_cast<std::size_t*>(start) = size;
  const std::size_t now = allocated += size;
  if (now > peak) peak = now;
  return start + header;
}

void operator delete(void* memory) noexcept {
  if (memory == nullptr) return;
  char* start = static_cast<char*>(memory) - header;
  allocated -= *reinterpret_cast<std::size_t*>(start);
  std::free(start);
}

void operator delete(void* memory, std::size_t) noexcept { operator delete(memory); }

namespace {

constexpr double no_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

bool same(const Run& run, const Run& other) {
  return run.first_s == other.first_s && run.last_s == other.last_s && run.value == other.value &&
         run.energy_j == other.energy_j;
}

bool same(const std::vector<Run>& runs, const std::vector<Run>& others) {
  if (runs.size() != others.size()) return false;
  for (std::size_t i = 0; i < runs.size(); ++i)
    if (!same(runs[i], others[i])) return false;
  return true;
}

double window_j(const Knots& knots, double start_s, double end_s) {
  const Curve curve{knots.time_s.data(), knots.power_w.empty() ? nullptr : knots.power_w.data(),
                    knots.energy_j.data(), knots.time_s.size()};
  double energy = no_number;
  integrate(curve, &start_s, &end_s, 1, &energy);
  return energy;
}

/// Power that changes at every reading, 1 kHz on binary fractions: exact in doubles, so the energy of
/// any kept knot has one right answer.
double ramp_w(std::size_t i) { return static_cast<double>(i % 1000); }
constexpr double ramp_period_s = 1.0 / 1024;

TraceWriter ramp(std::size_t readings, std::size_t capacity) {
  TraceWriter writer(Kind::power, capacity);
  for (std::size_t i = 0; i < readings; ++i) writer.append(static_cast<double>(i) * ramp_period_s, ramp_w(i));
  return writer;
}

}  // namespace

TEST(empty) {
  for (const Kind kind : {Kind::power, Kind::counter}) {
    const TraceWriter writer(kind);
    CHECK(writer.kind() == kind);
    CHECK(writer.readings() == 0 && writer.thinned() == 0 && writer.energy_j() == 0.0);
    const auto snapshot = writer.snapshot();
    CHECK(snapshot.size() == 0 && snapshot.runs().empty());
    CHECK(snapshot.knots().time_s.empty() && snapshot.knots().energy_j.empty());
  }
}

TEST(one_reading) {
  TraceWriter writer(Kind::power);
  writer.append(5, 100);
  CHECK(writer.readings() == 1 && writer.energy_j() == 0.0);
  CHECK(same(writer.snapshot().runs(), {{5, 5, 100, 0}}));
  CHECK(writer.snapshot().knots().time_s == std::vector<double>{5});
}

TEST(constant_power_is_one_run) {
  TraceWriter writer(Kind::power);
  for (int i = 0; i <= 2000; ++i) writer.append(7 + i / 1000.0, 100);
  CHECK(writer.readings() == 2001);
  CHECK(writer.energy_j() == 200.0);  // 100 W for 2 s is 200 J
  CHECK(same(writer.snapshot().runs(), {{7, 9, 100, 0}}));
  const Knots knots = writer.snapshot().knots();
  CHECK(knots.time_s == std::vector<double>({7, 9}));
  CHECK(knots.power_w == std::vector<double>({100, 100}));
  CHECK(knots.energy_j == std::vector<double>({0, 200}));
}

TEST(trapezoids_between_readings) {
  TraceWriter writer(Kind::power);
  writer.append(0, 0);
  writer.append(2, 100);
  writer.append(4, 0);
  CHECK(writer.energy_j() == 200.0);
  const Knots knots = writer.snapshot().knots();
  CHECK(knots.energy_j == std::vector<double>({0, 100, 200}));
  CHECK(window_j(knots, 1, 3) == 150.0);
}

TEST(a_step_is_a_trapezoid_from_the_last_reading_before_it) {
  TraceWriter writer(Kind::power);
  for (const double t : {0.0, 0.5, 1.0}) writer.append(t, 50);
  for (const double t : {1.5, 1.75, 2.0}) writer.append(t, 250);
  CHECK(same(writer.snapshot().runs(), {{0, 1, 50, 0}, {1.5, 2, 250, 125}}));
  const Knots knots = writer.snapshot().knots();
  CHECK(knots.time_s == std::vector<double>({0, 1, 1.5, 2}));
  CHECK(knots.power_w == std::vector<double>({50, 50, 250, 250}));
  CHECK(knots.energy_j == std::vector<double>({0, 50, 125, 250}));
  CHECK(writer.energy_j() == 250.0);
}

TEST(ten_changes_a_second_cost_ten_runs_a_second) {
  TraceWriter writer(Kind::power);
  for (int i = 0; i < 60'000; ++i) writer.append(i / 1000.0, 100 + i / 100 % 7);
  CHECK(writer.readings() == 60'000);
  const auto runs = writer.snapshot().runs();
  CHECK(runs.size() == 600);
  for (std::size_t i = 0; i < runs.size(); ++i) {  // when each value changed
    CHECK(runs[i].first_s == static_cast<double>(i * 100) / 1000.0);
    CHECK(runs[i].last_s == static_cast<double>(i * 100 + 99) / 1000.0);
    CHECK(runs[i].value == static_cast<double>(100 + i % 7));
  }
}

TEST(counters_start_at_zero_and_stand_between_changes) {
  TraceWriter writer(Kind::counter);
  writer.append(1, 1000);
  writer.append(2, 1000);
  writer.append(3, 1050);
  writer.append(4, 1050);
  writer.append(5, 1090);
  writer.append(6, 1090);
  CHECK(writer.energy_j() == 90.0);
  CHECK(same(writer.snapshot().runs(), {{1, 2, 1000, 0}, {3, 4, 1050, 50}, {5, 6, 1090, 90}}));
  const Knots knots = writer.snapshot().knots();
  CHECK(knots.time_s == std::vector<double>({1, 3, 5, 6}));
  CHECK(knots.energy_j == std::vector<double>({0, 50, 90, 90}));
  CHECK(knots.power_w.empty());
  CHECK(window_j(knots, 2, 4) == 45.0);
}

TEST(refuses_bad_readings_and_stays_as_it_was) {
  CHECK_THROWS(TraceWriter(Kind::power, 1), ArgumentError);
  for (const Kind kind : {Kind::power, Kind::counter}) {
    TraceWriter writer(kind);
    CHECK_THROWS(writer.append(no_number, 1), ArgumentError);
    CHECK_THROWS(writer.append(infinity, 1), ArgumentError);
    CHECK_THROWS(writer.append(0, no_number), ArgumentError);
    CHECK(writer.readings() == 0);
    writer.append(1, 10);
    CHECK_THROWS(writer.append(1, 11), ArgumentError);
    CHECK_THROWS(writer.append(1, 10), ArgumentError);
    CHECK_THROWS(writer.append(0.5, 11), ArgumentError);
    CHECK_THROWS(writer.append(2, no_number), ArgumentError);
    CHECK_THROWS(writer.append(2, infinity), ArgumentError);
    CHECK_THROWS(writer.append(no_number, 10), ArgumentError);
    CHECK(writer.readings() == 1);
    CHECK(same(writer.snapshot().runs(), {{1, 1, 10, 0}}));
  }
  TraceWriter counter(Kind::counter), power(Kind::power);
  counter.append(1, 10);
  power.append(1, 10);
  CHECK_THROWS(counter.append(2, 9), ArgumentError);
  power.append(2, 9);
  CHECK(power.energy_j() == 9.5);
}

TEST(thinning_keeps_the_first_the_newest_and_the_energy_of_all_kept) {
  for (const std::size_t capacity : {2u, 3u, 8u, 9u, 5000u})
    for (const std::size_t readings : {2u, 9u, 10u, 17u, 1000u, 30'011u}) {
      const TraceWriter all = ramp(readings, readings + 2);
      const TraceWriter writer = ramp(readings, capacity);
      CHECK(writer.readings() == readings);
      CHECK(writer.energy_j() == all.energy_j());
      const auto kept = writer.snapshot().runs();
      const auto full = all.snapshot().runs();
      CHECK(full.size() == readings && all.thinned() == 0);
      CHECK(kept.size() <= capacity);
      CHECK(writer.thinned() > 0 || kept.size() == readings);
      CHECK(same(kept.front(), full.front()) && same(kept.back(), full.back()));

      // One in every 2^thinned, old and new alike.
      const std::size_t stride = std::size_t{1} << writer.thinned();
      for (std::size_t i = 0; i + 1 < kept.size(); ++i) CHECK(same(kept[i], full[i * stride]));
      CHECK(kept.size() == (readings - 2) / stride + 2);
    }
}

TEST(windows_between_kept_knots_are_exact_after_thinning) {
  const std::size_t readings = 10'000;
  const Knots all = ramp(readings, readings).snapshot().knots();
  const TraceWriter writer = ramp(readings, 64);
  CHECK(writer.thinned() == 8);
  const Knots thinned = writer.snapshot().knots();
  for (std::size_t i = 0; i < thinned.time_s.size(); ++i)
    for (std::size_t j = i; j < thinned.time_s.size(); ++j)
      CHECK(window_j(thinned, thinned.time_s[i], thinned.time_s[j]) ==
            window_j(all, thinned.time_s[i], thinned.time_s[j]));
}

TEST(thinned_runs_of_repeated_readings_keep_the_energy) {
  for (const Kind kind : {Kind::power, Kind::counter}) {
    TraceWriter all(kind), writer(kind, 16);
    for (int i = 0; i < 10'000; ++i) {
      const int change = i / 4;
      all.append(i / 1024.0, kind == Kind::power ? change % 300 : change);
      writer.append(i / 1024.0, kind == Kind::power ? change % 300 : change);
    }
    CHECK(writer.thinned() > 0);
    CHECK(writer.energy_j() == all.energy_j());
    const Knots kept = writer.snapshot().knots(), full = all.snapshot().knots();
    CHECK(kept.time_s.back() == full.time_s.back() && kept.energy_j.back() == full.energy_j.back());
    for (const double t : kept.time_s) CHECK(window_j(kept, 0.0, t) == window_j(full, 0.0, t));
  }
}

TEST(a_snapshot_stays_as_it_was_taken) {
  TraceWriter writer(Kind::power, 10'000);
  const auto append = [&](std::size_t from, std::size_t to) {
    for (std::size_t i = from; i < to; ++i) writer.append(static_cast<double>(i) * ramp_period_s, ramp_w(i));
  };
  append(0, 9'000);
  const auto snapshot = writer.snapshot();
  const auto runs = snapshot.runs();
  const auto knots = snapshot.knots();
  CHECK(snapshot.size() == 9'000 && knots.time_s.size() == 9'000);

  writer.append(9000 * ramp_period_s, ramp_w(8999));  // the newest run grows
  CHECK(same(snapshot.runs(), runs));
  append(9'001, 9'900);
  CHECK(same(snapshot.runs(), runs));
  append(9'900, 100'000);
  CHECK(writer.thinned() == 4);
  CHECK(same(snapshot.runs(), runs));
  CHECK(snapshot.knots().energy_j == knots.energy_j);
  CHECK(same(runs, ramp(9'000, 10'000).snapshot().runs()));
}

TEST(a_snapshot_copies_one_block_at_most) {
  const TraceWriter writer = ramp(200'000, 200'000);
  const std::size_t before = allocated;
  const auto snapshot = writer.snapshot();
  CHECK(allocated - before < 80'000);  // a block of 64 KiB and a pointer for each of 98 blocks
  CHECK(snapshot.size() == 200'000);
}

TEST(a_day_at_1_khz_stays_within_64_mb_and_exact) {
  constexpr std::size_t capacity = TraceWriter::default_capacity;
  constexpr std::size_t stride = sanitized ? 4 : 128;  // before the last thinning
  constexpr std::size_t readings = sanitized ? 3'000'000 : 86'400'000;
  constexpr std::size_t full = (capacity - 1) * stride;  // the reading after this one thins for the last time
  // Power: a triangle wave of 600 readings between 100 W and 400 W. Counter: 0.25 J at each reading.
  const auto wave_w = [](std::size_t i) {
    return 100.0 + static_cast<double>(i % 600 < 300 ? i % 600 : 600 - i % 600);
  };
  for (const Kind kind : {Kind::power, Kind::counter}) {
    const std::size_t before = allocated;
    peak = before;
    TraceWriter writer(kind);
    const auto append = [&](std::size_t from, std::size_t to) {
      for (std::size_t i = from; i < to; ++i)
        writer.append(12345.0 + static_cast<double>(i) / 1000.0,
                      kind == Kind::power ? wave_w(i) : 1e6 + 0.25 * static_cast<double>(i));
    };
    append(0, full + 1);
    {
      // The worst moment: a reader holds all there is in every form while the writer thins.
      const auto snapshot = writer.snapshot();
      CHECK(snapshot.size() == capacity);
      const auto thinned = writer.thinned();
      const Knots knots = snapshot.knots();
      const auto runs = snapshot.runs();
      append(full + 1, full + 2);
      CHECK(writer.thinned() == thinned + 1 && writer.snapshot().size() == capacity / 2 + 1);
    }
    CHECK(peak - before <= 64'000'000);
    append(full + 2, readings);

    double expected_j = 0.25 * static_cast<double>(readings - 1);
    if (kind == Kind::power) {  // whole waves of 250 W for 0.6 s, and the begun one
      expected_j = 150.0 * static_cast<double>((readings - 1) / 600);
      for (std::size_t i = 0; i < (readings - 1) % 600; ++i) expected_j += (wave_w(i) + wave_w(i + 1)) / 2000;
    }
    const Knots knots = writer.snapshot().knots();
    CHECK_NEAR(writer.energy_j() / expected_j, 1.0, 1e-9);
    CHECK_NEAR(window_j(knots, knots.time_s.front(), knots.time_s.back()) / expected_j, 1.0, 1e-9);
    CHECK(knots.time_s.front() == 12345.0);
    CHECK(knots.time_s.back() == 12345.0 + static_cast<double>(readings - 1) / 1000.0);
    std::printf(" [%.1f MB]", static_cast<double>(peak - before) / 1e6);
  }
}

CHECK_MAIN
