// Arrays and masks between host and device. Not part of the public API.
#pragma once

#include <algorithm>
#include <vector>

#include "coppice/mask.h"
#include "cuda/compress/plan.h"

namespace coppice::cuda {

template <typename T>
void download(const T* device, std::int64_t count, T* host) {
  if (count > 0)
    check(cudaMemcpy(host, device, static_cast<std::size_t>(count) * sizeof(T),
                     cudaMemcpyDeviceToHost),
          "copying an array from the device");
}

template <typename T>
std::vector<T> download(const T* device, std::int64_t count) {
  std::vector<T> host(static_cast<std::size_t>(count));
  download(device, count, host.data());
  return host;
}

/// Device memory for `count` elements, not initialised.
template <typename T>
DeviceBuffer device_array(std::int64_t count) {
  return DeviceBuffer(static_cast<std::size_t>(count) * sizeof(T));
}

/// The words of a mask in device memory.
inline DeviceBuffer upload_mask(const Mask& mask) {
  std::vector<std::uint64_t> words;
  for (std::int64_t r = 0; r < mask.rows(); ++r)
    words.insert(words.end(), mask.row(r).begin(), mask.row(r).end());
  return upload(std::span<const std::uint64_t>(words));
}

/// Replaces a mask by words in device memory.
inline void download_mask(const std::uint64_t* device, Mask& mask) {
  const std::int64_t row_words = (mask.cols() + 63) / 64;
  const std::vector<std::uint64_t> words = download(device, mask.rows() * row_words);
  for (std::int64_t r = 0; r < mask.rows(); ++r)
    std::copy_n(words.begin() + r * row_words, row_words, mask.row(r).begin());
}

}  // namespace coppice::cuda
