#!/usr/bin/env bash
# Makes the base model of the demonstration again, from the whole debsum set. Takes an hour and a half on two cores.
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

# 2. The text: the first 24,000 training rows in their order, each as synopsis and description and the other way round.
python3 "$here/make_text.py" "$debsum/train.jsonl.gz" 24000 > "$work/text.jsonl"

# 3. Pretraining: 2,754 steps of 16 windows of 256 tokens at a constant rate, then 850 down to nothing.
pretrain=("$eso" train --method pretrain --data "$work/text.jsonl" --format text --batch-size 16 --weight-decay 0.1
  --adam-beta2 0.95 --learning-rate 2e-3 --epochs 50 --save-every 200 --keep-checkpoints 2 --log-every 20)
"${pretrain[@]}" --model "$work/start" --output "$work/stage1" --schedule constant --warmup-steps 200 --max-steps 2754
"${pretrain[@]}" --model "$work/stage1/model" --output "$work/stage2" --schedule linear --warmup-steps 40 --seed 1 \
  --max-steps 850

# 4. In bfloat16, as it lies in base/.
"$eso" convert --model "$work/stage2/model" --output "$work/base" --precision bfloat16
python3 "$here/validate_base.py" "$eso" "$work/base" "$debsum/validation.jsonl.gz"
