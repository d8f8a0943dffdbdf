// A statistics file with some bytes changed, or with another header: refused with FileError, or
// every number that is read is one that statistics can hold.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "coppice/error.h"
#include "coppice/statistics.h"

namespace {

constexpr const char* kHeader =
    R"({"__metadata__":{"coppice.statistics":"1","set":"calibration","weights":"{\"w\":\"x\"}"},)"
    R"("x.gram":{"dtype":"F64","shape":[2,2],"data_offsets":[0,32]},)"
    R"("x.square_sums":{"dtype":"F64","shape":[2],"data_offsets":[32,48]},)"
    R"("x.samples":{"dtype":"I64","shape":[1],"data_offsets":[48,56]},)"
    R"("w.fisher_samples":{"dtype":"I64","shape":[1],"data_offsets":[56,64]},)"
    R"("w.fisher":{"dtype":"F32","shape":[1,2,2],"data_offsets":[64,80]}})";

void require(bool condition) {
  if (!condition) std::abort();
}

template <typename T>
void append(std::vector<std::byte>& out, const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  out.insert(out.end(), bytes.begin(), bytes.end());
}

std::vector<std::byte> file_of(const std::string& header) {
  std::vector<std::byte> out;
  append(out, std::vector<std::uint64_t>{header.size()});
  append(out, std::vector<char>(header.begin(), header.end()));
  append(out, std::vector<double>{4, 1, 1, 9, 4, 9});
  append(out, std::vector<std::int64_t>{3, 3});
  append(out, std::vector<float>{1, 0.5f, 0.5f, 1});
  return out;
}

void check_products(std::span<const double> matrices, std::int64_t size) {
  require(std::ssize(matrices) % (size * size) == 0);
  for (double value : matrices) require(std::isfinite(value));
}

void use(std::span<const std::byte> bytes) {
  try {
    const auto file = coppice::StatisticsFile::parse(bytes);
    for (const auto& [weight, input] : file.contents().weights)
      require(file.input_of(weight)->name == input);
    for (const coppice::InputInfo& info : file.contents().inputs) {
      const coppice::InputStatistics input = file.read(info);
      require(std::ssize(input.square_sums) == info.cols && input.samples > 0);
      for (double sum : input.square_sums) require(sum >= 0);
      check_products(input.gram, info.cols);
    }
    for (const coppice::FisherInfo& info : file.contents().fisher)
      check_products(file.read(info).sums, info.block);
  } catch (const coppice::FileError&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 0 && data[0] % 2 == 0) {
    use(file_of(std::string(reinterpret_cast<const char*>(data) + 1, size - 1)));
    return 0;
  }
  // Two bytes of position and one of content each.
  std::vector<std::byte> file = file_of(kHeader);
  for (std::size_t i = 1; i + 3 <= size; i += 3)
    file[(data[i] + 256u * data[i + 1]) % file.size()] = static_cast<std::byte>(data[i + 2]);
  use(file);
  return 0;
}
