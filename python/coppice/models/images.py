"""Images of files, as a model's directory says that it takes them. Needs Pillow."""

from pathlib import Path

import transformers

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm")


def image_files(folder):
    """In the folder and those in it, by name."""
    return sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES)


def processor_of(model_dir):
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise ValueError("images are read by Pillow, which is not installed; pip install pillow") from None
    return transformers.AutoImageProcessor.from_pretrained(model_dir)


def pixels_of(processor, files):
    """[images, channels, height, width]"""
    from PIL import Image

    images = []
    for file in files:
        with Image.open(file) as image:
            images.append(image.convert("RGB"))
    return processor(images=images, return_tensors="pt")["pixel_values"]
