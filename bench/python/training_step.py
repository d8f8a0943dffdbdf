"""Times of a training step (forward, backward, AdamW) with weights that are compressed, against the same step with dense ones.

    python bench/python/training_step.py [--device cuda] [--dtype bfloat16] [--hidden 768,...] [--blocks N] [--tokens BATCHxLENGTH,...]
                                         [--pattern P,...] [--repeats N] [--threads N] [--csv FILE]

Of BERT's blocks with random weights, four times as wide inside, one head for 64 features; the loss is the mean square of the last hidden
states. Only the linear layers of the blocks are compressed. Dense and compressed steps take turns. With --threads 1 on the CPU times are of the
processor, not of the clock, so that other work on the machine does not count.
"""

import argparse
import csv
import platform

import torch
import transformers

from coppice.training.speed import compare_steps

FIELDS = ("hidden", "blocks", "batch", "length", "pattern", "dtype", "dense_ms", "sparse_ms", "speedup", "machine", "threads")


def make_model(hidden, blocks, length, device):
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=1000, hidden_size=hidden, num_hidden_layers=blocks, num_attention_heads=max(1, hidden // 64),
                                     intermediate_size=4 * hidden, max_position_embeddings=length)
    return transformers.BertModel(config, add_pooling_layer=False).to(device)


def measure(hidden, blocks, batch, length, pattern, args):
    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    model = make_model(hidden, blocks, length, device)
    ids = torch.randint(1000, (batch, length), generator=torch.Generator().manual_seed(1)).to(device)

    def loss(model, inputs):
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return model(input_ids=inputs["ids"]).last_hidden_state.float().square().mean()

    found = compare_steps(model, pattern, loss, {"ids": ids}, args.repeats)
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    times = {name: f"{found[name]:.3f}" for name in ("dense_ms", "sparse_ms", "speedup")}
    return dict(hidden=hidden, blocks=blocks, batch=batch, length=length, pattern=pattern, dtype=args.dtype, machine=machine,
                threads=torch.get_num_threads(), **times)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--device", default="cpu")
    add("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    add("--hidden", default="768")
    add("--blocks", type=int, default=2)
    add("--tokens", default="8x128")
    add("--pattern", default="2:4,64:2:8,vw32/8:32")
    add("--repeats", type=int, default=10)
    add("--threads", type=int)
    add("--csv")
    return parser.parse_args()


def main():
    args, rows = parse_arguments(), []
    if args.threads:
        torch.set_num_threads(args.threads)
    for hidden in map(int, args.hidden.split(",")):
        for tokens in args.tokens.split(","):
            batch, length = map(int, tokens.split("x"))
            for pattern in args.pattern.split(","):
                row = measure(hidden, args.blocks, batch, length, pattern, args)
                print(f"{row['hidden']} wide, {batch} x {length} tokens, {pattern}: dense {row['dense_ms']} ms, compressed {row['sparse_ms']} ms: "
                      f"{row['speedup']} x", flush=True)
                rows.append(row)
                if args.csv:
                    write(args.csv, rows)


def write(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
