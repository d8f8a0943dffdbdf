#!/usr/bin/env bash
# Checks the CUDA backend on a machine with a GPU: all tests, then compute-sanitizer.
#   scripts/gpu_check.sh [BUILD_DIR]        (default: build/cuda, built with `cmake --preset cuda`)
set -euo pipefail

build=${1:-build/cuda}
test=$build/tests/cuda/cuda_test
compress=$build/tests/cuda/cuda_compress_test
for program in "$test" "$compress"; do
  [ -x "$program" ] || { echo "gpu_check: no $program; build it: cmake --preset cuda && cmake --build $build" >&2; exit 1; }
done

export COPPICE_REQUIRE_GPU=1
COPPICE_GPU_TEST_CASES=2000 "$test" --gtest_brief=1
"$compress" --gtest_brief=1
# Out-of-bounds accesses: every kind of problem, fewer of them.
COPPICE_GPU_TEST_CASES=60 compute-sanitizer --tool memcheck --error-exitcode 1 "$test" --gtest_brief=1
compute-sanitizer --tool memcheck --error-exitcode 1 "$compress" --gtest_brief=1 --gtest_filter='-*Random*:*Large*'
# Races in shared memory, on a thinned list. racecheck does not follow releases through an mbarrier to
# the copy engine, so it reports the wgmma kernels' metadata reads although they are ordered: they are
# left out here, and covered by repeating the bit-for-bit tests above.
COPPICE_GPU_TEST_CASES=10 compute-sanitizer --tool racecheck --error-exitcode 1 \
  --kernel-name-exclude kernel_substring=sparse_wgmma "$test" --gtest_brief=1 \
  --gtest_filter='CudaProduct.RandomProblems:CudaProduct.CanBeCapturedAndReplayed'
compute-sanitizer --tool racecheck --error-exitcode 1 "$compress" --gtest_brief=1 --gtest_filter='*Tail*:*Graph*:*FromTheHost*'
echo "gpu_check: all passed"
