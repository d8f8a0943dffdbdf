#!/usr/bin/env bash
# What the training studies need on a machine without a network, in one directory: wheels, these scripts and the data.
#
#   pack.sh OUT_DIR WHEEL_DIR CORPUS_DIR [MINILM_DIR]
#
# WHEEL_DIR: what scripts/build_wheel.sh made for the other machine's Python (COPPICE_CUDA=OFF makes a small one: masks are chosen by PyTorch
# there), and wheels of what it lacks, such as ml_dtypes.
# CORPUS_DIR: of scripts/debian_docs.py --vocabulary. MINILM_DIR: model/ (trim_vocabulary.py makes a small one), train.jsonl and test.jsonl. Writes
# OUT_DIR/pack.txz (scripts, wheels, corpus) and OUT_DIR/minilm.txz; there: mkdir p && tar xJf pack.txz -C p && p/studies/stage.sh gpt p w.
set -euo pipefail
out=${1:?OUT_DIR} wheels=${2:?WHEEL_DIR} corpus=${3:?CORPUS_DIR} minilm=${4:-}
here=$(cd "$(dirname "$0")" && pwd)
staged=$(mktemp -d)
trap 'rm -rf "$staged"' EXIT
mkdir -p "$out" "$staged/corpus"
cp -r "$here" "$staged/studies"
cp "$here/../training_step.py" "$staged/"
cp "$wheels"/*.whl "$staged/"
cp "$corpus"/train.npy "$corpus"/test.npy "$staged/corpus/"
rm -rf "$staged/studies/__pycache__"
tar c -C "$staged" . | xz -T1 -3 >"$out/pack.txz"
if [ -n "$minilm" ]; then tar c -C "$(dirname "$(realpath "$minilm")")" --transform "s,^$(basename "$minilm"),minilm," "$(basename "$minilm")" | xz -T1 -3 >"$out/minilm.txz"; fi
ls -l "$out"
