"""Loading both forms of CIFAR-10, and the order of the batches."""

import io
import pickle
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from sw_model.data import DataError, batch_indices, data_set_name, load_cifar10, step_generator


def write_batches(folder, rng):
    folder.mkdir()
    images = rng.integers(0, 256, (6, 2, 32, 32, 3), dtype=np.uint8)
    for i, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
        rows = images[i].transpose(0, 3, 1, 2).reshape(2, 3072)
        (folder / name).write_bytes(pickle.dumps({b"data": rows, b"labels": [i, 9 - i]}))
    return images


@pytest.mark.parametrize("inside", [True, False])
def test_original_batches(tmp_path, inside):
    folder = tmp_path / "cifar-10-batches-py"
    images = write_batches(folder, np.random.default_rng(0))
    x_train, y_train, x_test, y_test = load_cifar10(folder if inside else tmp_path, tmp_path)
    assert np.array_equal(x_train, images[:5].reshape(10, 32, 32, 3)) and x_train.dtype == np.uint8
    assert y_train.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    assert np.array_equal(x_test, images[5]) and y_test.tolist() == [5, 4]
    assert data_set_name(tmp_path) == "CIFAR-10"


def test_batch_missing(tmp_path):
    write_batches(tmp_path / "b", np.random.default_rng(0))
    (tmp_path / "b" / "data_batch_4").unlink()
    with pytest.raises(DataError, match="data folder must hold data_batch_4"):
        load_cifar10(tmp_path / "b")


def test_jpeg_copy_in_original_order_and_cached(tmp_path):
    labels = {"train": [1, 0, 1, 1], "test": [0, 1]}
    np.savez(
        tmp_path / "cifar10-original-part.npz",
        y_train_all=labels["train"],
        y_test_all=labels["test"],
        names=["cat", "dog"],
    )
    gray = {"train": [10, 60, 110, 160], "test": [210, 250]}
    with tarfile.open(tmp_path / "cifar10-jpeg.tar.xz", "w:xz") as archive:
        for split, classes in labels.items():
            for i, c in enumerate(classes):
                file = io.BytesIO()
                Image.new("RGB", (32, 32), (gray[split][i],) * 3).save(file, "JPEG")
                info = tarfile.TarInfo(f"cifar10-jpeg/{split}/{['cat', 'dog'][c]}/{classes[:i].count(c):04d}.jpg")
                info.size = file.tell()
                file.seek(0)
                archive.addfile(info, file)
    for _ in range(2):  # decoded, then from the cache
        x_train, y_train, x_test, y_test = load_cifar10(tmp_path, tmp_path / "cache")
        assert x_train[:, 0, 0, 0].tolist() == gray["train"] and y_train.tolist() == labels["train"]
        assert x_test[:, 0, 0, 0].tolist() == gray["test"] and y_test.tolist() == labels["test"]
    assert data_set_name(tmp_path) == "CIFAR-10, JPEG copy"


def test_data_missing(tmp_path):
    with pytest.raises(DataError, match="data folder must hold cifar10-jpeg.tar.xz and .* not found in"):
        load_cifar10(tmp_path)


def test_every_image_comes_once_an_epoch():
    steps = [batch_indices(7, s, 8, 20) for s in range(5)]
    seen = torch.cat(steps)
    assert sorted(seen[:20].tolist()) == list(range(20))
    assert sorted(seen[20:].tolist()) == list(range(20))
    assert not torch.equal(seen[:20], seen[20:])


def test_order_is_a_function_of_seed_and_step():
    assert torch.equal(batch_indices(7, 3, 8, 20), batch_indices(7, 3, 8, 20))
    assert not torch.equal(batch_indices(8, 3, 8, 20), batch_indices(7, 3, 8, 20))
    draws = {torch.rand(1, generator=step_generator(*key)).item() for key in [(0, 1), (1, 0), (0, 1, 1), (1, 1)]}
    assert len(draws) == 4
