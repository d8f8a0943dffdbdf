#include "layer_queue.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <fstream>
#include <limits>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace coppice::cli {
namespace {

class LayerQueue {
 public:
  LayerQueue(std::span<const std::uint64_t> needs, int threads, std::uint64_t bytes)
      : needs_(needs), threads_(threads), bytes_(bytes), free_threads_(threads) {}

  struct Ticket {
    std::size_t layer;
    int threads;
  };

  // The next layer, as soon as there is room for it; nothing if none is left or one failed.
  std::optional<Ticket> next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return done() || fits(needs_[next_]); });
    if (done()) return std::nullopt;
    const Ticket ticket{next_, std::min(free_threads_, share(needs_[next_]))};
    ++next_;
    ++running_;
    free_threads_ -= ticket.threads;
    used_bytes_ += needs_[ticket.layer];
    return ticket;
  }

  void finish(const Ticket& ticket) {
    const std::lock_guard lock(mutex_);
    --running_;
    free_threads_ += ticket.threads;
    used_bytes_ -= needs_[ticket.layer];
    changed_.notify_all();
  }

  // Of several errors that of the first layer stays: every run then says the same.
  void fail(std::size_t layer) {
    const std::lock_guard lock(mutex_);
    if (!error_ || layer < failed_) error_ = std::current_exception();
    failed_ = std::min(failed_, layer);
    changed_.notify_all();
  }

  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  bool done() const { return error_ != nullptr || next_ == needs_.size(); }
  bool fits(std::uint64_t need) const {
    return running_ == 0 || (free_threads_ > 0 && used_bytes_ + need <= bytes_);
  }
  // Threads of a layer, if as many of its size run as there is room for.
  int share(std::uint64_t need) const {
    const std::uint64_t by_memory = need > 0 ? bytes_ / need : needs_.size();
    const std::uint64_t side_by_side = std::clamp<std::uint64_t>(
        std::min<std::uint64_t>(by_memory, needs_.size() - next_ + running_), 1,
        static_cast<std::uint64_t>(threads_));
    return std::max(1, threads_ / static_cast<int>(side_by_side));
  }

  const std::span<const std::uint64_t> needs_;
  const int threads_;
  const std::uint64_t bytes_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t next_ = 0, running_ = 0;
  int free_threads_;
  std::uint64_t used_bytes_ = 0;
  std::exception_ptr error_;
  std::size_t failed_ = std::numeric_limits<std::size_t>::max();
};

// The number after `name`, in bytes; nothing if it is not there.
std::optional<std::uint64_t> read_kilobytes(const char* file, const std::string& name) {
  std::ifstream in(file);
  for (std::string word; in >> word;)
    if (std::uint64_t value = 0; word == name && in >> value) return value * 1024;
  return std::nullopt;
}

std::optional<std::uint64_t> read_number(const char* file) {
  std::ifstream in(file);
  if (std::uint64_t value = 0; in >> value) return value;
  return std::nullopt;
}

}  // namespace

void run_layers(std::span<const std::uint64_t> needs, int threads, std::uint64_t bytes,
                const std::function<void(std::size_t, int)>& work) {
  LayerQueue queue(needs, threads, bytes);
  const auto lane = [&] {
    while (const auto ticket = queue.next()) {
      try {
        work(ticket->layer, ticket->threads);
      } catch (...) {
        queue.fail(ticket->layer);
      }
      queue.finish(*ticket);
    }
  };
  std::vector<std::jthread> lanes;
  const auto others = std::min<std::size_t>(static_cast<std::size_t>(threads), needs.size());
  for (std::size_t i = 1; i < others; ++i) lanes.emplace_back(lane);
  lane();
  lanes.clear();  // joins
  queue.rethrow();
}

std::uint64_t available_memory() {
  std::uint64_t bytes = read_kilobytes("/proc/meminfo", "MemAvailable:")
                            .value_or(std::numeric_limits<std::uint64_t>::max());
  const auto limit = read_number("/sys/fs/cgroup/memory.max");
  const auto used = read_number("/sys/fs/cgroup/memory.current");
  if (limit && used) bytes = std::min(bytes, *limit - std::min(*limit, *used));
  return bytes;
}

}  // namespace coppice::cli
