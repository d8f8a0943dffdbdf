#!/usr/bin/env bash
# Runs every fuzzer for a while; a finding makes it fail.
#
#   scripts/fuzz.sh [SECONDS]    seconds for each (default 600)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
seconds=${1:-600}
cmake --preset fuzz >/dev/null
cmake --build build/fuzz --target fuzzers -j "$coppice_jobs" >/dev/null
found=0
for fuzzer in build/fuzz/fuzz/*_fuzzer; do
  found=$((found + 1))
  corpus=build/fuzz/corpus/$(basename "$fuzzer")
  mkdir -p "$corpus"
  echo "$(basename "$fuzzer"): $seconds s"
  "$fuzzer" -max_total_time="$seconds" -rss_limit_mb=4096 -timeout=20 -max_len=65536 -print_final_stats=1 \
    -artifact_prefix=build/fuzz/ "$corpus" >"$fuzzer.log" 2>&1 || { tail -n 40 "$fuzzer.log"; die "$(basename "$fuzzer") found something"; }
  # Such as: #4096 DONE cov: 211 ft: 567 corp: 89/12Kb ... (branches, features, inputs kept)
  grep -oE '#[0-9]+\s+DONE.*' "$fuzzer.log" | tr '\t' ' '
done
[ "$found" -ge 4 ] || die "expected four fuzzers, found $found"
