"""scripts/calibrate.py with torch, on tiny random models: its sums against NumPy and autograd, the
files read by the coppice command. Exit code 77 (skipped) where torch or transformers is missing."""

import contextlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

try:
    import numpy as np
    import torch
    import transformers
    from safetensors import safe_open
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
except (ImportError, OSError) as error:
    print(f"skipped: {error}")
    sys.exit(77)

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "calibrate.py"
spec = importlib.util.spec_from_file_location("calibrate", SCRIPT)
calibrate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(calibrate)

WORDS = [f"w{i}" for i in range(40)]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]
LENGTH, SAMPLES = 12, 6


def tokenizer():
    vocabulary = {word: i for i, word in enumerate(SPECIAL + WORDS)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]")


def sizes(**more):
    return dict(vocab_size=len(SPECIAL + WORDS), max_position_embeddings=32, **more)


def bert(kind):
    return kind(transformers.BertConfig(**sizes(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24)))


def gpt2():
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=len(SPECIAL + WORDS), n_positions=32, n_embd=16, n_layer=2, n_head=2))


def llama():
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=24)))


MODELS = {
    "bert": lambda: bert(transformers.BertModel),
    "bert-mlm": lambda: bert(transformers.BertForMaskedLM),
    "gpt2": gpt2,
    "llama": llama,
}


class Run:
    """A model in a directory, calibrated."""

    def __init__(self, directory, name, *options):
        torch.manual_seed(0)
        self.directory, self.path = directory, os.path.join(directory, "model")
        MODELS[name]().save_pretrained(self.path)
        tokenizer().save_pretrained(self.path)
        self.text = os.path.join(directory, "text.txt")
        rng = np.random.default_rng(5)
        Path(self.text).write_text(" ".join(rng.choice(WORDS, 200)))
        self.output = os.path.join(directory, "stats.safetensors")
        self.arguments = ["--model", self.path, "--text", self.text, "--output", self.output,
                          "--samples", str(SAMPLES), "--length", str(LENGTH), *options]
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            calibrate.main(self.arguments)

    def ids(self):
        with contextlib.redirect_stderr(io.StringIO()):
            return calibrate.sequences(calibrate.parse_arguments(self.arguments))

    def tensors(self, path=None):
        with safe_open(path or self.output, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()

    def model(self):
        return calibrate.load_model(calibrate.parse_arguments(self.arguments))

    def shown(self, path=None):
        command = [os.environ["COPPICE"], "statistics", "show", path or self.output, "--check",
                   "--json"]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def inputs_by_hand(model, ids):
    """{module name: fp64 [tokens, cols]} by hooks of this test's own."""
    seen, handles = {}, []
    for name, module in model.named_modules():
        if type(module).__name__ in ("Linear", "Conv1D"):
            def hook(_module, args, _kwargs, name=name):
                seen.setdefault(name, []).append(args[0].detach().double().numpy())
            handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
    with torch.no_grad():
        for window in ids:
            model(input_ids=window[None])
    for handle in handles:
        handle.remove()
    return {name: np.concatenate([x.reshape(-1, x.shape[-1]) for x in parts])
            for name, parts in seen.items()}


def module_name(weight, model):
    name = weight.removesuffix(".weight")
    modules = dict(model.named_modules())
    return name if name in modules else f"{model.base_model_prefix}.{name}"


class TorchTest(unittest.TestCase):
    def test_gram_matrices_are_those_of_the_model(self):
        for name, linears in (("bert", 13), ("bert-mlm", 13), ("gpt2", 8), ("llama", 14)):
            with self.subTest(name), tempfile.TemporaryDirectory() as directory:
                run = Run(directory, name, "--held-out-every", "3")
                ids, model = run.ids(), run.model()
                for path, chosen in ((run.output, [0, 1, 3, 4]),
                                     (calibrate.held_out_path(run.output), [2, 5])):
                    tensors, metadata = run.tensors(path)
                    weights = json.loads(metadata["weights"])
                    self.assertGreaterEqual(len(weights), linears)
                    seen = inputs_by_hand(model, ids[chosen])
                    for weight, shared in weights.items():
                        x = seen[module_name(weight, model)]
                        np.testing.assert_allclose(
                            tensors[shared + ".gram"], x.T @ x, rtol=1e-4, atol=1e-3)
                        self.assertEqual(tensors[shared + ".samples"][0], len(x))
                    self.assertEqual(run.shown(path)["set"],
                                     "held_out" if path != run.output else "calibration")

    def test_layers_fed_by_one_tensor_share_it(self):
        with tempfile.TemporaryDirectory() as directory:
            run = Run(directory, "llama")
            weights = json.loads(run.tensors()[1]["weights"])
            layer = "model.layers.1."
            q, k, v = (weights[f"{layer}self_attn.{p}_proj.weight"] for p in "qkv")
            gate, up = (weights[f"{layer}mlp.{p}_proj.weight"] for p in ("gate", "up"))
            self.assertTrue(q == k == v and gate == up and q != gate)

    def test_every_weight_of_the_checkpoint_is_pruned_by_it(self):
        for name in ("bert", "gpt2", "llama"):
            with self.subTest(name), tempfile.TemporaryDirectory() as directory:
                run = Run(directory, name, "--held-out-every", "3")
                command = [os.environ["COPPICE"], "prune", run.path, "--pattern", "2:4", "--method",
                           "wanda", "--stats", run.output, "--held-out",
                           calibrate.held_out_path(run.output), "--no-time", "--json", "-o",
                           os.path.join(directory, "pruned")]
                shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                for layer in json.loads(shown)["layers"]:
                    self.assertEqual(layer["scored_by"], "wanda")
                    self.assertTrue(0 < layer["error"] < 1 and 0 < layer["held_out_error"] < 1)

    def test_special_tokens_begin_and_end_every_window(self):
        with tempfile.TemporaryDirectory() as directory:
            run = Run(directory, "bert", "--special-tokens")
            ids = run.ids()
            self.assertEqual(tuple(ids.shape), (SAMPLES, LENGTH))
            self.assertTrue((ids[:, 0] == 2).all() and (ids[:, -1] == 3).all())
            self.assertTrue((ids[:, 1:-1] > 4).all())

    def test_fisher_blocks_are_sums_of_gradient_products(self):
        # 5 does not divide 16 or 24: the last block of a row is filled up.
        for name, loss in (("bert", "embedding"), ("bert-mlm", "masked-lm"), ("gpt2", "lm"),
                           ("llama", "lm"), ("llama", "embedding")):
            with self.subTest(name + " " + loss), tempfile.TemporaryDirectory() as directory:
                run = Run(directory, name, "--fisher", "5", "--loss", loss, "--seed", "3",
                          "--held-out-every", "3")
                tensors, metadata = run.tensors()
                model = run.model()
                mask = torch.tensor(4)
                generator = torch.Generator().manual_seed(3)
                gradients = {}
                for window in run.ids()[[0, 1, 3, 4]]:
                    model.zero_grad()
                    calibrate.loss_of(model, window[None], loss, generator, mask).backward()
                    for weight in json.loads(metadata["weights"]):
                        module = dict(model.named_modules())[module_name(weight, model)]
                        grad = module.weight.grad
                        grad = torch.zeros_like(module.weight) if grad is None else grad
                        grad = grad.T if type(module).__name__ == "Conv1D" else grad
                        gradients.setdefault(weight, []).append(grad.double().numpy().copy())
                nonzero = sum(np.abs(parts).max() > 0 for parts in gradients.values())
                self.assertGreaterEqual(nonzero, len(gradients) - 1)  # a head or pooler beside it
                for weight, parts in gradients.items():
                    rows, cols = parts[0].shape
                    blocks = -(-cols // 5)
                    want = np.zeros((rows, blocks, 5, 5))
                    for b in range(blocks):
                        for g in parts:
                            piece = g[:, 5 * b : 5 * b + 5]
                            size = piece.shape[1]
                            want[:, b, :size, :size] += np.einsum("ri,rj->rij", piece, piece)
                    np.testing.assert_allclose(
                        tensors[weight + ".fisher"], want.reshape(-1, 5, 5), rtol=1e-6, atol=1e-20)
                    self.assertEqual(tensors[weight + ".fisher_samples"][0], 4)
                held_out = run.tensors(calibrate.held_out_path(run.output))[0]
                self.assertFalse(any(name.endswith(".fisher") for name in held_out))
                run.shown()

    def test_the_loss_fits_the_class_of_the_model(self):
        for name, loss in (("bert", "embedding"), ("bert-mlm", "masked-lm"), ("gpt2", "lm"),
                           ("llama", "lm")):
            self.assertEqual(calibrate.pick_loss(MODELS[name](), "auto"), loss)

    def test_errors_are_one_line(self):
        with tempfile.TemporaryDirectory() as directory:
            run = Run(directory, "bert")
            for options, message in ((["--length", "33"], "takes 32 tokens at most"),
                                     (["--samples", "100"], "enough for 16 samples"),
                                     (["--only", "nothing*"], "no linear layer matches"),
                                     (["--fisher", "4", "--loss", "lm"],
                                      "a BertModel has no head for words")):
                with self.assertRaises(SystemExit) as raised, \
                        contextlib.redirect_stderr(io.StringIO()):
                    calibrate.main(run.arguments + options)
                self.assertIn(message, str(raised.exception))


if __name__ == "__main__":
    unittest.main()
