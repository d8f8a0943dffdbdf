// The clock of the multiprocessors, read while they work.
#pragma once

#include <string>

namespace coppice::bench {

class SmClock {
 public:
  /// Of a CUDA device; the driver's management library is looked for at run time.
  explicit SmClock(int device);
  /// MHz now, or 0 if it cannot be read.
  unsigned read() const;

 private:
  void* handle_ = nullptr;
  int (*clock_info_)(void*, int, unsigned*) = nullptr;
};

}  // namespace coppice::bench
