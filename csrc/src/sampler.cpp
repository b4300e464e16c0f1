#include "pywatt/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "pywatt/errors.hpp"
#include "sampler_state.hpp"

namespace pywatt {

namespace {

/// How long start and stop wait for a driver.
constexpr double patience_s = 2.0;

/// Before any time of a clock: end now.
constexpr double at_once = -std::numeric_limits<double>::infinity();

}  // namespace

Sampler::State::State(std::vector<std::shared_ptr<Sensor>> sensors, double rate_hz_,
                      std::shared_ptr<Clock> clock_, std::size_t capacity)
    : rate_hz(rate_hz_), clock(std::move(clock_)) {
  if (!(rate_hz >= min_rate_hz && rate_hz <= max_rate_hz)) {
    throw ArgumentError("a sampling rate of " + std::to_string(rate_hz) +
                        " Hz is out of range: give one from " +
                        std::to_string(static_cast<int>(min_rate_hz)) + " to " +
                        std::to_string(static_cast<int>(max_rate_hz)) + " Hz");
  }
  if (clock == nullptr) throw ArgumentError("a sampler needs a clock");
  if (sensors.empty()) throw ArgumentError("a sampler needs at least one sensor to read");
  for (auto& sensor : sensors) {
    if (sensor == nullptr) throw ArgumentError("a sampler cannot read a null sensor");
    Source source;
    for (const Channel& channel : sensor->channels()) source.channels.emplace_back(channel, capacity);
    channel_count += source.channels.size();
    values.resize(std::max(values.size(), source.channels.size()));
    source.sensor = std::move(sensor);
    sources.push_back(std::move(source));
  }
}

void Sampler::State::abandon() {
  const Source* hung = reading.load(std::memory_order_relaxed);
  const std::string why =
      hung == nullptr ? "the sampler's thread did not end within 2 s and was abandoned"
                      : "a read of " + hung->sensor->name() +
                            " did not return within 2 s of the stop and was abandoned: its driver hangs";
  for (Source& source : sources) {
    if (source.ended.empty()) source.ended = why;
  }
  cpu_s = thread_cpu_s();
  phase = Phase::ended;
  waiter.reset();
  changed.notify_all();
}

ChannelTrace Sampler::State::trace(std::size_t index) const {
  const Source* source = sources.data();
  for (; index >= source->channels.size(); ++source) index -= source->channels.size();
  const ChannelState& from = source->channels[index];

  ChannelTrace trace;
  trace.channel = from.channel;
  std::unique_lock<std::mutex> lock(mutex);
  const TraceWriter::Snapshot snapshot = from.writer.snapshot();
  const std::size_t readings = from.writer.readings();
  trace.quality.asked_rate_hz = rate_hz;
  if (readings > 1) {
    trace.quality.achieved_rate_hz = static_cast<double>(readings - 1) / (from.last_s - from.first_s);
  }
  trace.quality.missed_deadlines = source->missed_deadlines;
  trace.quality.longest_gap_s = from.longest_gap_s;
  trace.quality.failed_readings = from.failed_readings;
  trace.quality.sampler_cpu_s = thread_cpu_s();
  trace.ended = source->ended;
  if (forked && trace.ended.empty()) {
    trace.ended = "the process was forked, and this copy was not sampled after that";
  }
  lock.unlock();
  trace.knots = snapshot.knots();
  trace.runs = snapshot.runs();
  return trace;
}

Sampler::Sampler(std::vector<std::shared_ptr<Sensor>> sensors, double rate_hz, std::shared_ptr<Clock> clock,
                 std::size_t capacity)
    : state_(std::make_shared<State>(std::move(sensors), rate_hz, std::move(clock), capacity)) {
  state_->enroll();
}

Sampler::~Sampler() {
  stop();
  state_->leave();
}

void Sampler::start() {
  State& state = *state_;
  std::unique_lock<std::mutex> lock(state.mutex);
  if (state.phase == State::Phase::ended) {
    throw ArgumentError("a sampler runs once, and this one has ended: make a new one");
  }
  if (state.phase == State::Phase::idle) state.start_thread();
  state.changed.wait_until(lock, monotonic_s() + patience_s,
                           [&] { return state.attempted || state.phase != State::Phase::running; });
}

void Sampler::stop() {
  State& state = *state_;
  std::unique_lock<std::mutex> lock(state.mutex);
  bool abandoned = false;
  if (state.phase == State::Phase::running) {
    state.end_s = at_once;
    state.waiter->wake();
    state.changed.wait_until(lock, monotonic_s() + patience_s,
                             [&] { return state.phase != State::Phase::running; });
    abandoned = state.phase == State::Phase::running;
    if (abandoned) state.abandon();
  }
  const bool had_thread = std::exchange(state.has_thread, false);
  lock.unlock();
  if (!had_thread) return;
  if (abandoned) {
    pthread_detach(state.thread);
  } else {
    pthread_join(state.thread, nullptr);
  }
}

void Sampler::stop_at(double time_s) {
  if (std::isnan(time_s)) throw ArgumentError("a sampler cannot be stopped at a time that is not a number");
  State& state = *state_;
  std::shared_ptr<Waiter> before;
  const std::lock_guard<std::mutex> lock(state.mutex);
  if (state.phase != State::Phase::running || state.end_s == at_once) return;
  // A waiter stays woken, so the thread gets another one. It is made before the old one is woken:
  // a scripted clock then waits until the thread sleeps on it.
  before = std::exchange(state.waiter, state.clock->make_waiter());
  state.end_s = time_s;
  before->wake();
}

bool Sampler::running() const {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  return state_->phase == State::Phase::running;
}

std::size_t Sampler::channel_count() const noexcept { return state_->channel_count; }

ChannelTrace Sampler::trace(std::size_t index) const {
  if (index >= state_->channel_count) {
    throw ArgumentError("there is no channel " + std::to_string(index) + " among " +
                        std::to_string(state_->channel_count));
  }
  return state_->trace(index);
}

const std::shared_ptr<Clock>& Sampler::clock() const noexcept { return state_->clock; }

}  // namespace pywatt
