#!/usr/bin/env bash
# From a fresh clone to a pruned, packed, verified and timed transformer checkpoint.
#
#   ./quickstart.sh             installs what is missing, builds, runs; a few minutes
#
# Installs system packages with apt-get (sudo if you are not root). Everything else stays in this directory:
# build/quickstart (the build), .venv (a Python virtual environment that holds the sample) and quickstart-out (the results).
set -euo pipefail
cd "$(dirname "$0")"
. scripts/common.sh

out=quickstart-out
build=build/quickstart

say "1/5 What this machine needs"
# shellcheck disable=SC2086
ensure_packages $coppice_build_packages $coppice_python_packages

say "2/5 Building in $build"
cuda=(-DCOPPICE_CUDA=OFF)
device=cpu
if has_gpu && has_nvcc; then
  cuda=(-DCOPPICE_CUDA=ON "-DCMAKE_CUDA_ARCHITECTURES=$(gpu_architecture)")
  device=cuda
  note "a GPU is present: building CUDA kernels for it alone ($(gpu_architecture))"
else
  note "no usable GPU and nvcc: building for the CPU only"
fi
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCOPPICE_BUILD_TESTS=OFF -DCOPPICE_BUILD_EXAMPLES=OFF \
  -DCOPPICE_BUILD_TOOLS=ON "${cuda[@]}" >"$build.log" 2>&1 || { mkdir -p build; tail -n 30 "$build.log"; die "CMake failed"; }
cmake --build "$build" -j "$coppice_jobs" >>"$build.log" 2>&1 || { tail -n 40 "$build.log"; die "the build failed"; }
coppice=$build/cli/coppice

say "3/5 The sample: all-MiniLM-L6-v2, a BERT-type encoder with 22 M parameters"
model=$(scripts/fetch_sample.sh "$build") || die "no sample could be made"
note "in $model"

say "4/5 Pruning to 64:2:8 and 2:4, packing, verifying"
mkdir -p "$out"
for pattern in 64:2:8 2:4; do
  name=${pattern//:/-}
  rm -rf "${out:?}/pruned-$name" "${out:?}/packed-$name"
  "$coppice" prune "$model" --pattern "$pattern" --method magnitude --device cpu -o "$out/pruned-$name" --no-time \
    >"$out/prune-$name.txt"
  "$coppice" pack "$out/pruned-$name" --pattern "$pattern" -o "$out/packed-$name" >"$out/pack-$name.txt"
  "$coppice" verify "$out/packed-$name" --against "$out/pruned-$name" --device "$device" >"$out/verify-$name.txt"
  tail -n 3 "$out/verify-$name.txt"
done

say "5/5 What it brings"
"$coppice" report-sample "$model" "$out"
