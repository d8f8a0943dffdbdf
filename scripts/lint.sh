#!/usr/bin/env bash
# clang-format over the C++ and CUDA sources, shellcheck over the scripts, and the house rules that a grep can hold.
set -euo pipefail
cd "$(dirname "$0")/.."

git ls-files '*.cpp' '*.h' '*.cu' '*.cuh' | xargs -r clang-format --dry-run -Werror
if command -v shellcheck >/dev/null; then
  git ls-files '*.sh' .ci/run | xargs -r shellcheck -x -P SCRIPTDIR -e SC1091
fi

# Inline assembly stays in ptx/ and one CPU lookup file; public headers show no CUDA header.
if git ls-files 'src/*' | grep -v '^src/cuda/ptx/' | xargs -r grep -nE '\basm( volatile)?\(' ; then
  echo "lint: inline assembly outside of src/cuda/ptx" >&2
  exit 1
fi
if grep -rnE '#include <(cuda|cublas)' include; then
  echo "lint: a public header includes a CUDA header" >&2
  exit 1
fi
# In C++20 a range-for does not keep the temporary alive that it takes a part of.
if git ls-files '*.cpp' '*.h' '*.cu' | xargs -r grep -nE 'for \(.* : .*json\(\)(\[|\.)' ; then
  echo "lint: range-for over a part of a temporary; give it a name first" >&2
  exit 1
fi
echo "lint: clean"
