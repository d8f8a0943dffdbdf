// Threads of a kernel on one thread of the host: each runs until it has to wait, then another one,
// any of those that can go on. The order is random and the same in every run (another one by
// COPPICE_EMULATED_SEED): a thread may be as far ahead of the others as barriers allow.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace emulated {

[[noreturn]] void fail(const char* what);

/// Runs body(0) to body(count - 1) side by side. @returns when all have ended, and what they left
/// under way.
void run_side_by_side(int count, const std::function<void(int)>& body);

/// Something that happens some time later, beside all threads.
void happens_later(std::function<void()> event);

/// One of `count`, at random.
std::uint32_t any_of(std::uint32_t count);

/// Threads that wait for the same.
class WaitingList {
 public:
  /// Until somebody wakes all; what was waited for has to be looked at again.
  void wait();
  void wake_all();

 private:
  std::vector<int> waiting_;
};

/// Lets others go on.
void let_others_run();

}  // namespace emulated
