#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "pywatt/clock.hpp"

namespace pywatt {

/// A node of the tree of calls that were seen: `name` called inside `parent`.
struct CallPath {
  std::uint32_t name;
  std::int32_t parent;  ///< index of a path, always smaller than this one's; -1 at the top
};

/// Columns of some closed spans, in the order in which they were closed.
struct SpanColumns {
  std::vector<double> start_s;
  std::vector<double> end_s;
  std::vector<std::int32_t> path;
  std::vector<std::uint32_t> thread;  ///< 0 for the first thread seen, and so on
};

/// Records when named things begin and end, at 16 bytes a span: where a span stood in the tree of
/// calls is kept once per distinct path, not once per call.
///
/// Every thread has its own stack of open spans. Not thread-safe: the caller lets one thread in at a
/// time (Python's GIL does).
class SpanRecorder {
 public:
  static constexpr std::size_t none = static_cast<std::size_t>(-1);
  static constexpr std::int32_t no_path = -1;

  explicit SpanRecorder(std::shared_ptr<Clock> clock = steady_clock());

  /// Opens a span of this thread, inside its innermost open one.
  void enter(std::uint32_t name);

  /// Closes the innermost open span called `name` of this thread, and with it all that is still open
  /// inside (whose own end was never seen because of an exception). Returns the row of the span, or
  /// `none` where no such span is open.
  std::size_t exit(std::uint32_t name);

  /// Closes like `exit`, but keeps no span of `name`: its times follow later, by `add`. Returns its
  /// path, or `no_path` where no such span is open.
  std::int32_t leave(std::uint32_t name);

  /// Keeps a span whose times were found elsewhere, such as on a GPU. REQUIRES: path < paths().size().
  void add(std::uint32_t path, double start_s, double end_s, std::uint32_t thread);

  /// Closes all open spans of all threads, now.
  void close_all();

  /// Whether no thread has an open span.
  bool is_idle() const noexcept;

  std::size_t size() const noexcept { return size_; }
  std::size_t threads() const noexcept { return threads_.size(); }
  std::size_t memory_bytes() const noexcept;
  const std::vector<CallPath>& paths() const noexcept { return paths_; }
  const std::shared_ptr<Clock>& clock() const noexcept { return clock_; }

  /// Rows [first, first + count), cut at size().
  SpanColumns rows(std::size_t first, std::size_t count) const;

 private:
  struct Row {
    double start_s;
    std::uint32_t duration_ns;  ///< long_duration: look in long_calls_
    std::uint32_t path : 24;
    std::uint32_t thread : 8;
  };
  static_assert(sizeof(Row) == 16);
  static constexpr std::size_t block_rows = std::size_t{1} << 16;
  static constexpr std::uint32_t long_duration = 0xFFFF'FFFF;

  struct OpenSpan {
    double start_s;
    std::uint32_t name;
    std::uint32_t path;
  };
  struct ThreadStack {
    std::uint64_t id;
    std::uint32_t number;
    std::vector<OpenSpan> open;
  };

  ThreadStack& this_thread();
  std::uint32_t path_of(std::uint32_t name, std::int32_t parent);
  std::size_t close(ThreadStack& thread, double end_s);
  bool close_above(ThreadStack& thread, std::uint32_t name, double end_s);
  std::size_t keep(std::uint32_t path, double start_s, double end_s, std::uint32_t thread);

  std::shared_ptr<Clock> clock_;
  std::vector<CallPath> paths_;
  std::unordered_map<std::uint64_t, std::uint32_t> path_index_;  ///< (parent, name) -> path
  std::vector<std::unique_ptr<ThreadStack>> threads_;
  ThreadStack* last_thread_ = nullptr;
  std::vector<std::unique_ptr<Row[]>> blocks_;
  std::size_t size_ = 0;
  std::unordered_map<std::size_t, double> long_calls_;  ///< row -> duration in s, from 4.29 s on
};

}  // namespace pywatt
