// A fork copies the memory of a sampler but not its thread. All samplers' mutexes are held while the
// process forks, so that the child's copies are whole; there they become ended samplers.

#include <pthread.h>

#include <algorithm>

#include "sampler_state.hpp"

namespace pywatt {

struct Sampler::State::ForkRegistry {
  std::mutex mutex;           // taken before any sampler's
  std::vector<State*> alive;  // under mutex

  /// Never destroyed: a process may fork, and samplers of static lifetime end, during exit.
  static ForkRegistry& instance() {
    static ForkRegistry& registry = *[] {
      auto* const made = new ForkRegistry;
      pthread_atfork(prepare, in_parent, in_child);
      return made;
    }();
    return registry;
  }

  static void prepare() {
    ForkRegistry& registry = instance();
    registry.mutex.lock();
    for (State* state : registry.alive) {
      state->mutex.lock();
      state->cpu_s = state->thread_cpu_s();  // the child cannot ask any more
    }
  }

  static void in_parent() {
    ForkRegistry& registry = instance();
    for (State* state : registry.alive) state->mutex.unlock();
    registry.mutex.unlock();
  }

  static void in_child() {
    for (State* state : instance().alive) state->become_copy();
    in_parent();
  }
};

void Sampler::State::enroll() {
  ForkRegistry& registry = ForkRegistry::instance();
  const std::lock_guard<std::mutex> lock(registry.mutex);
  registry.alive.push_back(this);
}

void Sampler::State::leave() noexcept {
  ForkRegistry& registry = ForkRegistry::instance();
  const std::lock_guard<std::mutex> lock(registry.mutex);
  registry.alive.erase(std::find(registry.alive.begin(), registry.alive.end(), this));
}

void Sampler::State::become_copy() noexcept {
  has_thread = false;
  if (phase != Phase::running) return;
  phase = Phase::ended;
  forked = true;
}

}  // namespace pywatt
