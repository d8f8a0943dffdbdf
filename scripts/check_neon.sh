#!/usr/bin/env bash
# Compiles the CPU engine for 64-bit Arm with a cross compiler: shows that the NEON kernels build.
# Nothing is linked or run. Needs aarch64-linux-gnu-g++ (Debian: crossbuild-essential-arm64) and the
# headers of Highway and fmt (libhwy-dev, libfmt-dev).
set -euo pipefail
cd "$(dirname "$0")/.."

compiler=${AARCH64_CXX:-aarch64-linux-gnu-g++}
if ! command -v "$compiler" > /dev/null; then
  echo "check_neon: no $compiler; install crossbuild-essential-arm64 or set AARCH64_CXX" >&2
  exit 1
fi

# The host's /usr/include as a whole would hide the cross compiler's own headers.
include=$(mktemp -d)
trap 'rm -rf "$include"' EXIT
for library in hwy fmt; do ln -s "/usr/include/$library" "$include/$library"; done

flags=(-std=c++20 -O1 -Wall -Wextra -Wshadow -Werror -Iinclude -Isrc -isystem "$include")
files=(src/cpu/*.cpp)
printf '%s\0' "${files[@]}" | xargs -0 -P "$(nproc)" -I{} sh -c '"$@" -c {} -o /dev/null' sh "$compiler" "${flags[@]}"
echo "check_neon: ${#files[@]} files of src/cpu compile for NEON"
