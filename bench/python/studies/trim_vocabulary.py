"""A copy of an encoder in fp16 without the tokens that a study's texts do not have: about two thirds of the bytes, the same numbers.

    python bench/python/studies/trim_vocabulary.py MODEL_DIR DATA_DIR -o OUT_DIR      # DATA_DIR: *.jsonl with query and document

WordPiece takes the longest token that fits, so removing tokens that were never taken changes nothing about these texts; the script checks
every text.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
import transformers


def texts_of(data):
    rows = [json.loads(line) for path in sorted(data.glob("*.jsonl")) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row[key] for row in rows for key in ("query", "document")]


def renumbered(node, numbers, key=None):
    """tokenizer.json with the ids of special tokens renamed, wherever they stand."""
    if isinstance(node, dict):
        return {name: renumbered(value, numbers, name) for name, value in node.items()}
    if isinstance(node, list):
        if len(node) == 2 and isinstance(node[0], str) and isinstance(node[1], int):  # ["[SEP]", 102]
            return [node[0], numbers[node[1]]]
        return [numbers[value] if key == "ids" else renumbered(value, numbers) for value in node]
    return numbers[node] if key in ("pad_id",) or (key == "id" and isinstance(node, int)) else node


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
    before = tokenizer(texts_of(args.data), add_special_tokens=True)["input_ids"]
    kept = sorted({token for ids in before for token in ids} | set(tokenizer.all_special_ids))
    numbers = {old: new for new, old in enumerate(kept)}
    model = transformers.AutoModel.from_pretrained(args.model, dtype=torch.float16)
    embedding = model.get_input_embeddings()
    model.set_input_embeddings(torch.nn.Embedding.from_pretrained(embedding.weight[kept], padding_idx=numbers[tokenizer.pad_token_id]))
    model.config.vocab_size, model.config.pad_token_id = len(kept), numbers[tokenizer.pad_token_id]
    model.save_pretrained(args.output)
    parts = json.loads((args.model / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = {token: numbers[old] for token, old in parts["model"].pop("vocab").items() if old in numbers}
    parts = renumbered(parts, numbers)
    parts["model"]["vocab"] = vocabulary
    (args.output / "tokenizer.json").write_text(json.dumps(parts, ensure_ascii=False), encoding="utf-8")
    config = args.model / "tokenizer_config.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    settings.pop("added_tokens_decoder", None)
    (args.output / config.name).write_text(json.dumps(settings), encoding="utf-8")
    if (args.model / "1_Pooling").is_dir():
        shutil.copytree(args.model / "1_Pooling", args.output / "1_Pooling", dirs_exist_ok=True)
    after = transformers.AutoTokenizer.from_pretrained(args.output)(texts_of(args.data), add_special_tokens=True)["input_ids"]
    if after != [[numbers[token] for token in ids] for ids in before]:
        raise SystemExit("the trimmed tokenizer gives other tokens")
    print(f"{len(kept)} of {len(tokenizer)} tokens kept")


if __name__ == "__main__":
    main()
