// The driver's encoder of tensor maps, as the emulated copy engine reads them: src/cuda/kernels'
// tensor_map.cpp is compiled for the emulator with its question for the driver's renamed to this.
#include "cuda/ptx/tensor_copy.h"
#include "emulate.h"

extern "C" cudaError_t CUDARTAPI coppice_emulated_entry(const char*, void** function, unsigned int,
                                                        unsigned long long,
                                                        cudaDriverEntryPointQueryResult* result) {
  *function = reinterpret_cast<void*>(&emulated::encode);
  *result = cudaDriverEntryPointSuccess;
  return cudaSuccess;
}
