#!/usr/bin/env bash
# Makes the base model of the demonstration again, from the whole debsum set. Takes hours on two cores.
#
#   examples/debsum/make_base.sh DEBSUM_DIR WORK_DIR
#
# DEBSUM_DIR holds train.jsonl.gz and validation.jsonl.gz (rebuild_from_apt.py makes such a set). Needs the program
# (scripts/build) and, for the tokenizer alone, Python with PyPI's `tokenizers`.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
eso=$here/../../build/release/bin/eso
debsum=$1 work=$2
mkdir -p "$work/start"

# 1. The tokenizer: byte-level BPE of 4,096 on the training documents and summaries.
python3 "$here/train_tokenizer.py" "$debsum/train.jsonl.gz" "$work/start"
cp "$here/base/config.json" "$work/start/"

# 2. The text: synopsis, line break, description, of the first 24,000 training rows in their order.
python3 "$here/make_text.py" "$debsum/train.jsonl.gz" 24000 > "$work/text.jsonl"

# 3. Pretraining at a constant rate, then down to nothing.
pretrain=("$eso" train --method pretrain --data "$work/text.jsonl" --format text --batch-size 8 --weight-decay 0.1
  --adam-beta2 0.95 --save-every 250 --keep-checkpoints 2 --log-every 10)
"${pretrain[@]}" --model "$work/start" --output "$work/stage1" --learning-rate 2e-3 --schedule constant --warmup-steps 200 \
  --epochs 20 --max-steps 1334
"${pretrain[@]}" --model "$work/stage1/model" --output "$work/stage2" --learning-rate 2e-3 --schedule linear --seed 1 \
  --epochs 20 --max-steps 250

# 4. In bfloat16, as it lies in base/.
"$eso" convert --model "$work/stage2/model" --output "$work/base" --precision bfloat16
