"""Every form of the data sets, what damaged ones are answered with, and the order of the batches."""

import hashlib
import io
import pickle
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from cdgate.errors import DataError
from sw_model.data import cifar
from sw_model.data.draws import batch_indices, step_generator
from sw_model.data.image_folder import load_image_folder
from sw_model.data.sources import load_data

FILES = {"CIFAR-10": ("cifar-10-batches-py", 10), "CIFAR-100": ("cifar-100-python", 100)}


def write_archive(folder, name, monkeypatch):
    """A tiny archive, unpacked, whose md5s take the place of the published ones; returns its images and labels."""
    archive = next(a for a in cifar.ARCHIVES if a.name == name)
    rng, images, labels = np.random.default_rng(0), [], []
    folder.mkdir(parents=True)
    contents = {archive.meta: {archive.label_names: [f"class{i}".encode() for i in range(FILES[name][1])]}}
    for file in (*archive.train, archive.test):
        images.append(rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8))
        labels.append(rng.integers(0, 10, 2).tolist())
        contents[file] = {b"data": images[-1].transpose(0, 3, 1, 2).reshape(2, 3072), archive.labels: labels[-1]}
    for file, content in contents.items():
        (folder / file).write_bytes(pickle.dumps(content))
        monkeypatch.setitem(archive.md5s, file, hashlib.md5((folder / file).read_bytes()).hexdigest())
    return np.concatenate(images), sum(labels, [])


def pack(folder, target):
    with tarfile.open(target, "w:gz") as archive:
        archive.add(folder, folder.name)


@pytest.mark.parametrize("form", ["parent", "itself", "packed"])
@pytest.mark.parametrize("name", ["CIFAR-10", "CIFAR-100"])
def test_published_archives(tmp_path, monkeypatch, name, form):
    folder = tmp_path / "unpacked" / FILES[name][0]
    images, labels = write_archive(folder, name, monkeypatch)
    if form == "packed":
        pack(folder, tmp_path / next(a.file for a in cifar.ARCHIVES if a.name == name))
    data = load_data({"parent": folder.parent, "itself": folder, "packed": tmp_path}[form])
    assert data.name == name and len(data.classes) == FILES[name][1] and data.classes[3] == "class3"
    assert np.array_equal(torch.cat([data.train, data.test]).numpy(), images) and data.train.dtype == torch.uint8
    assert torch.cat([data.train_labels, data.test_labels]).tolist() == labels
    assert len(data.test) == 2 and data.size == 32


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


def test_damaged_or_missing_file_names_the_md5_and_the_source(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    write_archive(folder, "CIFAR-10", monkeypatch)
    expected = cifar.ARCHIVES[0].md5s["data_batch_4"]
    (folder / "data_batch_4").write_bytes(b"harmful")
    with pytest.raises(DataError) as error:
        load_data(tmp_path)
    text = one_line(error)
    assert f"data_batch_4 in {folder} must have md5 {expected}, not {hashlib.md5(b'harmful').hexdigest()}" in text
    assert "https://www.cs.toronto.edu/~kriz/cifar.html" in text and "c58f30108f718f92721af3b95e74349a" in text
    (folder / "data_batch_4").unlink()
    with pytest.raises(DataError) as error:
        load_data(tmp_path)
    assert f"data_batch_4 of CIFAR-10 must be in {folder}, with md5 {expected}; get cifar-10-py" in one_line(error)


def test_damaged_archive(tmp_path):
    (tmp_path / "cifar-100-python.tar.gz").write_bytes(b"cut")
    with pytest.raises(DataError, match="must be a whole archive with md5 eb9058c3a382ffc7106e4002c42a8d85; get"):
        load_data(tmp_path)


def test_damaged_bytes_in_an_archive(tmp_path, monkeypatch):
    """Wherever bytes are wrong, in tar's headings, the compressed stream or its end, one line says so."""
    folder = tmp_path / "unpacked" / FILES["CIFAR-100"][0]
    write_archive(folder, "CIFAR-100", monkeypatch)
    path = tmp_path / "cifar-100-python.tar.gz"
    pack(folder, path)
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), len(whole) // 40):
        damaged = bytearray(whole)
        for i in range(place, min(place + 4, len(whole))):
            damaged[i] ^= 0xFF
        path.write_bytes(damaged)
        try:
            load_data(tmp_path)
        except DataError as error:
            assert "md5" in str(error) and "\n" not in str(error), place
            refused += 1
    assert refused > 30


def test_published_md5s_are_those_of_the_data_sets():
    """The md5 of the meta files of both archives, as the copies at hand have them."""
    assert cifar.ARCHIVES[0].md5s["batches.meta"] == "5ff9c542aee3614f3951f8cda6e48888"
    assert cifar.ARCHIVES[1].md5s["meta"] == "7973b15100ade9c7d40fb424638fde48"
    for archive in cifar.ARCHIVES:
        assert set(archive.md5s) == {*archive.train, archive.test, archive.meta}


def test_two_data_sets_in_a_folder(tmp_path, monkeypatch):
    for name, (folder, _) in FILES.items():
        write_archive(tmp_path / folder, name, monkeypatch)
    with pytest.raises(DataError, match="holds 2; name .*cifar-10-batches-py or .*cifar-100-python"):
        load_data(tmp_path)


def write_jpegs(folder, monkeypatch, damaged=False):
    labels = {"train": [1, 0, 1, 1], "test": [0, 1]}
    names = ["cat", "dog"]
    np.savez(folder / cifar.JPEG_LABELS, y_train_all=labels["train"], y_test_all=labels["test"], names=names)
    gray = {"train": [10, 60, 110, 160], "test": [210, 250]}
    with tarfile.open(folder / cifar.JPEG_ARCHIVE, "w:xz") as archive:
        for split, classes in labels.items():
            for i, c in enumerate(classes):
                file = io.BytesIO(b"no picture" if damaged else b"")
                if not damaged:
                    Image.new("RGB", (32, 32), (gray[split][i],) * 3).save(file, "JPEG")
                info = tarfile.TarInfo(f"cifar10-jpeg/{split}/{names[c]}/{classes[:i].count(c):04d}.jpg")
                info.size = len(file.getvalue())
                file.seek(0)
                archive.addfile(info, file)
    for file in (cifar.JPEG_LABELS, cifar.JPEG_ARCHIVE):
        monkeypatch.setitem(cifar.JPEG_MD5, file, hashlib.md5((folder / file).read_bytes()).hexdigest())
    return gray, labels


def test_jpeg_copy_in_original_order_and_cached(tmp_path, monkeypatch):
    gray, labels = write_jpegs(tmp_path, monkeypatch)
    for _ in range(2):  # decoded, then from the cache
        data = load_data(tmp_path, tmp_path / "cache")
        assert data.train[:, 0, 0, 0].tolist() == gray["train"] and data.train_labels.tolist() == labels["train"]
        assert data.test[:, 0, 0, 0].tolist() == gray["test"] and data.test_labels.tolist() == labels["test"]
        assert data.name == "CIFAR-10, JPEG copy"
        assert data.exact_test is None
    (tmp_path / "cache" / "cifar10-jpeg.npz").write_bytes(b"half")
    with pytest.raises(DataError, match="it is damaged; remove it to decode again"):
        load_data(tmp_path, tmp_path / "cache")


def test_exact_test_images_beside_the_jpeg_copy(tmp_path, monkeypatch):
    write_jpegs(tmp_path, monkeypatch)
    exact = tmp_path / cifar.EXACT_TEST
    pixels = np.random.default_rng(3).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    np.savez(exact, x_test=pixels, y_test=np.array([0], np.uint8), test_index=np.array([0]))
    with pytest.raises(DataError, match=f"{cifar.EXACT_TEST} must have md5 .* it is damaged"):
        load_data(tmp_path, tmp_path / "cache")
    monkeypatch.setitem(cifar.JPEG_MD5, cifar.EXACT_TEST, hashlib.md5(exact.read_bytes()).hexdigest())
    images, labels = load_data(tmp_path, tmp_path / "cache").exact_test
    assert np.array_equal(images.numpy(), pixels) and labels.tolist() == [0] and labels.dtype == torch.int64


def test_jpeg_copy_decoded_by_two_at_the_same_time(tmp_path, monkeypatch):
    gray, _ = write_jpegs(tmp_path, monkeypatch)
    savez, cache, others = np.savez, tmp_path / "cache", []

    def overtaken(path, **arrays):
        savez(path, **arrays)
        if not others:
            others.append(None)
            others[0] = load_data(tmp_path, cache)

    monkeypatch.setattr(cifar.np, "savez", overtaken)
    data = load_data(tmp_path, cache)
    assert others[0].train[:, 0, 0, 0].tolist() == data.train[:, 0, 0, 0].tolist() == gray["train"]
    assert [path.name for path in cache.iterdir()] == ["cifar10-jpeg.npz"]


def test_damaged_jpeg_copy(tmp_path, monkeypatch):
    write_jpegs(tmp_path, monkeypatch, damaged=True)
    with pytest.raises(DataError, match="0000.jpg in .* must be a JPEG image"):
        load_data(tmp_path, tmp_path / "cache")
    with (tmp_path / cifar.JPEG_ARCHIVE).open("ab") as file:
        file.write(b"x")
    expected = cifar.JPEG_MD5[cifar.JPEG_ARCHIVE]
    with pytest.raises(DataError, match=f"must have md5 {expected}, not [0-9a-f]+: it is damaged"):
        load_data(tmp_path, tmp_path / "cache")
    (tmp_path / cifar.JPEG_LABELS).unlink()
    with pytest.raises(DataError, match=f"{cifar.JPEG_LABELS} .md5 .* must be in"):
        load_data(tmp_path, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_digits_are_doubled_and_complete():
    data = load_data("digits")
    assert data.train.shape == (1438, 16, 16, 3) and data.test.shape == (359, 16, 16, 3)
    assert torch.equal(data.train[:, ::2, ::2], data.train[:, 1::2, 1::2])
    assert data.train.max() == 255 and not data.flip
    assert sorted(data.test_labels.unique().tolist()) == list(range(10))
    pixels = data.train.float() / 255
    assert data.mean[0] == pytest.approx(pixels.mean().item(), abs=1e-4)
    assert data.std[0] == pytest.approx(pixels.std().item(), abs=1e-4)


def write_folder(folder, classes=("ant", "bee"), suffix="JPEG"):
    for part, count in (("train", 3), ("val", 1)):
        for i, name in enumerate(classes):
            (folder / part / name).mkdir(parents=True)
            for k in range(count):
                picture = Image.new("RGB", (300 + 10 * k, 260), (20 * i, 50 * k, 100))
                picture.save(folder / part / name / f"{k}.{suffix}")


def test_image_folder(tmp_path):
    write_folder(tmp_path)
    data = load_data(tmp_path)
    assert data.classes == ("ant", "bee") and data.size == 224 and data.stem == "large"
    assert data.train_labels.tolist() == [0, 0, 0, 1, 1, 1] and data.test_labels.tolist() == [0, 1]
    images = data.train[torch.tensor([4, 0])]
    assert images.shape == (2, 224, 224, 3) and images.dtype == torch.uint8
    expected = torch.tensor([[20.0, 50.0, 100.0], [0.0, 0.0, 100.0]])
    assert torch.allclose(images.float().mean((1, 2)), expected, atol=2)
    assert data.test[0:1].shape == (1, 224, 224, 3) and len(data.test) == 2


def test_image_folder_wrong(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "train" / "ant" / "0.JPEG").write_bytes(b"no picture")
    data = load_image_folder(tmp_path)
    with pytest.raises(DataError, match="0.JPEG must be readable as PNG or JPEG"):
        data.train[torch.tensor([0])]
    (tmp_path / "val" / "bee" / "0.JPEG").unlink()
    with pytest.raises(DataError, match="class folder .*bee must hold images .*, but has none"):
        load_image_folder(tmp_path)
    (tmp_path / "val" / "bee").rmdir()
    with pytest.raises(DataError, match="same two or more class folders in train and val, not 2 and 1"):
        load_image_folder(tmp_path)


def test_hidden_folders_are_no_classes(tmp_path):
    write_folder(tmp_path)
    for name in (".ipynb_checkpoints", "__MACOSX", ".git"):
        (tmp_path / "train" / name).mkdir()
        (tmp_path / "train" / "ant" / name).mkdir()
    (tmp_path / "train" / "ant" / "._0.JPEG").write_bytes(b"of macOS")
    data = load_image_folder(tmp_path)
    assert data.classes == ("ant", "bee") and len(data.train) == 6


@pytest.mark.parametrize("kind", ["folder", "broken link", "loop"])
def test_what_is_no_file_is_found_before_training(tmp_path, kind):
    write_folder(tmp_path)
    path = tmp_path / "train" / "bee" / "x.jpg"
    path.mkdir() if kind == "folder" else path.symlink_to("x.jpg" if kind == "loop" else "nowhere")
    with pytest.raises(DataError, match="x.jpg must be an image file, not a folder or a broken link"):
        load_image_folder(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(DataError) as error:
        load_data(tmp_path / "nowhere")
    text = one_line(error)
    assert text.startswith("data must be 'digits' or a folder with CIFAR-10") and "get cifar-100-python" in text


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
