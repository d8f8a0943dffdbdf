#!/usr/bin/env bash
# Installs a wheel into a clean virtual environment outside of the tree and runs the tests of the Python package there that need no PyTorch.
#
#   scripts/check_wheel.sh WHEEL         made by scripts/build_wheel.sh
#
# Needs no GPU. Checks also that the module takes its libraries from the wheel, and that it imports where there is no driver.
set -euo pipefail
wheel=$(realpath "${1:?usage: scripts/check_wheel.sh WHEEL}")
cd "$(dirname "$0")/.."
. scripts/common.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "$wheel" pytest hypothesis
cp -r tests/python "$work/tests"
rm -f "$work"/tests/torch_*
cp pyproject.toml "$work"
cd "$work"
env -u PYTHONPATH -u LD_LIBRARY_PATH "$work/venv/bin/python" - <<'CODE'
import sys

import coppice
import numpy
from coppice import _core

weight = numpy.eye(64, dtype="float32")
coppice.obs_prune(weight, "2:4", weight.astype("float64"))  # loads LAPACK
with open("/proc/self/maps") as maps:
    libraries = {line.split()[-1] for line in maps if ".so" in line and line.split()[-1].startswith("/")}
own = sorted(path for path in libraries if any(name in path for name in ("coppice", "hwy", "fmt", "gomp", "gfortran")))
foreign = [path for path in own if not path.startswith(sys.prefix)]
assert not foreign, f"not from the wheel: {foreign}"
assert not any("libcuda" in path for path in libraries) or _core.cuda_device_count() > 0
print(f"coppice {coppice.__version__}: CUDA kernels {_core.has_cuda}, "
      f"{_core.cuda_device_count() if _core.has_cuda else 0} GPUs here, {len(own)} libraries of its own")
CODE
env -u PYTHONPATH -u LD_LIBRARY_PATH "$work/venv/bin/python" -m pytest tests --rootdir="$work"
echo "wheel: works"
