// Any bytes as a safetensors file: refused with FileError, or every tensor lies inside the data and
// can be read.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "coppice/error.h"
#include "coppice/safetensors.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void use(const coppice::SafetensorsFile& file, std::size_t size) {
  std::size_t covered = 0;
  unsigned sum = 0;
  for (const coppice::StoredTensor& tensor : file.tensors()) {
    const auto bytes = file.data(tensor);
    require(bytes.size() == static_cast<std::size_t>(coppice::byte_count(tensor)));
    require(file.find(tensor.name) == &tensor);
    for (std::byte byte : bytes) sum += static_cast<unsigned>(byte);
    covered += bytes.size();
  }
  require(covered + 8 <= size);
  volatile unsigned sink = sum;
  (void)sink;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    use(coppice::SafetensorsFile::parse(std::as_bytes(std::span(data, size))), size);
  } catch (const coppice::FileError&) {
  }
  // The header length is hard to guess: try the input as a header alone, too.
  std::vector<std::uint8_t> file(8 + size);
  for (int i = 0; i < 8; ++i)
    file[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(size >> (8 * i));
  std::copy_n(data, size, file.begin() + 8);
  try {
    use(coppice::SafetensorsFile::parse(std::as_bytes(std::span(file))), file.size());
  } catch (const coppice::FileError&) {
  }
  return 0;
}
