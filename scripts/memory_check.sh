#!/usr/bin/env bash
# Peak anonymous memory and throughput of `coppice prune`, `coppice pack` and both at once (`prune --pack`) on a generated
# 8 GB checkpoint, and beside them what the disk writes. With the pattern `stats`, peak memory of `prune --stats --held-out` on a
# smaller one whose statistics are larger than its weights.
#
#   scripts/memory_check.sh [BUILD_DIR [WORK_DIR [PATTERN...]]]     default: build/cpu, a new directory in /tmp, 2:4 64:2:8 stats
#
# Needs 25 GB of disk in WORK_DIR. A WORK_DIR that holds `model` already is used again and kept; a new one is removed at
# the end. Fails if a command's peak is above 3 x the largest tensor + 200 MB, and with statistics the largest Gram matrix of each
# file.
set -euo pipefail
build=$(realpath "${1:-build/cpu}")
work=${2:-$(mktemp -d /tmp/coppice-memory-XXXXXX)}
patterns=("${@:3}")
[ ${#patterns[@]} -gt 0 ] || patterns=(2:4 64:2:8 stats)
threads=${COPPICE_THREADS:-$(nproc)}
mkdir -p "$work"

[ $# -ge 2 ] || trap 'rm -rf "$work"' EXIT
wants_model() { for pattern in "${patterns[@]}"; do [ "$pattern" = stats ] || return 0; done; return 1; }
if [ ! -d "$work/model" ] && wants_model; then
  "$build"/tests/tools/make_checkpoint "$work/model" --preset llama --layers 10 --hidden 4096 --intermediate 11008 \
    --vocab 8192 --shard-gigabytes 2
fi

# describe MODEL_DIR LARGEST_TENSOR_BYTES [GRAM_BYTES]: what is measured from here on, and its limit.
describe() {
  bytes=$(cat "$1"/*.safetensors | wc -c)
  limit_mb=$(((3 * $2 + ${3:-0} + 200000000) / 1000000))
  echo "$(date +%F), $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs), $threads threads," \
    "$(awk -v b="$bytes" 'BEGIN { printf "%.2f GB", b / 1e9 }') in $(find "$1" -name '*.safetensors' | wc -l) files," \
    "largest tensor $(($2 / 1000000)) MB"
}

# Reading from it waits and starts no process, which would cost the measured command time.
exec {idle}<> <(:)

# measure NAME COMMAND...: runs it, samples its anonymous memory every 20 ms, prints one line.
measure() {
  local name=$1 start end pid key value peak=0 now_kb status=0
  shift
  start=$(date +%s.%N)
  "$@" >"$work/out.txt" &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    now_kb=0
    while read -r key value _; do
      [ "$key" = RssAnon: ] && now_kb=$value && break
    done <"/proc/$pid/status" 2>/dev/null || true
    [ "$now_kb" -gt "$peak" ] && peak=$now_kb
    read -r -t 0.02 -u "$idle" || true
  done
  wait "$pid" || status=$?
  end=$(date +%s.%N)
  [ "$status" -eq 0 ] || { echo "$name: failed with exit code $status"; exit 1; }
  peak=$((peak * 1024 / 1000000))
  awk -v name="$name" -v s="$start" -v e="$end" -v b="$bytes" -v p="$peak" -v l="$limit_mb" 'BEGIN {
    printf "%-22s %6.1f s  %5.0f MB/s of fp32 checkpoint  peak anonymous memory %4d MB (limit %d MB)\n",
           name, e - s, b / 1e6 / (e - s), p, l }'
  [ "$peak" -le "$limit_mb" ] || { echo "$name: too much memory"; exit 1; }
}

# Gram matrices are read one at a time from each file, whatever the size of the files.
with_statistics() {
  local model=$work/stats-model
  if [ ! -d "$model" ]; then
    "$build"/tests/tools/make_checkpoint "$model" --preset llama --layers 2 --hidden 1024 --intermediate 5504 --vocab 1024
    "$build"/tests/tools/make_statistics "$model" "$work/calibration.stats"
    "$build"/tests/tools/make_statistics "$model" "$work/held_out.stats" --held-out
  fi
  describe "$model" $((5504 * 1024 * 4)) $((2 * 8 * 5504 * 5504))
  echo "statistics: 2 files of $(($(stat -c %s "$work/calibration.stats") / 1000000)) MB, largest Gram matrix $((8 * 5504 * 5504 / 1000000)) MB"
  rm -rf "$work/pruned"
  measure "prune 2:4 wanda" "$build"/cli/coppice prune "$model" --pattern 2:4 --method wanda --threads "$threads" --no-time \
    --stats "$work/calibration.stats" --held-out "$work/held_out.stats" -o "$work/pruned"
  rm -rf "$work/pruned"
}
disk_writes() { dd if=/dev/zero of="$work/dd.tmp" bs=16M count=64 conv=fdatasync 2>&1 | awk 'END { print $(NF - 1), $NF }'; }
for pattern in "${patterns[@]}"; do
  if [ "$pattern" = stats ]; then
    with_statistics
    continue
  fi
  describe "$work/model" $((11008 * 4096 * 4))
  echo "dd conv=fdatasync, 1.07 GB: $(disk_writes)"
  rm -f "$work/dd.tmp"
  rm -rf "$work/pruned" "$work/packed"
  measure "prune ${pattern}" "$build"/cli/coppice prune "$work/model" --pattern "$pattern" --threads "$threads" --no-time \
    -o "$work/pruned"
  measure "pack ${pattern}" "$build"/cli/coppice pack "$work/pruned" --threads "$threads" -o "$work/packed"
  rm -rf "$work/pruned" "$work/packed"
  measure "prune --pack ${pattern}" "$build"/cli/coppice prune "$work/model" --pattern "$pattern" --pack --threads "$threads" \
    --no-time -o "$work/packed"
  rm -rf "$work/packed"
done
