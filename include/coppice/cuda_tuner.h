// Choosing kernels by measuring them, where `multiply` chooses by a model otherwise. Off unless
// asked for.
//
//   coppice::cuda::PackedWeight weight(sparse.view());
//   coppice::cuda::tune(weight, {{64, Layout::token_major}, {4096, Layout::token_major}});
//   coppice::cuda::multiply(weight, x, y);   // the fastest kernel for 64 and for 4096 tokens
//
// What was measured is kept in a file, by GPU, driver, version of this library, shape, pattern,
// dtype, tokens and layout: the next process finds it there and measures nothing. With
// COPPICE_TUNE=1 in the environment every PackedWeight takes what the file knows about it when it
// is made, without a call of `tune`.
//
// Tuning never changes a result: only kernels that sum in the same order as the untuned choice
// compete, so all results are the same bits with and without it, and a token's result still does
// not depend on the tokens beside it.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "coppice/cuda.h"

namespace coppice::cuda {

/// Activations to tune for: so many tokens (and numbers near: all up to the next power of two) in
/// this layout.
struct TuneTarget {
  std::int64_t tokens = 0;
  Layout layout = Layout::feature_major;
};

struct TuneOptions {
  /// The file; empty: tuning_cache_file().
  std::string cache = {};
  /// False: take what the file knows, measure nothing.
  bool measure = true;
  /// True: measure what the file knows already, too.
  bool again = false;
  /// Told, once a call, that the file is damaged (it is then ignored, and replaced) or cannot be
  /// written (results then hold for this process only).
  std::function<void(const std::string&)> warn = {};
};

struct TuneReport {
  TuneTarget target;
  std::string kernel;          ///< what runs from now on; empty if nothing is known or measured
  double seconds = 0;          ///< of one product, operands not in L2
  double untuned_seconds = 0;  ///< of the kernel that would run without tuning
  bool from_cache = false;
};

/// Finds the fastest kernel for each target on the weight's device; from now on `multiply` uses it
/// for this weight. Measures as docs/performance/model.md has it, on random copies of the weight
/// and of activations, which it allocates meanwhile (each kind more than twice the L2 cache, and
/// one dense weight); takes a few tenths of a second a target that is measured, and synchronises
/// the device. Call it before the weight is shared between threads. Throws InvalidArgument for a
/// target without tokens, DeviceError if the device fails.
std::vector<TuneReport> tune(PackedWeight& weight, std::span<const TuneTarget> targets,
                             const TuneOptions& options = {});

inline std::vector<TuneReport> tune(PackedWeight& weight, std::initializer_list<TuneTarget> targets,
                                    const TuneOptions& options = {}) {
  return tune(weight, std::span(targets.begin(), targets.size()), options);
}

/// $COPPICE_TUNING_CACHE, else coppice/tuning.json in $XDG_CACHE_HOME, else in $HOME/.cache; empty
/// if none is set.
std::string tuning_cache_file();

}  // namespace coppice::cuda
