// Stopping a long operation from outside, such as from a signal handler.
#pragma once

namespace coppice {

/// Asks every checkpoint operation of this process to stop: it removes its unfinished output and
/// throws Cancelled. Async-signal-safe, so a SIGINT handler may call it.
void request_cancel() noexcept;

/// Whether request_cancel() was called since the last clear_cancel().
bool cancel_requested() noexcept;

/// Forgets the request, so that a later operation runs.
void clear_cancel() noexcept;

/// Throws Cancelled if request_cancel() was called. For the inner loops of long operations.
void throw_if_cancelled();

}  // namespace coppice
