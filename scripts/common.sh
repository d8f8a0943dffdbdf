# shellcheck shell=bash disable=SC2034
# Shared by quickstart.sh, test.sh and .ci/run: what to install, and how to say it. Source it, do not run it.

# Names of Debian 12 and 13 and of Ubuntu 24.04. OpenBLAS solves for the pruner, and is the dense library that the benchmarks
# compare with; its OpenMP build shares our threads.
coppice_build_packages="g++ cmake ninja-build libhwy-dev libfmt-dev nlohmann-json3-dev libcli11-dev libopenblas-openmp-dev"
coppice_test_packages="libgtest-dev libgmock-dev"
coppice_python_packages="python3 python3-venv"
coppice_extension_packages="$coppice_python_packages python3-dev"

say() { printf '\n\033[1m==> %s\033[0m\n' "$*" >&2; }
note() { printf '    %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else die "this needs root and there is no sudo; run as root: $*"
  fi
}

# ensure_packages NAME...: installs the system packages that are missing, and says which.
ensure_packages() {
  command -v dpkg-query >/dev/null || die "not a Debian or Ubuntu system; install these by hand: $*"
  local missing=() name
  for name in "$@"; do
    [ "$(dpkg-query -W -f='${Status}' "$name" 2>/dev/null)" = "install ok installed" ] || missing+=("$name")
  done
  if [ ${#missing[@]} -eq 0 ]; then
    note "system packages: all there"
    return
  fi
  note "installing system packages with apt-get: ${missing[*]}"
  as_root apt-get update -qq >/dev/null || die "apt-get update failed (is there a network?)"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    die "apt-get could not install: ${missing[*]}"
}

# ensure_venv DIR: a virtual environment of our own; nothing is installed outside of it.
ensure_venv() {
  [ -x "$1/bin/pip" ] && return
  note "making a Python virtual environment in $1"
  python3 -m venv "$1" || die "python3 -m venv failed; install python3-venv"
}

has_gpu() { command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q '^GPU 0'; }
has_nvcc() { command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ]; }

# The one architecture of the GPU in this machine, as CMake wants it (Hopper's own instructions need 90a).
gpu_architecture() {
  local capability
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d '. ')
  [ "$capability" = 90 ] && capability=90a
  echo "${capability}-real"
}

coppice_jobs=${COPPICE_JOBS:-$(nproc)}
