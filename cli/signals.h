// SIGINT, SIGTERM and SIGHUP ask the library to stop (coppice/cancel.h).
#pragma once

namespace coppice::cli {

/// Installs the handlers. The first signal asks for a stop, so that partial output is removed; a
/// second one of the same kind ends the process at once (its output still has only a temporary
/// name).
void install_signal_handlers();

}  // namespace coppice::cli
