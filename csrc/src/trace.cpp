#include "pywatt/trace.hpp"

#include <cmath>
#include <string>
#include <utility>

#include "pywatt/errors.hpp"

namespace pywatt {

namespace {

double end_energy_j(const Run& run) { return run.energy_j + run.value * (run.last_s - run.first_s); }

}  // namespace

TraceWriter::TraceWriter(Kind kind, std::size_t capacity) : kind_(kind), capacity_(capacity) {
  if (capacity < 2)
    throw ArgumentError(
        "a trace needs room for its first and its newest run: give a capacity of 2 or more, not " +
        std::to_string(capacity));
}

void TraceWriter::append(double time_s, double value) {
  if (!std::isfinite(time_s) || !std::isfinite(value))
    throw ArgumentError("a reading's time and value must be finite, not " + std::to_string(value) + " at " +
                        std::to_string(time_s) + " s");

  if (readings_ == 0) {
    push({time_s, time_s, value, 0.0});
    first_value_ = value;
    readings_ = 1;
    return;
  }

  Run& newest = tail_.back();
  if (time_s <= newest.last_s)
    throw ArgumentError("readings must come in the order of their times: " + std::to_string(time_s) +
                        " s is not after " + std::to_string(newest.last_s) + " s");
  if (kind_ == Kind::counter && value < newest.value)
    throw ArgumentError("a counter only grows: " + std::to_string(value) + " J comes after " +
                        std::to_string(newest.value) + " J");

  if (value == newest.value) {
    newest.last_s = time_s;
    ++readings_;
    return;
  }

  const double energy_j = kind_ == Kind::counter
                              ? value - first_value_
                              : end_energy_j(newest) + (time_s - newest.last_s) * (newest.value + value) / 2;
  const Run run{time_s, time_s, value, energy_j};

  // Every 2^thinned-th run stays; one in between was kept only while it was the newest.
  const std::size_t stride_mask = (std::size_t{1} << thinned_) - 1;
  if ((changes_ & stride_mask) != 0) {
    newest = run;
  } else {
    if (size() >= capacity_) thin();
    push(run);
  }
  ++changes_;
  ++readings_;
}

double TraceWriter::energy_j() const noexcept {
  if (readings_ == 0) return 0.0;
  return kind_ == Kind::counter ? tail_.back().energy_j : end_energy_j(tail_.back());
}

void TraceWriter::push(const Run& run) {
  if (tail_.size() == block_size) {
    blocks_.push_back(std::make_shared<const Block>(std::move(tail_)));
    tail_ = {};
  }
  if (tail_.empty()) tail_.reserve(block_size);
  tail_.push_back(run);
}

// Copies what stays: a snapshot may hold the old blocks. Where none does, each is freed as soon as
// it has been read, so the peak is one block above the capacity.
void TraceWriter::thin() {
  Blocks blocks = std::exchange(blocks_, {});
  const Block tail = std::exchange(tail_, {});
  bool keep = true;
  const auto keep_every_second = [&](const Block& block) {
    for (const Run& run : block) {
      if (keep) push(run);
      keep = !keep;
    }
  };
  for (auto& block : blocks) {
    keep_every_second(*block);
    block.reset();
  }
  keep_every_second(tail);
  ++thinned_;
}

TraceWriter::Snapshot TraceWriter::snapshot() const { return {kind_, blocks_, tail_}; }

TraceWriter::Snapshot::Snapshot(Kind kind, Blocks blocks, Block tail)
    : kind_(kind), blocks_(std::move(blocks)), tail_(std::move(tail)) {}

template <class Visit>
void TraceWriter::Snapshot::for_each_run(Visit&& visit) const {
  for (const auto& block : blocks_)
    for (const Run& run : *block) visit(run);
  for (const Run& run : tail_) visit(run);
}

std::vector<Run> TraceWriter::Snapshot::runs() const {
  std::vector<Run> all;
  all.reserve(size());
  for (const auto& block : blocks_) all.insert(all.end(), block->begin(), block->end());
  all.insert(all.end(), tail_.begin(), tail_.end());
  return all;
}

Knots TraceWriter::Snapshot::knots() const {
  Knots knots;
  if (size() == 0) return knots;

  if (kind_ == Kind::counter) {
    knots.time_s.reserve(size() + 1);
    knots.energy_j.reserve(size() + 1);
    for_each_run([&](const Run& run) {
      knots.time_s.push_back(run.first_s);
      knots.energy_j.push_back(run.energy_j);
    });
    const Run& newest = tail_.back();
    if (newest.last_s > newest.first_s) {
      knots.time_s.push_back(newest.last_s);
      knots.energy_j.push_back(newest.energy_j);
    }
    return knots;
  }

  // Counted first: the exact size is what keeps a long trace within its bound.
  std::size_t count = 0;
  for_each_run([&](const Run& run) { count += run.last_s > run.first_s ? 2 : 1; });
  knots.time_s.reserve(count);
  knots.power_w.reserve(count);
  knots.energy_j.reserve(count);
  const auto add = [&](double time_s, double power_w, double energy_j) {
    knots.time_s.push_back(time_s);
    knots.power_w.push_back(power_w);
    knots.energy_j.push_back(energy_j);
  };
  for_each_run([&](const Run& run) {
    add(run.first_s, run.value, run.energy_j);
    if (run.last_s > run.first_s) add(run.last_s, run.value, end_energy_j(run));
  });
  return knots;
}

}  // namespace pywatt
