"""scripts/calibrate.py without torch: hooks and sums on NumPy stand-ins for modules, the file it
writes read by the coppice command. Exit code 77 (skipped) where NumPy or safetensors is missing."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

try:
    import numpy as np
    from safetensors import safe_open
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "calibrate.py"
spec = importlib.util.spec_from_file_location("calibrate", SCRIPT)
calibrate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(calibrate)


class Linear:
    """As much of torch.nn.Linear as the hooks see."""

    def __init__(self, rng, rows, cols):
        self.weight = rng.standard_normal((rows, cols)).astype(np.float32)
        self.hooks = []

    def register_forward_pre_hook(self, hook, with_kwargs):
        assert with_kwargs
        self.hooks.append(hook)
        return self

    def remove(self):
        self.hooks.clear()

    def __call__(self, *args, **kwargs):
        for hook in self.hooks:
            hook(self, args, kwargs)
        return (args[0] if args else kwargs["input"]) @ self.weight.T


class Block:
    """q, k and v of one tensor, o of another, up of a third given by keyword."""

    def __init__(self, seed=0, width=12):
        rng = np.random.default_rng(seed)
        self.layers = {name: Linear(rng, width, width) for name in "qkvo"}
        self.layers["up"] = Linear(rng, 5, width)
        self.inputs = {}

    def modules(self):
        return {f"{name}.weight": (m, m.weight.shape[1]) for name, m in self.layers.items()}

    def __call__(self, x):
        q, k, v = (self.layers[name](x) for name in "qkv")
        hidden = np.tanh(q + k) * v
        self.layers["up"](input=self.layers["o"](hidden))
        for name, value in (("q", x), ("o", hidden), ("up", hidden @ self.layers["o"].weight.T)):
            self.inputs.setdefault(name, []).append(value.reshape(-1, value.shape[-1]))


def gatherer_of(modules, **options):
    rows = lambda x, cols: x.reshape(-1, cols).astype(np.float32)
    return calibrate.Gatherer(modules, rows, lambda shape: np.zeros(shape), **options)


def run(block, gatherer, samples=6, held_out_every=3, length=700):
    rng = np.random.default_rng(7)
    for i in range(samples):
        gatherer.begin(calibrate.set_of(i, held_out_every))
        block(rng.standard_normal((1, length, 12)).astype(np.float32))
    gatherer.check()


class GathererTest(unittest.TestCase):
    def test_layers_fed_by_one_tensor_share_its_sums(self):
        block = Block()
        gatherer = gatherer_of(block.modules())
        run(block, gatherer)
        self.assertEqual(
            gatherer.weights(),
            {"q.weight": "q.weight.input", "k.weight": "q.weight.input",
             "v.weight": "q.weight.input", "o.weight": "o.weight.input",
             "up.weight": "up.weight.input"},
        )
        self.assertEqual(set(gatherer.sums["held_out"]), {"q.weight", "o.weight", "up.weight"})

    def test_sums_are_those_of_the_samples_of_each_set(self):
        block = Block()
        gatherer = gatherer_of(block.modules())
        run(block, gatherer)
        for name, batches in block.inputs.items():
            for which, chosen in (("calibration", (0, 1, 3, 4)), ("held_out", (2, 5))):
                x = np.concatenate([batches[i] for i in chosen]).astype(np.float64)
                sums = gatherer.sums[which][f"{name}.weight"]
                self.assertEqual(sums.samples, 700 * len(chosen))
                np.testing.assert_allclose(sums.gram, x.T @ x, rtol=1e-4, atol=1e-2)

    def test_norms_only_and_no_sharing(self):
        block = Block()
        gatherer = gatherer_of(block.modules(), with_gram=False, sharing=False)
        run(block, gatherer, held_out_every=0)
        sums = gatherer.sums["calibration"]
        self.assertEqual(len(sums), 5)
        x = np.concatenate(block.inputs["q"]).astype(np.float64)
        np.testing.assert_allclose(sums["k.weight"].square_sums, (x * x).sum(0), rtol=1e-5)

    def test_removed_hooks_do_nothing(self):
        block = Block()
        gatherer = gatherer_of(block.modules())
        gatherer.remove()
        run(block, gatherer)
        self.assertEqual(gatherer.sums["calibration"], {})

    def test_an_equal_copy_is_not_shared(self):
        rng = np.random.default_rng(1)
        layers = {"a": (Linear(rng, 2, 3), 3), "b": (Linear(rng, 2, 3), 3)}
        gatherer = gatherer_of(layers)
        gatherer.begin("calibration")
        x = np.ones((4, 3), np.float32)
        layers["a"][0](x)
        layers["b"][0](x.copy())
        self.assertEqual(gatherer.leader, {"a": "a", "b": "b"})

    def test_sharing_that_changes_is_an_error(self):
        rng = np.random.default_rng(1)
        layers = {"a": (Linear(rng, 2, 3), 3), "b": (Linear(rng, 2, 3), 3)}
        gatherer = gatherer_of(layers)
        x = np.ones((4, 3), np.float32)
        gatherer.begin("calibration")
        layers["a"][0](x)
        layers["b"][0](x)
        gatherer.begin("calibration")
        layers["a"][0](x)
        with self.assertRaisesRegex(RuntimeError, "--no-sharing"):
            layers["b"][0](x.copy())
        with self.assertRaisesRegex(RuntimeError, "--no-sharing"):
            gatherer.calls["a"] += 1
            gatherer.check()


class FileTest(unittest.TestCase):
    def write(self, directory, **options):
        block = Block()
        gatherer = gatherer_of(block.modules(), **options)
        run(block, gatherer)
        for which in ("calibration", "held_out"):
            calibrate.write(os.path.join(directory, which), which, gatherer)
        return gatherer

    def test_the_command_reads_it(self):
        for options in ({}, {"with_gram": False}, {"sharing": False}):
            with tempfile.TemporaryDirectory() as directory:
                gatherer = self.write(directory, **options)
                self.assertEqual(sorted(os.listdir(directory)), ["calibration", "held_out"])
                for which in ("calibration", "held_out"):
                    path = os.path.join(directory, which)
                    shown = subprocess.run(
                        [os.environ["COPPICE"], "statistics", "show", path, "--check", "--json"],
                        check=True, capture_output=True, text=True)
                    document = json.loads(shown.stdout)
                    self.assertEqual(document["set"], which)
                    inputs = {i["name"]: i for i in document["inputs"]}
                    self.assertEqual(len(inputs), len(gatherer.sums[which]))
                    samples = gatherer.sums[which]["q.weight"].samples
                    self.assertEqual(inputs["q.weight.input"]["samples"], samples)
                    shared = options.get("sharing", True)
                    self.assertEqual(len(inputs["q.weight.input"]["weights"]), 3 if shared else 1)

    def test_numbers_are_stored_as_they_are(self):
        with tempfile.TemporaryDirectory() as directory:
            gatherer = self.write(directory)
            with safe_open(os.path.join(directory, "calibration"), framework="numpy") as file:
                gram = file.get_tensor("o.weight.input.gram")
                want = gatherer.sums["calibration"]["o.weight"].gram
                np.testing.assert_allclose(gram, want, rtol=1e-5, atol=1e-3)
                np.testing.assert_array_equal(gram, gram.T)

    def test_activations_that_are_no_numbers_are_an_error(self):
        with tempfile.TemporaryDirectory() as directory:
            block = Block()
            gatherer = gatherer_of(block.modules())
            gatherer.begin("calibration")
            block(np.full((1, 3, 12), np.nan, np.float32))
            with self.assertRaisesRegex(RuntimeError, "o.weight. is not a number"):
                calibrate.write(os.path.join(directory, "x"), "calibration", gatherer)
            self.assertEqual(os.listdir(directory), [])


class ArgumentsTest(unittest.TestCase):
    def test_windows_do_not_overlap(self):
        starts = calibrate.windows(1000, 9, 100)
        self.assertTrue(all(b - a >= 100 for a, b in zip(starts, starts[1:] + [1000])))
        with self.assertRaisesRegex(ValueError, "enough for 9 samples"):
            calibrate.windows(999, 10, 100)

    def test_stored_names(self):
        stored = {"bert.a.weight", "b.weight"}
        self.assertEqual(calibrate.stored_name("a.weight", "bert", stored), "bert.a.weight")
        self.assertEqual(calibrate.stored_name("bert.b.weight", "bert", stored), "b.weight")
        self.assertIsNone(calibrate.stored_name("c.weight", "bert", stored))

    def test_paths_and_sets(self):
        self.assertEqual(calibrate.held_out_path("a/s.safetensors"), "a/s.held_out.safetensors")
        sets = [calibrate.set_of(i, 4) for i in range(8)]
        self.assertEqual([i for i, s in enumerate(sets) if s == "held_out"], [3, 7])
        self.assertEqual(calibrate.set_of(5, 0), "calibration")


if __name__ == "__main__":
    unittest.main()
