#pragma once

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <utility>
#include <vector>

/// The smallest test harness that fails loudly: CHECK stops the program with the place and the
/// expression; TEST registers a function; main runs all, or those named on the command line.
namespace check {

inline std::vector<std::pair<std::string, std::function<void()>>>& tests() {
  static std::vector<std::pair<std::string, std::function<void()>>> all;
  return all;
}

struct Registered {
  Registered(const char* name, void (*body)()) { tests().emplace_back(name, body); }
};

[[noreturn]] inline void fail(const char* file, int line, const std::string& what) {
  std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
  std::exit(1);
}

inline int run(int argc, char** argv) {
  std::size_t ran = 0;
  for (const auto& [name, body] : tests()) {
    if (argc > 1 && name != argv[1]) continue;
    std::printf("%s ...", name.c_str());
    std::fflush(stdout);
    body();
    std::printf(" ok\n");
    ++ran;
  }
  std::printf("%zu passed\n", ran);
  return ran == 0 ? 1 : 0;
}

}  // namespace check

#define TEST(name)                                               \
  static void name();                                            \
  static const check::Registered registered_##name(#name, name); \
  static void name()

#define CHECK(condition)                                                      \
  do {                                                                        \
    if (!(condition)) check::fail(__FILE__, __LINE__, "failed: " #condition); \
  } while (false)

#define CHECK_NEAR(actual, expected, tolerance)                                                     \
  do {                                                                                              \
    const double actual_ = (actual), expected_ = (expected);                                        \
    if (!(std::abs(actual_ - expected_) <= (tolerance)))                                            \
      check::fail(__FILE__, __LINE__,                                                               \
                  #actual " is " + std::to_string(actual_) + ", not " + std::to_string(expected_)); \
  } while (false)

#define CHECK_THROWS(expression, type)                                                  \
  do {                                                                                  \
    bool thrown_ = false;                                                               \
    try {                                                                               \
      (void)(expression);                                                               \
    } catch (const type&) {                                                             \
      thrown_ = true;                                                                   \
    }                                                                                   \
    if (!thrown_) check::fail(__FILE__, __LINE__, #expression " did not throw " #type); \
  } while (false)

#define CHECK_MAIN \
  int main(int argc, char** argv) { return check::run(argc, argv); }
