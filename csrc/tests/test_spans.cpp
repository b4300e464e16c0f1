#include <thread>

#include "check.hpp"
#include "pywatt/spans.hpp"

using namespace pywatt;

namespace {
struct Fixture {
  std::shared_ptr<ScriptedClock> clock = std::make_shared<ScriptedClock>(100.0);
  SpanRecorder recorder{clock};
};
}  // namespace

TEST(nested_calls_become_paths_and_rows) {
  Fixture f;
  f.recorder.enter(7);
  f.clock->advance(0.25);
  f.recorder.enter(8);
  f.clock->advance(0.5);
  CHECK(f.recorder.exit(8) == 0);
  f.recorder.enter(8);
  f.clock->advance(1.0);
  CHECK(f.recorder.exit(8) == 1);
  CHECK(f.recorder.exit(7) == 2);
  const auto& paths = f.recorder.paths();
  CHECK(paths.size() == 2);
  CHECK(paths[0].name == 7 && paths[0].parent == -1);
  CHECK(paths[1].name == 8 && paths[1].parent == 0);
  const SpanColumns rows = f.recorder.rows(0, 10);
  CHECK((rows.path == std::vector<std::int32_t>{1, 1, 0}));
  CHECK((rows.start_s == std::vector<double>{100.25, 100.75, 100.0}));
  CHECK((rows.end_s == std::vector<double>{100.75, 101.75, 101.75}));
}

TEST(is_idle_where_no_thread_has_a_span_open) {
  Fixture f;
  CHECK(f.recorder.is_idle());
  f.recorder.enter(1);
  CHECK(!f.recorder.is_idle());
  std::thread([&f] { CHECK(!f.recorder.is_idle()); }).join();
  f.recorder.exit(1);
  CHECK(f.recorder.is_idle());
}

TEST(an_exit_closes_what_an_exception_left_open) {
  Fixture f;
  f.recorder.enter(1);
  f.recorder.enter(2);
  f.recorder.enter(3);
  f.clock->advance(2.0);
  CHECK(f.recorder.exit(1) == 2);
  const SpanColumns rows = f.recorder.rows(0, 10);
  CHECK((rows.end_s == std::vector<double>{102.0, 102.0, 102.0}));
  CHECK(f.recorder.exit(1) == SpanRecorder::none);
  CHECK(f.recorder.size() == 3);
}

TEST(a_call_that_is_left_is_kept_when_its_times_are_added) {
  Fixture f;
  f.recorder.enter(1);
  f.recorder.enter(2);
  f.recorder.enter(3);
  f.clock->advance(2.0);
  CHECK(f.recorder.leave(2) == 1);
  CHECK(f.recorder.leave(2) == SpanRecorder::no_path);
  CHECK(f.recorder.leave(1) == 0);
  f.recorder.add(1, 10.0, 10.5, 4);
  f.recorder.add(0, 9.0, 8.0, 1000);
  const SpanColumns rows = f.recorder.rows(0, 10);
  CHECK((rows.path == std::vector<std::int32_t>{2, 1, 0}));
  CHECK((rows.start_s == std::vector<double>{100.0, 10.0, 9.0}));
  CHECK((rows.end_s == std::vector<double>{102.0, 10.5, 9.0}));
  CHECK((rows.thread == std::vector<std::uint32_t>{0, 4, 255}));
}

TEST(recursion_closes_the_innermost) {
  Fixture f;
  f.recorder.enter(1);
  f.recorder.enter(1);
  f.clock->advance(1.0);
  f.recorder.exit(1);
  f.clock->advance(1.0);
  f.recorder.exit(1);
  const SpanColumns rows = f.recorder.rows(0, 10);
  CHECK((rows.end_s == std::vector<double>{101.0, 102.0}));
  CHECK(f.recorder.paths().size() == 2);
}

TEST(a_call_longer_than_four_seconds_keeps_its_length) {
  Fixture f;
  f.recorder.enter(1);
  f.clock->advance(86400.0);
  f.recorder.exit(1);
  CHECK(f.recorder.rows(0, 1).end_s[0] == 86500.0);
}

TEST(threads_have_stacks_of_their_own) {
  Fixture f;
  f.recorder.enter(1);
  std::thread([&f] {
    f.recorder.enter(2);
    f.recorder.exit(2);
  }).join();
  f.recorder.exit(1);
  const SpanColumns rows = f.recorder.rows(0, 10);
  CHECK((rows.thread == std::vector<std::uint32_t>{1, 0}));
  CHECK(f.recorder.paths()[1].parent == -1);
}

TEST(close_all_ends_open_spans_now) {
  Fixture f;
  f.recorder.enter(1);
  f.recorder.enter(2);
  f.clock->advance(0.5);
  f.recorder.close_all();
  CHECK(f.recorder.size() == 2);
  CHECK(f.recorder.rows(0, 2).end_s[1] == 100.5);
}

TEST(ten_million_calls_fit_in_200_megabytes) {
  SpanRecorder recorder(std::make_shared<ScriptedClock>(0.0));
  constexpr std::size_t calls = 10'000'000;
  recorder.enter(0);
  for (std::size_t i = 1; i < calls; ++i) {
    const auto name = static_cast<std::uint32_t>(1 + i % 300);
    recorder.enter(name);
    recorder.exit(name);
  }
  recorder.exit(0);
  CHECK(recorder.size() == calls);
  CHECK(recorder.memory_bytes() < 200'000'000);
  CHECK(recorder.rows(calls - 1, 1).path[0] == 0);
}

CHECK_MAIN
