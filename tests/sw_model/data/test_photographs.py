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


RAMP = np.linspace(0, 65535, 32 * 32).reshape(32, 32)


def pgm(path, values, most):
    path.write_bytes(f"P5 32 32 {most}\n".encode() + values.astype(">u2").tobytes())


def test_sixteen_bit_grey_is_scaled_to_eight(tmp_path):
    """Whatever the format and the order of the bytes, values differ from the exact ones by half a code at most."""
    deep = RAMP.round().astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    Image.fromarray(deep).save(tmp_path / "b.tif")
    Image.fromarray(deep.astype(">u2")).save(tmp_path / "c.tif")
    pgm(tmp_path / "d.pgm", deep, 65535)
    for path in sorted(tmp_path.iterdir()):
        assert np.abs(load_image(path)[..., 0] - RAMP / 257).max() < 0.51, path.name
    pgm(tmp_path / "e.pgm", deep >> 6, 1023)
    assert np.abs(load_image(tmp_path / "e.pgm")[..., 2] - RAMP / 257).max() < 0.8


def test_values_without_a_known_range_are_refused(tmp_path):
    Image.fromarray(RAMP.astype(np.int32)).save(tmp_path / "whole.tif")
    Image.fromarray((RAMP / 65535).astype(np.float32)).save(tmp_path / "real.tif")
    for name, mode in (("whole", "I"), ("real", "F")):
        with pytest.raises(ImageError, match=rf"{name}\.tif must be .*: its values, of mode {mode}, must be of 8 bits"):
            load_image(tmp_path / f"{name}.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_the_camera_noted(tmp_path, orientation):
    upright = np.zeros((32, 32, 3), np.uint8)
    upright[:16, :16] = 255, 0, 0
    upright[:16, 16:] = 0, 255, 0
    # What a camera stores that wants the picture turned so, by the tag's definition.
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.swapaxes(0, 1),
        6: np.rot90(upright), 7: upright[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("x.png", "x.tif"):
        Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / name, exif=exif)
        assert np.array_equal(load_image(tmp_path / name), upright), name


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_modes_of_eight_bits(tmp_path, mode):
    suffix = "tif" if mode in ("CMYK", "YCbCr") else "png"
    Image.new("RGB", (32, 32), (255, 255, 255)).convert(mode).save(tmp_path / f"x.{suffix}")
    assert load_image(tmp_path / f"x.{suffix}").min() >= 253
