#!/usr/bin/env bash
# Installs the CPU-only library into a scratch directory and builds a program that finds it with find_package.
#
#   scripts/check_install.sh [BUILD_DIR]    a CPU-only build that is there already (default: one of its own)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

build=${1:-build/install-check}
if [ $# -eq 0 ]; then
  cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCOPPICE_CUDA=OFF -DCOPPICE_BUILD_TESTS=OFF \
    -DCOPPICE_BUILD_EXAMPLES=OFF >/dev/null
  cmake --build "$build" -j "$coppice_jobs" >/dev/null
fi
cmake --install "$build" --prefix "$work/prefix" >/dev/null
cmake -S tests/install -B "$work/build" -G Ninja -DCMAKE_PREFIX_PATH="$work/prefix" >/dev/null
cmake --build "$work/build" >/dev/null
"$work/build/consumer"
"$work/prefix/bin/coppice" --version
echo "installed package: works"
