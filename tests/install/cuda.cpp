// Uses everything of the CUDA headers that has to be linked, and neither needs a CUDA header nor,
// to start, a GPU.
#include <coppice/cuda.h>
#include <coppice/cuda_compress.h>
#include <coppice/cuda_update.h>
#include <coppice/error.h>

#include <cstdio>
#include <vector>

int main() {
  constexpr int kRows = 64, kCols = 256;
  std::vector<float> weight(kRows * kCols, 1.0f);
  const int devices = coppice::cuda::device_count();
  std::printf("cuda_consumer: %d usable GPU(s)\n", devices);
  try {
    const auto sparse = coppice::cuda::magnitude_compress(coppice::dense_view(weight, kRows, kCols),
                                                          coppice::Pattern::parse("2:4"));
    std::printf("cuda_consumer: %lld bytes packed\n", static_cast<long long>(sparse.own_bytes()));
    coppice::cuda::make_update_engine();
    const coppice::cuda::PackedWeight packed(sparse.view());  // f32: refused
    coppice::cuda::multiply(packed, {}, {});
  } catch (const coppice::DeviceError& error) {
    std::printf("cuda_consumer: %s\n", error.what());
    return devices == 0 ? 0 : 1;
  } catch (const coppice::InvalidArgument& error) {
    std::printf("cuda_consumer: %s\n", error.what());
  }
}
