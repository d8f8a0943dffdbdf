#!/usr/bin/env bash
# Runs the tests of the Python package that need PyTorch (tests/python/torch_*_test.py) in the virtual environment that
# scripts/test_python.sh fills (build/python-venv), on the CPU; scripts/gpu_check.sh python runs those of the GPU. PyTorch for Linux is built for CUDA and asks for a few GB of NVIDIA
# libraries; here it is installed without them, and takes those that it loads at its start from the CUDA toolkit of this machine.
# Where that cannot be had it is reported as a skip; COPPICE_REQUIRE_TORCH=1 makes it a failure.
#
#   scripts/test_torch.sh [pytest arguments]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
venv=build/python-venv

skip() {
  [ "${COPPICE_REQUIRE_TORCH:-}" = 1 ] && die "PyTorch tests cannot run: $1"
  echo "PyTorch tests: SKIPPED ($1)"
  exit 0
}

[ -z "${COPPICE_SANITIZE:-}" ] || { echo "PyTorch tests: SKIPPED (a sanitized module needs a sanitized Python)"; exit 0; }
"$venv/bin/python" -c 'import coppice' 2>/dev/null || skip "the package is not in $venv; scripts/test_python.sh installs it"
wanted=$(cat tests/python/requirements-torch.txt tests/python/requirements-torch-no-deps.txt)
if [ "$wanted" != "$(cat "$venv/installed-torch.txt" 2>/dev/null)" ]; then
  note "installing PyTorch from PyPI into $venv"
  pip() { "$venv/bin/pip" install -q --disable-pip-version-check "$@" || skip "pip could not install: $*"; }
  pip -r tests/python/requirements-torch.txt
  pip --no-deps -r tests/python/requirements-torch-no-deps.txt  # last: pip would name what it lacks
  echo "$wanted" >"$venv/installed-torch.txt"
fi
for libraries in /usr/local/cuda/lib64 /usr/local/cuda/extras/CUPTI/lib64; do
  if [ -d "$libraries" ]; then export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"; fi
done
"$venv/bin/python" -c 'import torch' 2>"$venv/torch.log" || skip "import torch: $(tail -n 1 "$venv/torch.log")"
# PyTorch and Coppice bring a pool of threads each; on a few cores the ones that wait must not keep the others from working.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
tests=()
for file in tests/python/torch_*_test.py; do
  [[ $file = *cuda_test.py ]] || tests+=("$file")
done
COPPICE_REQUIRE_TORCH=1 "$venv/bin/python" -m pytest "${tests[@]}" "$@"
