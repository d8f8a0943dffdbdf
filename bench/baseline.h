// The dense library that Coppice is measured against: OpenBLAS, loaded at run time.
//
// A fair run on few cores has two traps.
// 1. Idle workers spin. OpenBLAS built on its own pthreads keeps spinning (and stealing our cores)
//    after a call, and so does libgomp's team after ours. The OpenMP build of OpenBLAS
//    (Debian: libopenblas0-openmp) shares libgomp's team with us and is preferred; with the pthread
//    build the benchmark runs the two in separate phases with `pause_seconds()` of sleep between.
// 2. OpenBLAS chooses its kernels by processor name, and OPENBLAS_CORETYPE in the environment
//    overrides that: an old version on a new processor, or a variable left over from something
//    else, can cost it half its speed (its Haswell kernels on a Zen 5: 36 ms where SkylakeX takes
//    20). So every plausible core type is timed in a child process, and the fastest one is loaded.
//    COPPICE_OPENBLAS_CORETYPE forces one. A program that is linked with the library (for LAPACK)
//    has loaded it before `main`: it starts itself again with the fastest.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "coppice/linear.h"

namespace coppice::bench {

struct OpenBlasFunctions;

/// One loaded OpenBLAS. A process can load only one, with one core type.
class Baseline {
 public:
  /// Loads the library, or returns null with the reason in `why_not`. COPPICE_OPENBLAS in the
  /// environment names another file to load.
  static std::unique_ptr<Baseline> load(std::string* why_not);

  /// y = weight * x in fp32 by sgemm, or sgemv for one token.
  /// @param weight `[rows, cols]`, row-major, packed
  void multiply(const float* weight, const Activations& x, const MutableActivations& y,
                int threads);

  /// Such as "OpenBLAS 0.3.21 (SkylakeX, openmp)".
  const std::string& description() const { return description_; }
  /// "sgemm" or "sgemv".
  static const char* routine(std::int64_t tokens) { return tokens == 1 ? "sgemv" : "sgemm"; }
  /// Sleep needed between this library's work and ours; 0 if they share their threads.
  double pause_seconds() const { return shares_threads_ ? 0 : 0.1; }

 private:
  Baseline() = default;
  std::shared_ptr<const OpenBlasFunctions> functions_;
  std::string description_;
  bool shares_threads_ = false;
};

/// Starts this program again (and does not return) if OpenBLAS is loaded already and another core
/// type than that in use is clearly faster, or forced. To be called before anything was done.
void restart_with_fastest_openblas(char** argv);
/// Whether `restart_with_fastest_openblas` started this process to time a core type: `main` then
/// returns what `answer_openblas_probe` does, and does nothing else.
bool is_openblas_probe();
int answer_openblas_probe();

}  // namespace coppice::bench
