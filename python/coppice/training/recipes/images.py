"""Image classification on folders of images."""

import json

import numpy as np
import torch
import transformers

from ...models.images import image_files
from .base import Outputs, Recipe


class Folder:
    """A folder with one folder of images a class."""

    def __init__(self, root, classes, size, mean, std, training):
        self.size, self.training = size, training
        self.mean, self.std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
        self.images = [(path, label) for label, name in enumerate(classes) for path in image_files(root / name)]
        if not self.images:
            raise ValueError(f"'{root}' has no images in folders named by class")

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        from PIL import Image

        path, label = self.images[i]
        with Image.open(path) as image:
            image = image.convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR, box=self._box(*image.size))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        if self.training and torch.rand(()) < 0.5:
            pixels = pixels.flip(2)
        return {"pixel_values": (pixels - self.mean) / self.std, "label": label}

    def _box(self, width, height):
        """What of the image is looked at: training takes a random part, a third of it at least; else the largest square in its middle."""
        if not self.training:
            side = min(width, height)
            left, top = (width - side) / 2, (height - side) / 2
            return left, top, left + side, top + side
        area, stretch, x, y = torch.rand(4).tolist()
        area, stretch = (0.33 + 0.67 * area) * width * height, (3 / 4) ** (1 - 2 * stretch)
        wide, high = min(width, (area * stretch) ** 0.5), min(height, (area / stretch) ** 0.5)
        return x * (width - wide), y * (height - high), x * (width - wide) + wide, y * (height - high) + high


class Images(Recipe):
    """train/CLASS/IMAGE and val/CLASS/IMAGE. The measure is accuracy."""

    def __init__(self, model_dir, data_dir, length=None, seed=0):
        super().__init__(model_dir, data_dir, length, seed)
        self.classes = sorted(path.name for path in (self.data / "train").glob("*") if path.is_dir())
        if not self.classes:
            raise ValueError(f"'{self.data}' has no folders train/CLASS")
        size = transformers.AutoConfig.from_pretrained(model_dir).image_size
        path = self.model_dir / "preprocessor_config.json"
        given = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        looks = given.get("image_mean", [0.5] * 3), given.get("image_std", [0.5] * 3)
        self.dataset = Folder(self.data / "train", self.classes, size, *looks, training=True)
        self.held_out = Folder(self.data / "val", self.classes, size, *looks, training=False)

    def loader(self):
        return transformers.AutoModelForImageClassification

    def changes(self):
        labels = dict(enumerate(self.classes))
        return {"id2label": labels, "label2id": {name: i for i, name in labels.items()}, "ignore_mismatched_sizes": True}

    def outputs(self, model, batch):
        logits = model(pixel_values=batch["pixel_values"]).logits
        return Outputs(torch.nn.functional.cross_entropy(logits.float(), batch["label"]), [logits])

    def evaluate(self, model, size=64):
        right = 0
        for first in range(0, len(self.held_out), size):
            batch = self.collate([self.held_out[i] for i in range(first, min(first + size, len(self.held_out)))])
            right += int((model(pixel_values=batch["pixel_values"].to(model.device)).logits.argmax(-1).cpu() == batch["label"]).sum())
        return {"accuracy": right / len(self.held_out)}
