#include "pywatt/spans.hpp"

#include <pthread.h>

#include <algorithm>
#include <cmath>

#include "pywatt/errors.hpp"

namespace pywatt {

SpanRecorder::SpanRecorder(std::shared_ptr<Clock> clock) : clock_(std::move(clock)) {}

SpanRecorder::ThreadStack& SpanRecorder::this_thread() {
  const auto id = static_cast<std::uint64_t>(pthread_self());
  if (last_thread_ != nullptr && last_thread_->id == id) return *last_thread_;
  for (const auto& thread : threads_) {
    if (thread->id == id) return *(last_thread_ = thread.get());
  }
  // Row has 8 bits for the thread: the 256th and later share a number, which only matters where
  // concurrent threads must be distinguished.
  const auto number = static_cast<std::uint32_t>(std::min<std::size_t>(threads_.size(), 255));
  threads_.push_back(std::make_unique<ThreadStack>(ThreadStack{id, number, {}}));
  return *(last_thread_ = threads_.back().get());
}

std::uint32_t SpanRecorder::path_of(std::uint32_t name, std::int32_t parent) {
  const std::uint64_t key = (static_cast<std::uint64_t>(static_cast<std::uint32_t>(parent)) << 32) | name;
  const auto [found, is_new] = path_index_.try_emplace(key, static_cast<std::uint32_t>(paths_.size()));
  if (is_new) {
    if (paths_.size() >= (std::size_t{1} << 24)) {
      path_index_.erase(found);
      throw Error("more than 16 million distinct call paths: is a module calling itself without end?");
    }
    paths_.push_back({name, parent});
  }
  return found->second;
}

void SpanRecorder::enter(std::uint32_t name) {
  ThreadStack& thread = this_thread();
  const std::int32_t parent = thread.open.empty() ? -1 : static_cast<std::int32_t>(thread.open.back().path);
  const std::uint32_t path = path_of(name, parent);
  // The clock last: what the bookkeeping costs is not the span's.
  OpenSpan& span = thread.open.emplace_back(OpenSpan{0.0, name, path});
  span.start_s = clock_->now_s();
}

std::size_t SpanRecorder::keep(std::uint32_t path, double start_s, double end_s, std::uint32_t thread) {
  const std::size_t place = size_ % block_rows;
  if (place == 0) blocks_.push_back(std::make_unique<Row[]>(block_rows));
  const double duration_s = std::max(0.0, end_s - start_s);
  const double duration_ns = std::round(duration_s * 1e9);
  const bool is_long = duration_ns >= static_cast<double>(long_duration);
  if (is_long) long_calls_[size_] = duration_s;
  blocks_.back()[place] = Row{start_s, is_long ? long_duration : static_cast<std::uint32_t>(duration_ns),
                              path & 0xFF'FFFFU, thread & 0xFFU};
  return size_++;
}

std::size_t SpanRecorder::close(ThreadStack& thread, double end_s) {
  const OpenSpan span = thread.open.back();
  thread.open.pop_back();
  return keep(span.path, span.start_s, end_s, thread.number);
}

/// Closes all that is open inside the innermost open span called `name`; false where there is none.
bool SpanRecorder::close_above(ThreadStack& thread, std::uint32_t name, double end_s) {
  const auto match = std::find_if(thread.open.rbegin(), thread.open.rend(),
                                  [name](const OpenSpan& span) { return span.name == name; });
  if (match == thread.open.rend()) return false;
  const auto depth = static_cast<std::size_t>(thread.open.rend() - match);
  while (thread.open.size() > depth) close(thread, end_s);
  return true;
}

std::size_t SpanRecorder::exit(std::uint32_t name) {
  const double end_s = clock_->now_s();
  ThreadStack& thread = this_thread();
  return close_above(thread, name, end_s) ? close(thread, end_s) : none;
}

std::int32_t SpanRecorder::leave(std::uint32_t name) {
  ThreadStack& thread = this_thread();
  if (!close_above(thread, name, clock_->now_s())) return no_path;
  const auto path = static_cast<std::int32_t>(thread.open.back().path);
  thread.open.pop_back();
  return path;
}

void SpanRecorder::add(std::uint32_t path, double start_s, double end_s, std::uint32_t thread) {
  keep(path, start_s, end_s, std::min(thread, 255U));
}

void SpanRecorder::close_all() {
  const double end_s = clock_->now_s();
  for (const auto& thread : threads_) {
    while (!thread->open.empty()) close(*thread, end_s);
  }
}

bool SpanRecorder::is_idle() const noexcept {
  return std::all_of(threads_.begin(), threads_.end(),
                     [](const auto& thread) { return thread->open.empty(); });
}

std::size_t SpanRecorder::memory_bytes() const noexcept {
  constexpr std::size_t map_node_bytes = 48;
  return blocks_.size() * block_rows * sizeof(Row) + paths_.capacity() * sizeof(CallPath) +
         (path_index_.size() + long_calls_.size()) * map_node_bytes;
}

SpanColumns SpanRecorder::rows(std::size_t first, std::size_t count) const {
  SpanColumns columns;
  const std::size_t begin = std::min(first, size_);
  const std::size_t end = begin + std::min(count, size_ - begin);
  columns.start_s.reserve(end - begin);
  columns.end_s.reserve(end - begin);
  columns.path.reserve(end - begin);
  columns.thread.reserve(end - begin);
  for (std::size_t i = begin; i < end; ++i) {
    const Row& row = blocks_[i / block_rows][i % block_rows];
    const double duration_s =
        row.duration_ns == long_duration ? long_calls_.at(i) : static_cast<double>(row.duration_ns) * 1e-9;
    columns.start_s.push_back(row.start_s);
    columns.end_s.push_back(row.start_s + duration_s);
    columns.path.push_back(static_cast<std::int32_t>(row.path));
    columns.thread.push_back(row.thread);
  }
  return columns;
}

}  // namespace pywatt
