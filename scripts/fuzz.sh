#!/usr/bin/env bash
# Runs every fuzzer for a while, as many at a time as there are jobs; a finding makes it fail.
#
#   scripts/fuzz.sh [SECONDS]    seconds for each (default 600)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
seconds=${1:-600}
cmake --preset fuzz >/dev/null
cmake --build build/fuzz --target fuzzers -j "$coppice_jobs" >/dev/null

fuzz_one() {
  local fuzzer=$1 name corpus
  name=$(basename "$fuzzer")
  corpus=build/fuzz/corpus/$name
  mkdir -p "$corpus"
  "$fuzzer" -max_total_time="$seconds" -rss_limit_mb=4096 -timeout=20 -max_len=65536 -print_final_stats=1 \
    -artifact_prefix=build/fuzz/ "$corpus" >"$fuzzer.log" 2>&1 || { tail -n 40 "$fuzzer.log"; die "$name found something"; }
  # Such as: #4096 DONE cov: 211 ft: 567 corp: 89/12Kb ... (branches, features, inputs kept)
  echo "$name, $seconds s: $(grep -oE '#[0-9]+\s+DONE.*' "$fuzzer.log" | tr '\t' ' ')"
}

found=0 failed=0 running=0
for fuzzer in build/fuzz/fuzz/*_fuzzer; do
  found=$((found + 1))
  if [ "$running" -ge "$coppice_jobs" ]; then wait -n || failed=1; else running=$((running + 1)); fi
  fuzz_one "$fuzzer" &
done
while [ "$running" -gt 0 ]; do
  wait -n || failed=1
  running=$((running - 1))
done
[ "$found" -ge 5 ] || die "expected five fuzzers, found $found"
exit "$failed"
