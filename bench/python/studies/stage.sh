#!/usr/bin/env bash
# One stage of the training studies on a machine with a GPU; each takes at most about 8 minutes, and the next call goes on where this one stopped.
#
#   stage.sh probe|step|gpt|grid|minilm|recovery PACK_DIR WORK_DIR [options of gpt.py and minilm.py]
#
#   probe      every way of gpt.py and minilm.py for a few steps: seconds of each run, from which the others' time follows
#   step       training_step.py: compressed against dense
#   gpt, grid  gpt.py on PACK_DIR/corpus: all patterns and ways, then OBS and gradual-mag at other (V, M)
#   minilm     minilm.py on PACK_DIR/minilm: pruned at once; recovery: trained after it
#
# PACK_DIR is what pack.sh made, WORK_DIR keeps results between calls. Where OUT is set, results (tables, logs, no weights) are put into
# $OUT/results.tgz; a results.tgz that lies in PACK_DIR is unpacked first, so that another machine goes on.
# SECONDS_EACH (450), PROCESSES (12) and PYTHON (python3) can be set.
set -euo pipefail
stage=${1:?stage} pack=$(realpath "${2:?PACK_DIR}") work=${3:?WORK_DIR}
more=("${@:4}")
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
seconds=${SECONDS_EACH:-450} processes=${PROCESSES:-12}
mkdir -p "$work"
if [ -f "$pack/results.tgz" ] && [ ! -f "$work/.unpacked" ]; then tar xzf "$pack/results.tgz" -C "$work"; touch "$work/.unpacked"; fi
if ls "$pack"/coppice-*.whl >/dev/null 2>&1; then
  [ -d "$work/site" ] || "$python" -m pip install -q --no-deps --no-index --target "$work/site" "$pack"/*.whl
  export PYTHONPATH="$work/site${PYTHONPATH:+:$PYTHONPATH}"
fi
# Processes share the cores: threads of BLAS that spin would take them from each other.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive} OPENBLAS_NUM_THREADS=${OPENBLAS_NUM_THREADS:-1} TOKENIZERS_PARALLELISM=false
common=(--device "${DEVICE:-cuda}" --dtype "${DTYPE:-bfloat16}" --processes "$processes" --seconds "$seconds")

study() { "$python" "$here/$1.py" "$pack/$2" -o "$work/$3" "${common[@]}" "${@:4}" "${more[@]}" || echo "$1: some runs failed"; }

begin=$SECONDS
case $stage in
  probe)
    study gpt corpus probe-gpt --steps 40 --seeds 0 --only dense,64-2-8
    study minilm minilm probe-minilm --steps 40 --seeds 0 --only 64-2-8
    cat "$work"/probe-*/results.csv
    ;;
  step) "$python" "$here/../training_step.py" --device "${DEVICE:-cuda}" --dtype "${DTYPE:-bfloat16}" --hidden 1024,4096 --tokens 8x512,32x512 \
    --pattern 2:4,64:2:8,128:2:8,128:2:16 --csv "$work/step.csv" ;;
  gpt) study gpt corpus gpt ;;
  grid) study gpt corpus gpt --grid ;;
  minilm) study minilm minilm minilm --only once ;;
  recovery) study minilm minilm minilm --grid ;;
  *) echo "unknown stage $stage" >&2; exit 2 ;;
esac
echo "stage $stage: $((SECONDS - begin)) s"
if [ -n "${OUT:-}" ]; then
  (cd "$work" && find . \( -name '*.json' -path '*/results/*' -o -name 'results.csv' -o -name 'log.csv' -o -name 'step.csv' \) -print0 |
    tar czf "$OUT/results.tgz" --null -T -)
fi
