#!/usr/bin/env bash
# Installs the Python package with `pip install .` into a virtual environment of its own (build/python-venv) and runs its tests that do
# without PyTorch (scripts/test_torch.sh runs the others).
# Where Python's headers or PyPI cannot be had that is reported as a skip; COPPICE_REQUIRE_PYTHON=1 makes it a failure.
#
#   scripts/test_python.sh [pytest arguments]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
venv=build/python-venv

skip() {
  [ "${COPPICE_REQUIRE_PYTHON:-}" = 1 ] && die "Python tests cannot run: $1"
  echo "Python tests: SKIPPED ($1)"
  exit 0
}

[ -z "${COPPICE_SANITIZE:-}" ] || { echo "Python tests: SKIPPED (a sanitized module needs a sanitized Python)"; exit 0; }
python3 -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null ||
  skip "Python's headers are missing; install python3-dev"
ensure_venv "$venv"
if ! cmp -s tests/python/requirements.txt "$venv/installed.txt"; then
  note "installing from PyPI into $venv: $(tr '\n' ' ' <tests/python/requirements.txt)"
  "$venv/bin/pip" install -q --disable-pip-version-check -r tests/python/requirements.txt ||
    skip "pip could not install tests/python/requirements.txt"
  cp tests/python/requirements.txt "$venv/installed.txt"
fi
# Named as CMake names it by itself, so that ccache finds the objects of the other builds.
export CXX=${CXX:-c++} CMAKE_BUILD_PARALLEL_LEVEL=$coppice_jobs
"$venv/bin/pip" install -q --disable-pip-version-check --no-build-isolation --no-deps .
# The wheel above is for the CPU; what a build for the GPU adds has to compile as well.
"$CXX" -fsyntax-only -std=c++20 -fvisibility=hidden -Wall -Wextra -Werror -Iinclude -isystem "$("$venv/bin/python" -m nanobind --include_dir)" \
  -isystem "$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("include"))')" python/bindings/cuda.cpp
"$venv/bin/python" -m pytest --ignore-glob='*/torch_*_test.py' "$@"
