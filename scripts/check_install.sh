#!/usr/bin/env bash
# Installs the library into a scratch directory; builds and runs programs that find it with find_package: some of its own
# and the examples.
#
#   scripts/check_install.sh [BUILD_DIR]    a build that is there already (default: one of its own, for the CPU only)
#
# With a CUDA build a program that uses the CUDA headers is built and started as well; it needs no GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

build=${1:-build/install-check}
if [ $# -eq 0 ]; then
  cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCOPPICE_CUDA=OFF -DCOPPICE_BUILD_TESTS=OFF \
    -DCOPPICE_BUILD_EXAMPLES=OFF -DCOPPICE_BUILD_MEASURING=OFF -DCOPPICE_BUILD_TOOLS=ON >/dev/null
  cmake --build "$build" -j "$coppice_jobs" >/dev/null
fi
cmake --install "$build" --prefix "$work/prefix" >/dev/null
cmake -S tests/install -B "$work/build" -G Ninja -DCMAKE_PREFIX_PATH="$work/prefix" >/dev/null
cmake --build "$work/build" >/dev/null
"$work/build/consumer"
if [ -f "$work/build/cuda_consumer" ]; then
  "$work/build/cuda_consumer"
elif grep -q '^CMAKE_CUDA_COMPILER:' "$build/CMakeCache.txt"; then
  echo "installed package: its CUDA part was not found" >&2
  exit 1
elif find "$work/prefix/include" -iname '*cuda*' | grep . || grep -rniE '#include.*cuda' "$work/prefix/include"; then
  die "an installation without CUDA has CUDA headers"
fi
"$work/build/compress_and_multiply"
"$build"/tests/tools/make_checkpoint "$work/model" --preset bert --layers 1 --hidden 64 --intermediate 96 --vocab 50
"$work/build/prune_checkpoint" "$work/model" 64:2:8 "$work/pruned"
"$work/prefix/bin/coppice" --version
echo "installed package: works"
