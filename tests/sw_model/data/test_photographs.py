"""Default photographs and images of the user's own."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from cdgate.errors import ImageError
from sw_model.data.photographs import PHOTOGRAPHS, default_images, load_image


def test_all_default_images_are_there_and_differ():
    images = default_images(len(PHOTOGRAPHS))
    assert images[0][0] == "cat"
    assert len({name for name, _ in images}) == len(PHOTOGRAPHS) >= 8
    assert len({hashlib.sha256(image.tobytes()).hexdigest() for _, image in images}) == len(PHOTOGRAPHS)
    for name, image in images:
        assert image.shape == (32, 32, 3) and image.dtype == np.uint8, name
        assert image.std() > 5, name


def test_default_images_count_wrong():
    for count in (0, len(PHOTOGRAPHS) + 1):
        with pytest.raises(ImageError, match=f"must be 1 to {len(PHOTOGRAPHS)}, not {count}"):
            default_images(count)


def test_load_image_crops_the_centre(tmp_path):
    wide = np.zeros((32, 64, 3), np.uint8)
    wide[:, 16:48] = np.random.default_rng(0).integers(0, 256, (32, 32, 3))
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert np.array_equal(load_image(tmp_path / "wide.png"), wide[:, 16:48])


def test_load_image_makes_grey_into_colour(tmp_path):
    Image.fromarray(np.full((40, 40), 7, np.uint8)).save(tmp_path / "grey.png")
    assert np.array_equal(load_image(tmp_path / "grey.png"), np.full((32, 32, 3), 7))


def test_load_image_missing_or_unreadable(tmp_path):
    with pytest.raises(ImageError, match=r"nowhere\.png must be an existing file"):
        load_image(tmp_path / "nowhere.png")
    with pytest.raises(ImageError, match="must be an existing file"):
        load_image(tmp_path)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ImageError, match="must be readable as PNG or JPEG: not an image") as error:
        load_image(tmp_path / "text.png")
    assert "\n" not in str(error.value)
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "cut.png")
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) - 30])
    with pytest.raises(ImageError, match="must be readable"):
        load_image(tmp_path / "cut.png")
