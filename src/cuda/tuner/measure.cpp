#include "cuda/tuner/measure.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "coppice/cuda_compress.h"
#include "cuda/multiply.h"
#include "cuda/weight.h"

namespace coppice::cuda {
namespace {

constexpr int kRounds = 7;
constexpr double kReplaySeconds = 2e-3;
constexpr std::size_t kMostCopies = 32;
constexpr std::size_t kHalf = 2;  // bytes of an element
constexpr std::int64_t kAligned = 64;

std::int64_t round_up(std::int64_t size) { return (size + kAligned - 1) / kAligned * kAligned; }

std::size_t matrix_bytes(std::int64_t tokens, std::int64_t features) {
  return static_cast<std::size_t>(round_up(tokens) * round_up(features)) * kHalf;
}

// Copies that fill the cache twice.
std::size_t copies_of(std::size_t bytes, const DeviceInfo& device) {
  const auto wanted = 2 * static_cast<std::size_t>(device.l2_bytes);
  return std::clamp<std::size_t>((wanted + bytes - 1) / std::max<std::size_t>(bytes, 1), 2,
                                 kMostCopies);
}

// Normally distributed: the power that a product takes, and so its speed, depends on the data. The
// numbers recur after a prime, so that no two vectors of rows are alike.
void fill_random(const DeviceBuffer& buffer, Dtype dtype) {
  constexpr std::size_t kDrawn = 524287;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> drawn(std::min(kDrawn, buffer.bytes() / kHalf));
  for (float& value : drawn) value = normal(random);
  std::vector<std::byte> halves(drawn.size() * kHalf);
  from_float(dtype, drawn, halves.data());
  for (std::size_t at = 0; at < buffer.bytes(); at += halves.size())
    check(cudaMemcpy(buffer.as<std::byte>() + at, halves.data(),
                     std::min(halves.size(), buffer.bytes() - at), cudaMemcpyHostToDevice),
          "copying random numbers to the device");
}

double median(std::vector<double> samples) {
  const auto middle = samples.begin() + std::ssize(samples) / 2;
  std::ranges::nth_element(samples, middle);
  return *middle;
}

}  // namespace

TuneOperands::TuneOperands(const PackedWeight& weight, std::int64_t most_tokens)
    : x_bytes_(matrix_bytes(most_tokens, weight.cols())),
      y_bytes_(matrix_bytes(most_tokens, weight.rows())) {
  const DeviceInfo& device = weight.impl().device_info;
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream");
  stream_.reset(stream);
  copy_weight(weight, copies_of(static_cast<std::size_t>(weight.bytes()), device));
  activations_ = std::min(weights_.size(), copies_of(x_bytes_ + y_bytes_, device));
  x_ = DeviceBuffer(activations_ * x_bytes_);
  y_ = DeviceBuffer(activations_ * y_bytes_);
  workspace_ = DeviceBuffer(x_bytes_);
  fill_random(x_, weight.dtype());
  check(cudaDeviceSynchronize(), "preparing operands");
}

// Prunes random numbers to the weight's grid, and packs the result again and again.
void TuneOperands::copy_weight(const PackedWeight& weight, std::size_t copies) {
  const std::shared_ptr<const Grid>& grid = weight.impl().grid;
  const MagnitudeCompressor compressor(grid, weight.dtype());
  const DeviceBuffer dense(static_cast<std::size_t>(grid->rows() * grid->cols()) * kHalf),
      values(static_cast<std::size_t>(grid->values_bytes(weight.dtype()))),
      columns(static_cast<std::size_t>(grid->columns_bytes())),
      metadata(static_cast<std::size_t>(grid->metadata_bytes())),
      scratch(static_cast<std::size_t>(compressor.workspace_bytes())),
      permutation(weight.impl().permuted ? static_cast<std::size_t>(grid->cols()) * 4 : 0);
  fill_random(dense, weight.dtype());
  if (weight.impl().permuted) {  // which one does not matter, but that there is one does
    std::vector<std::uint32_t> identity(static_cast<std::size_t>(grid->cols()));
    std::iota(identity.begin(), identity.end(), 0u);
    check(cudaMemcpy(permutation.data(), identity.data(), permutation.bytes(),
                     cudaMemcpyHostToDevice),
          "copying a permutation to the device");
  }
  check(cudaDeviceSynchronize(), "preparing a weight");
  compressor.compress(dense.data(), 0, {values.data(), columns.data(), metadata.data()},
                      scratch.data(), stream_.get());
  const SparseDeviceView view{grid,           weight.dtype(),  values.data(),
                              columns.data(), metadata.data(), permutation.as<std::uint32_t>()};
  for (std::size_t i = 0; i < copies; ++i) weights_.emplace_back(view, stream_.get());
  check(cudaStreamSynchronize(stream_.get()), "packing random weights");
}

std::vector<double> TuneOperands::seconds(std::span<const Selection> selections,
                                          std::int64_t tokens, Layout layout) const {
  const std::int64_t rows = weights_[0].rows(), cols = weights_[0].cols();
  const Dtype dtype = weights_[0].dtype();
  const auto stride = [&](std::int64_t features) {
    return round_up(layout == Layout::token_major ? features : tokens);
  };
  const Workspace workspace{workspace_.data(), static_cast<std::int64_t>(workspace_.bytes())};
  std::vector<Replay> replays;
  replays.reserve(selections.size());
  for (const Selection& selection : selections)
    replays.emplace_back(
        [&, selection](std::size_t call, cudaStream_t stream) {
          const std::size_t at = call % activations_;
          const Matrix x{
              x_.as<std::byte>() + at * x_bytes_, dtype, tokens, cols, layout, stride(cols)};
          const MutableMatrix y{
              y_.as<std::byte>() + at * y_bytes_, dtype, tokens, rows, layout, stride(rows)};
          multiply_by(selection, weights_[call % weights_.size()], x, y, {}, workspace, stream);
        },
        stream_.get(), kReplaySeconds);
  std::vector<std::vector<double>> samples(selections.size());
  for (int round = 0; round < kRounds; ++round)
    for (std::size_t i = 0; i < replays.size(); ++i) samples[i].push_back(replays[i].run());
  std::vector<double> medians;
  for (const std::vector<double>& one : samples) medians.push_back(median(one));
  return medians;
}

}  // namespace coppice::cuda
