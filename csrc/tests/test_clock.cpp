#include <atomic>
#include <limits>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "pywatt/clock.hpp"
#include "pywatt/errors.hpp"

using namespace pywatt;

namespace {

constexpr double never = std::numeric_limits<double>::infinity();

/// A thread that sleeps on a clock every `period_s` from the clock's present on, and says when.
class Ticker {
 public:
  Ticker(Clock& clock, double period_s, std::string name, std::string& order)
      : waiter_(clock.make_waiter()),
        thread_([this, &clock, period_s, name = std::move(name), &order, start_s = clock.now_s()] {
          for (int k = 1; waiter_->wait_until(start_s + k * period_s); ++k) {
            order += name + std::to_string(static_cast<int>(clock.now_s())) + " ";
          }
        }) {}
  ~Ticker() {
    waiter_->wake();
    thread_.join();
  }

 private:
  std::unique_ptr<Waiter> waiter_;
  std::thread thread_;
};

}  // namespace

TEST(steady_clock_goes_forward_and_is_one) {
  const double before_s = steady_clock()->now_s();
  CHECK(before_s > 0.0);
  CHECK(steady_clock()->now_s() >= before_s);
  CHECK(steady_clock() == steady_clock());
}

TEST(steady_waiter_reaches_its_deadline_and_not_before) {
  const auto waiter = steady_clock()->make_waiter();
  const double deadline_s = steady_clock()->now_s() + 0.02;
  CHECK(waiter->wait_until(deadline_s));
  CHECK(steady_clock()->now_s() >= deadline_s);
  CHECK(waiter->wait_until(deadline_s));
  CHECK(waiter->wait_until(-1.0));
}

TEST(steady_waiter_wakes_at_once_and_stays_woken) {
  const auto waiter = steady_clock()->make_waiter();
  const double start_s = steady_clock()->now_s();
  std::thread waker([&] { waiter->wake(); });
  CHECK(!waiter->wait_until(never));
  waker.join();
  CHECK(!waiter->wait_until(steady_clock()->now_s() + 3600.0));
  CHECK(!waiter->wait_until(0.0));
  waiter->wake();
  CHECK(steady_clock()->now_s() - start_s < 5.0);
}

TEST(scripted_clock_stands_still_until_it_advances) {
  ScriptedClock clock(10.0);
  CHECK(clock.now_s() == 10.0);
  clock.advance(2.5);
  CHECK(clock.now_s() == 12.5);
  clock.advance(0.0);
  CHECK(clock.now_s() == 12.5);
  CHECK_THROWS(clock.advance(-1.0), ArgumentError);
  CHECK_THROWS(clock.advance(std::nan("")), ArgumentError);
  CHECK_THROWS(clock.advance(never), ArgumentError);
  CHECK_THROWS(ScriptedClock(never), ArgumentError);
  CHECK(clock.now_s() == 12.5);
}

TEST(scripted_sleepers_run_in_the_order_of_their_deadlines) {
  ScriptedClock clock;
  std::string order;  // not guarded: the clock lets one sleeper run at a time
  {
    const Ticker a(clock, 2.0, "a", order), b(clock, 3.0, "b", order);
    clock.advance(6.5);
    CHECK(order == "a2 b3 a4 a6 b6 ");
    clock.advance(1.5);
    CHECK(order == "a2 b3 a4 a6 b6 a8 ");
    CHECK(clock.now_s() == 8.0);
  }
  clock.advance(100.0);  // nobody is left
  CHECK(clock.now_s() == 108.0);
}

TEST(scripted_advance_waits_for_a_waiter_that_has_not_slept_yet) {
  ScriptedClock clock;
  auto waiter = clock.make_waiter();
  std::atomic<bool> arrived{false};
  std::thread advancer([&] {
    clock.advance(1.0);
    arrived = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(!arrived);
  CHECK(clock.now_s() == 0.0);
  CHECK(waiter->wait_until(0.5));
  CHECK(clock.now_s() == 0.5);
  CHECK(!arrived);
  waiter.reset();
  advancer.join();
  CHECK(clock.now_s() == 1.0);
}

TEST(scripted_advance_does_not_wait_for_a_woken_waiter) {
  ScriptedClock clock;
  const auto waiter = clock.make_waiter();
  waiter->wake();
  clock.advance(1.0);
  CHECK(clock.now_s() == 1.0);
  CHECK(!waiter->wait_until(0.0));
  CHECK(!waiter->wait_until(never));
}

TEST(scripted_waiters_may_be_woken_during_an_advance) {
  for (int round = 0; round < 200; ++round) {
    ScriptedClock clock;
    std::string order;
    auto ticker = std::make_unique<Ticker>(clock, 1.0, "a", order);
    std::thread advancer([&] { clock.advance(1000.0); });
    ticker.reset();
    advancer.join();
    CHECK(clock.now_s() == 1000.0);
  }
}

TEST(scripted_waiter_outlives_its_clock) {
  auto clock = std::make_unique<ScriptedClock>();
  const auto waiter = clock->make_waiter();
  clock.reset();
  CHECK(waiter->wait_until(0.0));
  waiter->wake();
  CHECK(!waiter->wait_until(0.0));
}

TEST(scripted_advances_of_two_threads_add_up) {
  ScriptedClock clock;
  std::string order;
  const Ticker ticker(clock, 1.0, "a", order);
  std::thread other([&] { clock.advance(2.0); });
  clock.advance(1.0);
  other.join();
  CHECK(clock.now_s() == 3.0);
  CHECK(order == "a1 a2 a3 ");
}

CHECK_MAIN
