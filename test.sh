#!/usr/bin/env bash
# Builds and runs all tests from a fresh clone.
#
#   ./test.sh                    everything this machine can run
#   COPPICE_REQUIRE_GPU=1 ./test.sh   a GPU test that is skipped fails
#   COPPICE_CUDA=OFF ./test.sh   leaves the CUDA code out even where nvcc is found
#   COPPICE_REQUIRE_PYTHON=1 ./test.sh   Python tests that are skipped (no headers, no PyPI) fail
#   COPPICE_REQUIRE_TORCH=1 ./test.sh    PyTorch tests that are skipped (no PyPI, no CUDA toolkit) fail
#
# Installs system packages with apt-get (sudo if you are not root); builds in build/test. The Python package goes into a virtual
# environment in build/python-venv.
set -euo pipefail
cd "$(dirname "$0")"
. scripts/common.sh

say "What this machine needs"
# shellcheck disable=SC2086
ensure_packages $coppice_build_packages $coppice_test_packages $coppice_extension_packages

build=${COPPICE_BUILD_DIR:-build/test}
options=("-DCOPPICE_CUDA=${COPPICE_CUDA:-AUTO}" "-DCOPPICE_WERROR=${COPPICE_WERROR:-OFF}")
[ "${COPPICE_CUDA:-AUTO}" = AUTO ] && has_nvcc && [ -z "${CUDACXX:-}" ] && ! command -v nvcc >/dev/null &&
  options+=(-DCMAKE_CUDA_COMPILER=/usr/local/cuda/bin/nvcc)
if has_gpu && has_nvcc; then options+=("-DCMAKE_CUDA_ARCHITECTURES=$(gpu_architecture)"); fi
[ -n "${COPPICE_SANITIZE:-}" ] && options+=("-DCOPPICE_SANITIZE=$COPPICE_SANITIZE")

say "Building in $build"
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE="${COPPICE_BUILD_TYPE:-Release}" "${options[@]}" >/dev/null
cmake --build "$build" -j "$coppice_jobs" | grep -vE '^\[[0-9]+/[0-9]+\] (Building|Linking)' || [ "${PIPESTATUS[0]}" -eq 0 ]

say "Testing"
ctest --test-dir "$build" --output-on-failure -j "$coppice_jobs" | tee "$build/ctest.log"

say "Testing the Python package"
COPPICE=$(realpath "$build")/cli/coppice scripts/test_python.sh

say "Testing the Python package with PyTorch"
COPPICE=$(realpath "$build")/cli/coppice scripts/test_torch.sh
