"""Files in parts: there and back, and what damaged ones are answered with."""

import io
import json
import tarfile

import pytest

from cdgate.errors import DataError, UsageError
from sw_model.experiment import parts


@pytest.fixture
def folder(tmp_path, rng):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.safetensors").write_bytes(rng.randbytes(5000))
    (folder / "b.json").write_text("{}")
    (folder / ".hidden").write_text("x")
    (folder / "inner").mkdir()
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_there_and_back(folder, tmp_path):
    out = tmp_path / "out"
    written = parts.write_parts(folder, out, part=4096)
    assert names(out) == sorted(path.name for path in written) and written[-1].name == parts.MANIFEST
    assert max(path.stat().st_size for path in written) <= 4096 and len(written) > 3
    merged = parts.merge_parts(out, tmp_path / "back")
    assert names(tmp_path / "back") == ["a.safetensors", "b.json"] == sorted(path.name for path in merged)
    for path in merged:
        assert path.read_bytes() == (folder / path.name).read_bytes()
    first = {path.name: path.read_bytes() for path in written}
    assert {path.name: path.read_bytes() for path in parts.write_parts(folder, out, part=4096)} == first
    (folder / "a.safetensors").write_bytes(b"small")
    parts.write_parts(folder, out, part=1 << 20)
    assert names(out) == [parts.MANIFEST, "part-00.bin"]


def test_parts_that_do_not_fit(folder, tmp_path):
    """Missing, damaged, of another time, or no manifest: one line, and nothing is written."""
    out, back = tmp_path / "out", tmp_path / "back"
    parts.write_parts(folder, out, part=4096)
    whole = {path.name: path.read_bytes() for path in out.iterdir()}

    def refused(message):
        with pytest.raises(DataError, match=message):
            parts.merge_parts(out, back)
        assert not back.exists()
        for name, content in whole.items():
            (out / name).write_bytes(content)

    (out / "part-01.bin").unlink()
    refused("part-01.bin must be there")
    (out / "part-01.bin").write_bytes(whole["part-01.bin"][:-1])
    refused("part-01.bin must have 4096 bytes with SHA-256")
    (out / "part-00.bin").write_bytes(bytes([whole["part-00.bin"][0] ^ 1]) + whole["part-00.bin"][1:])
    refused("part-00.bin must have .* it is damaged, or of another time")
    for text in ("{", "[]", '{"parts": [{"name": "x"}]}'):
        (out / parts.MANIFEST).write_text(text)
        refused("manifest.json must be a manifest")
    manifest = json.loads(whole[parts.MANIFEST])
    manifest["parts"][0]["name"] = "../part-00.bin"
    (out / parts.MANIFEST).write_text(json.dumps(manifest))
    refused("part-00.bin must be there")


def test_an_archive_does_not_write_outside(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("../evil")
        archive.addfile(info, io.BytesIO(b""))
    content = buffer.getvalue()
    out = tmp_path / "out"
    out.mkdir()
    (out / "part-00.bin").write_bytes(content)
    digest = parts.hashlib.sha256(content).hexdigest()
    entry = {"name": "part-00.bin", "bytes": len(content), "sha256": digest}
    (out / parts.MANIFEST).write_text(json.dumps({"parts": [entry]}))
    with pytest.raises(DataError, match="plain files only, not ../evil"):
        parts.merge_parts(out, tmp_path / "back")
    assert not (tmp_path / "back").exists() and not (tmp_path / "evil").exists()


def test_more_than_comes_back(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "MOST", 4000)
    with pytest.raises(UsageError, match="what comes back must be at most"):
        parts.write_parts(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
