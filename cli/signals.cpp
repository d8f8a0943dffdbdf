#include "signals.h"

#include <csignal>
#include <initializer_list>

#include "coppice/cancel.h"

namespace coppice::cli {
namespace {

extern "C" void on_signal(int) { request_cancel(); }

}  // namespace

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction old {};
    // Started by nohup or in the background of a script, SIGINT is ignored: that wish is kept.
    if (sigaction(signal, nullptr, &old) == 0 && old.sa_handler == SIG_IGN) continue;
    sigaction(signal, &action, nullptr);
  }
  // A file size limit is then an error with a message and a clean end, like a full disk.
  std::signal(SIGXFSZ, SIG_IGN);
}

}  // namespace coppice::cli
