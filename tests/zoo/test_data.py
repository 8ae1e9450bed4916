"""Data sets: splits, normalisation, order, augmentation, formats on disk, and damage to them."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from secateurs.errors import DataError
from secateurs.zoo import TensorSplit, load_data
from secateurs.zoo.augment import Draws, crop_flip, draw
from secateurs.zoo.data import moments
from secateurs.zoo.splits import stratified

MD5 = {"train": "6bbc9ace898e44ae57da46a324031adb", "test": "2646ac647ad5339dbf082846283269ea"}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def rows(split: TensorSplit) -> set[bytes]:
    return {x.numpy().tobytes() for x in split.x}


# -- digits -------------------------------------------------------------------------------------------------


def test_digits() -> None:
    data = load_data("digits")
    assert (data.classes, data.input_shape) == (10, (1, 8, 8))
    assert data.sizes == {"train": 1318, "validation": 120, "test": 359}
    assert data.test_reads == 0
    assert len(data.test) == 359 and data.test_reads == 1
    x, y = next(data.train.batches(2000, epoch=None))
    assert x.dtype == torch.float32 and y.dtype == torch.int64
    assert abs(float(x.mean())) < 1e-5 and abs(float(x.std(correction=0)) - 1) < 1e-5
    assert data.example_inputs(3)[0].shape == (3, 1, 8, 8)


def test_the_test_set_and_the_hash_do_not_depend_on_the_seed_but_validation_does() -> None:
    first, second = load_data("digits", seed=0), load_data("digits", seed=1)
    assert first.hash == second.hash == load_data("digits", validation=0.3, limit=100).hash
    assert torch.equal(first.test.x, second.test.x)  # type: ignore[attr-defined]
    assert not torch.equal(first.validation.x, second.validation.x)  # type: ignore[attr-defined]
    assert torch.equal(first.validation.x, load_data("digits", seed=0).validation.x)  # type: ignore[attr-defined]


def test_the_parts_are_disjoint_and_complete() -> None:
    data = load_data("digits", validation=0.2, seed=5)
    parts = [rows(s) for s in (data.train, data.validation, data.test)]  # type: ignore[arg-type]
    assert sum(len(p) for p in parts) == len(set.union(*parts))  # digits has no duplicate images


def test_limit() -> None:
    data = load_data("digits", limit=200)
    assert data.sizes == {"train": 183, "validation": 17, "test": 359}
    labels = torch.cat([data.train.y, data.validation.y])  # type: ignore[attr-defined]
    assert torch.bincount(labels).min() >= 19  # every class has its share


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=80), st.integers(0, 3), st.data())
def test_stratified_is_exact(labels: list[int], seed: int, data: st.DataObject) -> None:
    y = torch.tensor(labels)
    count = data.draw(st.integers(0, len(labels)))
    part = stratified(y, count, seed, "x")
    assert int(part.sum()) == count
    for c in y.unique():
        share = float((y == c).sum()) * count / len(y)
        assert abs(int((y[part] == c).sum()) - share) <= len(y.unique())


def test_moments_against_plain_arithmetic() -> None:
    x = torch.randint(0, 256, (7, 3, 4, 5), dtype=torch.uint8)
    x[:, 2] = 9
    mean, std = moments(x)
    plain = x.double().transpose(0, 1).flatten(1)
    assert torch.allclose(mean, plain.mean(1)) and torch.allclose(std[:2], plain.std(1, correction=0)[:2])
    assert std[2] == 1  # constant channel


# -- order --------------------------------------------------------------------------------------------------


def make_split(count: int = 23, augment: str = "none") -> TensorSplit:
    x = torch.arange(count * 2 * 6 * 6).reshape(count, 2, 6, 6).to(torch.uint8)
    return TensorSplit(x, torch.arange(count), mean=torch.zeros(2), std=torch.ones(2), augment=augment)


def test_an_epoch_serves_every_example_once_in_an_order_of_its_own() -> None:
    split = make_split()
    orders = [torch.cat([y for _, y in split.batches(5, epoch=e, seed=s)]) for e, s in ((0, 0), (1, 0), (0, 1), (0, 0))]
    assert all(torch.equal(o.sort().values, torch.arange(23)) for o in orders)
    assert torch.equal(orders[0], orders[3])
    assert not torch.equal(orders[0], orders[1]) and not torch.equal(orders[0], orders[2])
    assert sum(1 for _ in split.batches(5, epoch=0, drop_last=True)) == 4


@pytest.mark.parametrize("augment", ["none", "crop-flip"])
def test_ranks_and_resumed_passes_get_slices_of_the_same_batches(augment: str) -> None:
    split = make_split(augment=augment)
    whole = list(split.batches(6, epoch=2, seed=7))
    shares = zip(*(split.batches(6, epoch=2, seed=7, rank=r, world=2) for r in (0, 1)))
    for (x, y), ((x0, y0), (x1, y1)) in zip(whole, shares):
        assert torch.equal(x, torch.cat([x0, x1])) and torch.equal(y, torch.cat([y0, y1]))
    late = list(split.batches(6, epoch=2, seed=7, start=2))
    assert len(late) == 2
    for (x, y), (x2, y2) in zip(whole[2:], late):
        assert torch.equal(x, x2) and torch.equal(y, y2)


def test_augmentation_is_for_training_passes_only() -> None:
    split, plain = make_split(augment="crop-flip"), make_split()
    for (x, _), (z, _) in zip(split.batches(5, epoch=None), plain.batches(5, epoch=None)):
        assert torch.equal(x, z)
    x, y = next(split.batches(23, epoch=0))
    z, _ = next(plain.batches(23, epoch=0))
    assert not torch.equal(x, z)
    again, _ = next(split.batches(23, epoch=1))
    assert not torch.equal(x[y.argsort()], again)


def test_what_is_served_may_be_written_to() -> None:
    split = TensorSplit(torch.ones(4, 3), torch.zeros(4, dtype=torch.int64))
    next(split.batches(4, epoch=None))[0].zero_()
    assert split.x.sum() == 12


def test_crop_flip_against_a_loop() -> None:
    x = torch.randint(0, 256, (40, 3, 9, 7), dtype=torch.uint8)
    draws = draw(40, torch.Generator().manual_seed(3))
    expected = torch.empty_like(x)
    for i in range(40):
        padded = torch.zeros(3, 17, 15, dtype=torch.uint8)
        padded[:, 4:13, 4:11] = x[i]
        top, left = draws.corner[i].tolist()
        crop = padded[:, top : top + 9, left : left + 7]
        expected[i] = crop.flip(-1) if draws.flip[i] else crop
    assert torch.equal(crop_flip(x, draws), expected)
    still = Draws(torch.full((40, 2), 4), torch.zeros(40, dtype=torch.bool))
    assert torch.equal(crop_flip(x, still), x)


def test_draws_are_uniform() -> None:
    draws = draw(20_000, torch.Generator().manual_seed(0))
    assert draws.corner.min() == 0 and draws.corner.max() == 8
    counts = torch.bincount(draws.corner[:, 0], minlength=9).double()
    assert float(((counts - 20_000 / 9) ** 2 / (20_000 / 9)).sum()) < 26.1  # χ², 8 degrees, p = 0.001
    assert abs(float(draws.flip.double().mean()) - 0.5) < 0.02


# -- MNIST --------------------------------------------------------------------------------------------------


def test_mnist(shared: Path) -> None:
    data = load_data(f"mnist:{shared}/data/mnist", validation=1 / 12)
    assert data.sizes == {"train": 55_000, "validation": 5_000, "test": 10_000}
    assert (data.classes, data.input_shape) == (10, (1, 28, 28))
    test = data.test.x.numpy()  # type: ignore[attr-defined]
    header = struct.pack(">4I", 0x803, 10_000, 28, 28)
    assert hashlib.md5(header + test.tobytes()).hexdigest() == MD5["test"]
    mean, std = (float(t) / 255 for t in moments(data.train.x))  # type: ignore[attr-defined]
    assert abs(mean - 0.1307) < 1e-3 and abs(std - 0.3081) < 1e-3  # the figures everybody uses


def write_idx(folder: Path, *, count: int = 20, zipped: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for part in ("train", "t10k"):
        images = generator.integers(0, 256, (count, 5, 4), dtype=np.uint8)
        labels = (np.arange(count) % 3).astype(np.uint8)
        for stem, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            content = struct.pack(f">{array.ndim + 1}I", 0x800 + array.ndim, *array.shape) + array.tobytes()
            if zipped:
                (folder / f"{stem}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / stem).write_bytes(content)


def test_raw_and_gzipped_idx_hash_the_same_wherever_they_lie(tmp_path: Path) -> None:
    write_idx(tmp_path / "a")
    write_idx(tmp_path / "b" / "MNIST" / "raw", zipped=True)
    first, second = load_data(f"mnist:{tmp_path}/a"), load_data(f"mnist:{tmp_path}/b")
    assert first.hash == second.hash and first.classes == 3 and first.input_shape == (1, 5, 4)
    path = tmp_path / "a" / "train-images-idx3-ubyte"
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)
    assert load_data(f"mnist:{tmp_path}/a").hash != first.hash


def test_damaged_idx(tmp_path: Path) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    write_idx(tmp_path)
    whole = path.read_bytes()
    for damage, says in (
        (whole[:-7], "cut short"),
        (whole[:10], "not an IDX file"),
        (b"", "not an IDX file"),
        (b"\x00\x00\x0d\x03" + whole[4:], "not an IDX file"),
        (gzip.compress(whole)[:-30], "damaged or cut short"),
    ):
        path.write_bytes(damage)
        with pytest.raises(DataError, match=says) as caught:
            load_data(f"mnist:{tmp_path}")
        assert "train-images-idx3-ubyte" in str(caught.value)
    path.write_bytes(struct.pack(">4I", 0x803, 2, 5, 4) + whole[16:56])
    with pytest.raises(DataError, match="2 train images but 20 labels"):
        load_data(f"mnist:{tmp_path}")


# -- CIFAR-10 -----------------------------------------------------------------------------------------------


def images(count: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8), np.arange(count) % 10


def write_parquet(folder: Path, *, labels: np.ndarray | None = None, side: int = 32) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    for seed, part in ((1, "train"), (2, "test")):
        x, y = images(20, seed)
        encoded = []
        for picture in x[:, :, :side, :side]:
            buffer = io.BytesIO()
            Image.fromarray(picture.transpose(1, 2, 0)).save(buffer, "PNG")
            encoded.append({"bytes": buffer.getvalue(), "path": None})
        table = pa.table({"img": encoded, "label": y if labels is None else labels})
        pq.write_table(table, folder / f"{part}.parquet")


def write_batches(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    x, y = images(20)
    for i in range(5):
        part = slice(4 * i, 4 * i + 4)
        batch = {"data": x[part].reshape(4, -1), "labels": y[part].tolist(), "batch_label": "training batch"}
        (folder / f"data_batch_{i + 1}").write_bytes(pickle.dumps(batch, protocol=2))
    # The published files were written by Python 2, whose keys are bytes to us.
    x, y = images(20, 2)
    test = {b"data": x.reshape(20, -1), b"labels": y.tolist()}
    (folder / "test_batch").write_bytes(pickle.dumps(test, protocol=2))


def test_both_cifar_layouts_give_the_same_data(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a")
    write_batches(tmp_path / "b" / "cifar-10-batches-py")
    first, second = load_data(f"cifar10:{tmp_path}/a"), load_data(f"cifar10:{tmp_path}/b")
    assert first.hash == second.hash and first.augment == "crop-flip"
    assert np.array_equal(first.test.x.numpy(), images(20, 2)[0])  # type: ignore[attr-defined]
    assert load_data(f"cifar10:{tmp_path}/a", augment="none").train.augment == "none"  # type: ignore[attr-defined]


def test_decoded_images_are_kept_and_a_damaged_cache_is_not_believed(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a")
    digest = load_data(f"cifar10:{tmp_path}/a").hash
    kept = sorted((tmp_path / "cache" / "secateurs").iterdir())
    assert len(kept) == 4
    stamps = [k.stat().st_mtime_ns for k in kept]
    assert load_data(f"cifar10:{tmp_path}/a").hash == digest
    assert [k.stat().st_mtime_ns for k in kept] == stamps  # read, not decoded again
    for file in kept:
        file.write_bytes(file.read_bytes()[:-5])
    assert load_data(f"cifar10:{tmp_path}/a").hash == digest


def test_a_cache_that_cannot_be_written_costs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path / "a")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert load_data(f"cifar10:{tmp_path}/a").sizes["test"] == 20


def test_damaged_cifar(tmp_path: Path) -> None:
    write_parquet(tmp_path / "labels", labels=np.arange(20))
    with pytest.raises(DataError, match="0 to 19"):
        load_data(f"cifar10:{tmp_path}/labels")
    write_parquet(tmp_path / "side", side=16)
    with pytest.raises(DataError, match=r"image 0 has shape \(16, 16, 3\)"):
        load_data(f"cifar10:{tmp_path}/side")
    write_parquet(tmp_path / "cut")
    path = tmp_path / "cut" / "train.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match="not a readable parquet"):
        load_data(f"cifar10:{tmp_path}/cut")
    write_batches(tmp_path / "pickles")
    path = tmp_path / "pickles" / "data_batch_3"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="data_batch_3"):
        load_data(f"cifar10:{tmp_path}/pickles")


class Hostile:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return Path.touch, (self.trace,)


def test_a_hostile_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    write_batches(tmp_path / "b")
    trace = tmp_path / "it-ran"
    (tmp_path / "b" / "data_batch_2").write_bytes(pickle.dumps({"data": Hostile(trace), "labels": []}))
    with pytest.raises(DataError, match="does not need"):
        load_data(f"cifar10:{tmp_path}/b")
    assert not trace.exists()


@pytest.mark.shared
def test_real_cifar(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")  # the user's own: decoding takes seconds
    data = load_data(f"cifar10:{shared}/data/cifar10", validation=0.1)
    assert data.sizes == {"train": 45_000, "validation": 5_000, "test": 10_000}
    assert (data.classes, data.input_shape) == (10, (3, 32, 32))
    assert torch.bincount(data.validation.y).tolist() == [500] * 10  # type: ignore[attr-defined]
    x, _ = next(data.validation.batches(5000, epoch=None))
    assert x.mean((0, 2, 3)).abs().max() < 0.05 and (x.std((0, 2, 3)) - 1).abs().max() < 0.05


# -- what cannot be loaded ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("mnist", "write mnist:DIR"),
        ("mnst:/x", "did you mean 'mnist'"),
        ("mnist:/nowhere", "/nowhere/train-images-idx3-ubyte"),
        ("cifar10:/nowhere", "/nowhere/cifar-10-batches-py"),
        ("digits:/x", "write digits"),
        ("nowhere.py:loaders", "no file 'nowhere.py'"),
    ],
)
def test_unknown_or_missing(spec: str, says: str) -> None:
    with pytest.raises(DataError) as caught:
        load_data(spec)
    assert says in str(caught.value)


def test_a_folder_without_the_files_shows_the_layout(tmp_path: Path) -> None:
    for source, says in (("mnist", "t10k-labels-idx1-ubyte"), ("cifar10", "test.parquet")):
        with pytest.raises(DataError, match=says):
            load_data(f"{source}:{tmp_path}")


@pytest.mark.parametrize("options", [{"validation": 0.0}, {"validation": 1.5}, {"limit": 1}, {"augment": "spin"}])
def test_bad_options(options: dict) -> None:
    with pytest.raises(DataError, match=next(iter(options))):
        load_data("digits", **options)
