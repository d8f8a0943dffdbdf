// longjmp between stacks is refused by the checks of this macro.
#undef _FORTIFY_SOURCE
#include "fibers.h"

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>

#include "emulate.h"

namespace emulated {
namespace {

constexpr std::size_t kStackBytes = 256 * 1024, kPage = 4096;

struct Fiber {
  ucontext_t begin;
  jmp_buf here;
  bool started = false;
  void* stack = nullptr;  // kept for the next kernel
};

struct Scheduler {
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<int> ready;
  std::vector<std::function<void()>> events;
  const std::function<void(int)>* body = nullptr;
  jmp_buf main;
  int now = -1, left = 0;
  std::uint32_t random = [] {
    const char* seed = std::getenv("COPPICE_EMULATED_SEED");
    return static_cast<std::uint32_t>(seed == nullptr ? 1 : std::atoi(seed)) * 2654435761U | 1;
  }();
};
Scheduler scheduler;

void pause() {
  if (_setjmp(scheduler.fibers[static_cast<std::size_t>(scheduler.now)]->here) == 0)
    _longjmp(scheduler.main, 1);
}

void begin_fiber() {
  (*scheduler.body)(scheduler.now);
  --scheduler.left;
  _longjmp(scheduler.main, 1);
}

void prepare(Fiber& f) {
  if (f.stack == nullptr) {
    f.stack = mmap(nullptr, kStackBytes + kPage, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (f.stack == MAP_FAILED) fail("no stack");
    mprotect(f.stack, kPage, PROT_NONE);
  }
  f.started = false;
  getcontext(&f.begin);
  f.begin.uc_stack.ss_sp = static_cast<char*>(f.stack) + kPage;
  f.begin.uc_stack.ss_size = kStackBytes;
  f.begin.uc_link = nullptr;
  makecontext(&f.begin, begin_fiber, 0);
}

template <typename T>
T take_any(std::vector<T>& from) {
  const std::uint32_t i = any_of(static_cast<std::uint32_t>(from.size()));
  std::swap(from[i], from.back());
  T taken = std::move(from.back());
  from.pop_back();
  return taken;
}

void resume(int number) {
  scheduler.now = number;
  Fiber& f = *scheduler.fibers[static_cast<std::size_t>(number)];
  if (_setjmp(scheduler.main) != 0) return;
  if (f.started) _longjmp(f.here, 1);
  f.started = true;
  setcontext(&f.begin);
}

}  // namespace

void fail(const char* what) {
  std::printf("emulator: %s (thread block %u, %u, %u, thread %u)\n", what, blockIdx.x, blockIdx.y,
              blockIdx.z, threadIdx.x);
  std::fflush(stdout);
  std::abort();
}

std::uint32_t any_of(std::uint32_t count) {
  std::uint32_t& x = scheduler.random;
  x ^= x << 13, x ^= x >> 17, x ^= x << 5;
  return static_cast<std::uint32_t>(std::uint64_t{x} * count >> 32);
}

void run_side_by_side(int count, const std::function<void(int)>& body) {
  Scheduler& s = scheduler;
  s.body = &body;
  s.left = count;
  while (s.fibers.size() < static_cast<std::size_t>(count))
    s.fibers.push_back(std::make_unique<Fiber>());
  for (int i = 0; i < count; ++i) {
    prepare(*s.fibers[static_cast<std::size_t>(i)]);
    s.ready.push_back(i);
  }
  while (!s.ready.empty() || !s.events.empty()) {
    if (!s.events.empty() && (s.ready.empty() || any_of(16) == 0))
      take_any(s.events)();
    else
      resume(take_any(s.ready));
  }
  if (s.left > 0) {
    std::printf("emulator: %d threads of %d wait for what never comes\n", s.left, count);
    fail("a deadlock");
  }
}

void happens_later(std::function<void()> event) { scheduler.events.push_back(std::move(event)); }

void WaitingList::wait() {
  waiting_.push_back(scheduler.now);
  const OwnState own;
  pause();
}

void WaitingList::wake_all() {
  scheduler.ready.insert(scheduler.ready.end(), waiting_.begin(), waiting_.end());
  waiting_.clear();
}

void let_others_run() {
  scheduler.ready.push_back(scheduler.now);
  const OwnState own;
  pause();
}

}  // namespace emulated
