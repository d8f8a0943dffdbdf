#include "coppice/cancel.h"

#include <atomic>

#include "coppice/error.h"

namespace coppice {
namespace {

std::atomic<bool> cancelled{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may not take a lock");

}  // namespace

void request_cancel() noexcept { cancelled.store(true, std::memory_order_relaxed); }
bool cancel_requested() noexcept { return cancelled.load(std::memory_order_relaxed); }
void clear_cancel() noexcept { cancelled.store(false, std::memory_order_relaxed); }

void throw_if_cancelled() {
  if (cancel_requested()) throw Cancelled("cancelled; no unfinished output is left");
}

}  // namespace coppice
