#!/usr/bin/env python3
"""The English text of Debian's Linux documentation, as a corpus to train a language model on.

    apt-get download linux-doc-6.1 && dpkg-deb -x linux-doc-6.1_*.deb doc
    scripts/debian_docs.py doc/usr/share/doc/linux-doc-6.1/Documentation -o CORPUS_DIR         # 25 MB of text
    scripts/debian_docs.py ... -o CORPUS_DIR --vocabulary 8192                                   # and tokens of it

Writes train.txt and test.txt: all .rst and .txt files but translations and those that are another's copy, one in `--test-every` of them, chosen
by the hash of its name, into the test. With --vocabulary (needs the tokenizers and transformers packages) also a byte-level BPE
tokenizer of that size, learnt from the training text alone, in tokenizer/, and the tokens in train.npy and test.npy (uint16).
"""

import argparse
import gzip
import hashlib
from pathlib import Path


def documents(root):
    """(name, text), in the order of names."""
    seen = set()
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root)).removesuffix(".gz")
        if not name.endswith((".rst", ".txt")) or "translations/" in name or not path.is_file():
            continue
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = data.decode("utf-8", "replace")
        if data not in seen and text.strip():
            seen.add(data)
            yield name, text


def in_test(name, every):
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % every == 0


def write_tokens(out, vocabulary, parts):
    import numpy as np
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    end = "<|endoftext|>"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=[end], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  show_progress=False)
    tokenizer.train_from_iterator(parts["train"], trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, bos_token=end, pad_token=end).save_pretrained(out / "tokenizer")
    for part, texts in parts.items():
        tokens = [token for encoding in tokenizer.encode_batch(texts) for token in (0, *encoding.ids)]
        np.save(out / f"{part}.npy", np.array(tokens, np.uint16))
        print(f"{part}.npy: {len(tokens)} tokens")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documentation", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--test-every", type=int, default=25, help="(default: %(default)s)")
    parser.add_argument("--vocabulary", type=int, help="tokens, at most 65536")
    args = parser.parse_args()
    if args.vocabulary is not None and not 300 <= args.vocabulary <= 65536:
        parser.error("--vocabulary needs to be 300 to 65536")
    parts = {"train": [], "test": []}
    for name, text in documents(args.documentation):
        parts["test" if in_test(name, args.test_every) else "train"].append(text)
    if not all(parts.values()):
        parser.error(f"{args.documentation} has too few .rst and .txt files")
    args.output.mkdir(parents=True, exist_ok=True)
    for part, texts in parts.items():
        (args.output / f"{part}.txt").write_text("\n".join(texts), encoding="utf-8")
        print(f"{part}.txt: {len(texts)} files, {sum(map(len, texts))} characters")
    if args.vocabulary is not None:
        write_tokens(args.output, args.vocabulary, parts)


if __name__ == "__main__":
    main()
