// How the choices of a grid are made: which kernels, the tables they read, and the memory they
// need. Not part of the public API.
#pragma once

#include "coppice/grid.h"
#include "cuda/check.h"
#include "cuda/compress/arguments.h"

namespace coppice::cuda {

/// Which kernels make the choices.
enum class Way : std::uint8_t { two_four, elements, blocks, small_vnm, vnm_search };

/// Copies a table to the current device.
template <typename T>
DeviceBuffer upload(std::span<const T> host) {
  DeviceBuffer buffer(host.size_bytes());
  if (!host.empty())
    check(cudaMemcpy(buffer.data(), host.data(), host.size_bytes(), cudaMemcpyHostToDevice),
          "copying a table to the device");
  return buffer;
}

/// Bound to the device that was current when it was made.
class ChoicePlan {
 public:
  static constexpr std::int64_t kAlignment = 256;  ///< of a workspace

  /// @param with_choices  whether `choices` are wanted, and not the values kept alone; they
  /// exclude Way::two_four
  ChoicePlan(const Grid& grid, Way way, bool with_choices);

  Way way() const { return way_; }
  std::int64_t workspace_bytes() const;
  /// All but the dense weight and the values; the workspace's arrays in their places.
  CompressArguments arguments(std::byte* workspace) const;

 private:
  void plan_workspace(bool with_choices);

  /// Bytes of the arrays in the workspace, in this order.
  struct WorkspaceSizes {
    std::int64_t nan = 8, choices = 0, picks = 0, block_sums = 0, live = 0, scratch = 0;
  };
  Way way_;
  DeviceBuffer groups_, vectors_;
  CompressArguments arguments_;
  WorkspaceSizes sizes_;
};

/// Makes the choices in any way but Way::two_four, and stores the values kept.
void launch_choices(Way way, const CompressArguments& a, Dtype dtype, cudaStream_t stream);

}  // namespace coppice::cuda
