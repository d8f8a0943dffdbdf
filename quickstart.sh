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
log=$build/build.log

say "1/5 What this machine needs"
# shellcheck disable=SC2086
ensure_packages $coppice_build_packages $coppice_python_packages

say "2/5 Building in $build (the log is $log)"
cuda=(-DCOPPICE_CUDA=OFF)
if has_gpu && has_nvcc; then
  cuda=(-DCOPPICE_CUDA=ON "-DCMAKE_CUDA_ARCHITECTURES=$(gpu_architecture)")
  note "a GPU is present: building CUDA kernels for it alone ($(gpu_architecture))"
else
  note "no GPU with nvcc: building for the CPU only"
fi
mkdir -p "$build"
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCOPPICE_BUILD_TESTS=OFF -DCOPPICE_BUILD_EXAMPLES=OFF -DCOPPICE_BUILD_MEASURING=OFF \
  -DCOPPICE_BUILD_TOOLS=ON "-DCOPPICE_WERROR=${COPPICE_WERROR:-OFF}" "${cuda[@]}" >"$log" 2>&1 || { tail -n 30 "$log"; die "CMake failed"; }
cmake --build "$build" -j "$coppice_jobs" >>"$log" 2>&1 || { tail -n 40 "$log"; die "the build failed"; }
coppice=$build/cli/coppice

say "3/5 The sample: all-MiniLM-L6-v2, a BERT-type encoder with 22 M parameters"
model=$(scripts/fetch_sample.sh "$build") || die "no sample could be made"
note "in $model"

say "4/5 Pruning to 64:2:8 and 2:4, packing, verifying every layer"
rm -rf "$out"
mkdir -p "$out"
for pattern in 64:2:8 2:4; do
  name=${pattern//:/-}
  "$coppice" prune "$model" --pattern "$pattern" --method magnitude -o "$out/pruned-$name" >"$out/prune-$name.txt"
  "$coppice" pack "$out/pruned-$name" --pattern "$pattern" -o "$out/packed-$name" >"$out/pack-$name.txt"
  "$coppice" verify "$out/packed-$name" --against "$out/pruned-$name" >"$out/verify-$name.txt"
  note "$pattern: $(tail -n 1 "$out/verify-$name.txt")"
done

say "5/5 What it brings on this machine"
for pattern in 64:2:8 2:4; do
  printf '\n%s\n' "$("$coppice" explain "$pattern" | head -n 1)"
  cat "$out/prune-${pattern//:/-}.txt"
done

weights_bytes() { find -L "$1" -maxdepth 1 -name '*.safetensors' -printf '%s\n' | awk '{sum += $1} END {print sum}'; }
row() { awk -v name="$1" -v bytes="$2" -v all="$3" 'BEGIN {printf "%-28s %8.1f MB  %5.1f %%\n", name, bytes / 1e6, 100 * bytes / all}'; }
dense=$(weights_bytes "$model")
printf '\n%-28s %11s  %7s\n' "weights on disk" "size" "dense"
row "dense" "$dense" "$dense"
row "packed 64:2:8" "$(weights_bytes "$out/packed-64-2-8")" "$dense"
row "packed 2:4" "$(weights_bytes "$out/packed-2-4")" "$dense"
printf '(embeddings stay dense: they are not multiplied by.)\n\nThe results are in %s. Next: %s --help, and README.md.\n' "$out" "$coppice"
