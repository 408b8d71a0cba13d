"""Fractal images are judged by what can be learnt from them; folders by what is in them."""

import hashlib
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as vision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from geobasin.errors import GeoBasinError
from geobasin.fractals import FractalImages, IteratedFunctionSystem, draw_system
from geobasin.image_folder import FolderImages, class_places, list_images, read_image
from geobasin.images import CachedImages, load_images, normalise


def stacked(images: FractalImages | CachedImages) -> Tensor:
    return torch.stack([image for image, _ in images])


def matrices(system: IteratedFunctionSystem) -> np.ndarray:
    """The real 2 x 2 matrices of f(z) = u z + v conj(z)."""
    columns = [system.u + system.v, 1j * (system.u - system.v)]
    return np.stack([np.stack([c.real, c.imag], -1) for c in columns], -1)


# The attractor.


def test_points_fill_the_sierpinski_triangle() -> None:
    corners = np.exp(2j * np.pi * np.arange(3) / 3)
    halves = np.full(3, 0.5 + 0j)
    system = IteratedFunctionSystem(halves, 0 * halves, corners / 2, np.full(3, 1 / 3))
    points = system.points(np.random.default_rng(0), walkers=5000)
    # z = z'/2 + w/2 with w a corner: mean 0, variance (1/4) Var z + 1/4, hence 1/3.
    assert abs(points.mean()) < 0.01
    assert np.mean(np.abs(points) ** 2) == pytest.approx(1 / 3, abs=0.01)
    # The removed middle triangle has its corners at the midpoints of the sides, -corners/2.
    edge_distance = (points[:, None] * corners.conj()).real.min(axis=1)
    assert edge_distance.min() > -0.5 - 1e-3
    middle = (points[:, None] * -corners.conj()).real.min(axis=1) > -0.25 + 1e-3
    assert not middle.any()
    # Each corner's half holds a third of the points.
    shares = np.bincount(np.abs(points[:, None] - corners).argmin(axis=1)) / len(points)
    np.testing.assert_allclose(shares, 1 / 3, atol=0.01)


def test_complex_maps_are_the_affine_maps_of_their_matrices() -> None:
    system = draw_system(seed=5, label=2)
    z = np.array([0.3 - 0.7j, -1.1 + 0.2j])
    for u, v, matrix in zip(system.u, system.v, matrices(system), strict=True):
        moved = matrix @ np.stack([z.real, z.imag])
        np.testing.assert_allclose(u * z + v * z.conj(), moved[0] + 1j * moved[1])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**40), label=st.integers(0, 999))
def test_systems_contract_and_are_of_one_size(seed: int, label: int) -> None:
    system = draw_system(seed, label)
    linear = matrices(system)
    assert np.linalg.svd(linear, compute_uv=False).max() < 1
    areas = np.abs(np.linalg.det(linear))
    np.testing.assert_allclose(system.chance, areas / areas.sum())
    points = system.points(np.random.default_rng(0), walkers=2000)
    assert abs(points.mean()) < 0.15
    assert np.mean(np.abs(points) ** 2) == pytest.approx(1, abs=0.2)
    relative = system.jittered(np.random.default_rng(1))
    assert np.linalg.svd(matrices(relative), compute_uv=False).max() < 1


# The images.


def test_an_image_depends_on_seed_split_and_index_alone() -> None:
    length = 24
    forward = FractalImages(length, 24, seed=3, split="train")
    first = stacked(forward)
    np.random.seed(99)
    torch.manual_seed(99)
    random.seed(99)
    backward = FractalImages(length, 24, seed=3, split="train")
    for index in reversed(range(length)):
        assert torch.equal(backward[index][0], first[index])
    assert torch.equal(backward[-1][0], first[-1])
    assert not torch.equal(FractalImages(length, 24, seed=4, split="train")[0][0], first[0])


def test_drawing_leaves_global_random_state_alone() -> None:
    states = np.random.get_state()[1].copy(), torch.get_rng_state(), random.getstate()
    FractalImages(2, 16, seed=0, split="val")[1]
    assert np.array_equal(states[0], np.random.get_state()[1])
    assert torch.equal(states[1], torch.get_rng_state())
    assert states[2] == random.getstate()


def test_shape_type_balance_and_end() -> None:
    images = FractalImages(30, 20, seed=0, split="val", classes=6)
    pixels = stacked(images)
    assert pixels.shape == (30, 3, 20, 20)
    assert pixels.dtype == torch.uint8
    assert torch.bincount(images.labels).tolist() == [5] * 6
    assert [label for _, label in images] == images.labels.tolist()
    with pytest.raises(IndexError):
        images[30]


def test_no_image_is_drawn_twice() -> None:
    sets = [FractalImages(40, 16, seed=0, split=split) for split in ("train", "val")]
    rows = torch.cat([stacked(images).flatten(1) for images in sets])
    assert len(torch.unique(rows, dim=0)) == len(rows)


def shape_statistics(images: Tensor) -> np.ndarray:
    """What turning, moving, scaling and colouring leave of a shape: ink, parts, holes, moments."""
    rows = []
    for grey in images.float().mean(dim=1).numpy():
        rim = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
        contrast = np.abs(grey - np.median(rim))
        ink = contrast > 0.4 * np.quantile(contrast, 0.98)
        y, x = np.nonzero(ink)
        z = (x + 1j * y) - (x + 1j * y).mean()
        size = np.sqrt(np.mean(np.abs(z) ** 2))
        outline = (ink[1:] != ink[:-1]).sum() + (ink[:, 1:] != ink[:, :-1]).sum()
        rows.append(
            [
                ink.mean(),
                ink.sum() / size**2,
                outline / ink.sum(),
                ndimage.label(ink, np.ones((3, 3)))[1],
                ndimage.label(~ink)[1],
                abs(np.mean(z**2)) / size**2,
                abs(np.mean(z**3)) / size**3,
                abs(np.mean(z**2 * z.conj())) / size**3,
                np.mean(np.abs(z) ** 4) / size**4,
            ]
        )
    return np.array(rows)


@pytest.mark.parametrize("seed", [1234, 0])
def test_shapes_tell_the_classes_and_pixels_do_not(seed: int) -> None:
    train = FractalImages(1000, 32, seed, "train")
    val = FractalImages(400, 32, seed, "val")
    x, y, v, w = stacked(train), train.labels.numpy(), stacked(val), val.labels.numpy()
    chance = 0.1
    linear = [
        make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=400))
        .fit(x.flatten(1).numpy(), y)
        .score(v.flatten(1).numpy(), w)
        for strength in (1e-4, 1e-3)
    ]
    assert max(linear) < 0.22
    forest = RandomForestClassifier(100, random_state=0)
    colours = forest.fit(x.float().mean(dim=(2, 3)), y).score(v.float().mean(dim=(2, 3)), w)
    assert colours < chance + 0.1
    shapes = forest.fit(shape_statistics(x), y).score(shape_statistics(v), w)
    assert shapes > 0.9


@pytest.mark.parametrize(("seed", "split"), [(-1, "train"), (0, "test")])
def test_fractals_refuse(seed: int, split: str) -> None:
    with pytest.raises(GeoBasinError, match="use"):
        FractalImages(4, 16, seed, split)


# Loading.


def test_without_a_folder_images_are_fractal() -> None:
    sets = load_images(None, 16, seed=1234)
    assert sets.source == "fractal"
    assert len(sets.class_names) == len(set(sets.class_names)) == 10
    assert len(sets.train) > len(sets.val) > 0
    image, label = sets.val[13]
    assert torch.equal(image, FractalImages(len(sets.val), 16, 1234, "val")[13][0])
    assert label == sets.val.labels[13]


class Counted(FractalImages):
    asked = 0

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.asked += 1
        return super().__getitem__(index)


def test_cache_keeps_images_and_hands_out_copies() -> None:
    source = Counted(4, 16, 0, "train")
    cached = CachedImages(source, source.labels)
    first = [cached[index][0].clone() for index in range(4)]
    cached[2][0].zero_()
    cached[2][0].zero_()
    assert all(torch.equal(cached[index][0], first[index]) for index in range(4))
    assert source.asked == 4


def test_cache_stops_at_its_capacity() -> None:
    source = Counted(4, 16, 0, "train")
    cached = CachedImages(source, source.labels, capacity=3 * 16 * 16)
    for _ in range(3):
        assert torch.equal(cached[0][0], FractalImages.__getitem__(source, 0)[0])
        assert torch.equal(cached[1][0], FractalImages.__getitem__(source, 1)[0])
    assert source.asked == 1 + 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of noise in shades of their own, of several sizes and formats."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for label, name in enumerate(("ape", "bee")):
            place = tmp_path / "animals" / split / name
            place.mkdir(parents=True)
            for number, ending in enumerate((".png", ".jpg", ".png")):
                size = (30 + 7 * number, 41, 3)
                pixels = rng.integers(100 * label, 100 * label + 90, size, dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{number}{ending}")
    return tmp_path / "animals"


def test_folder_is_read_in_the_order_of_its_names(folder: Path) -> None:
    sets = load_images(folder, 16, seed=0)
    assert sets.source == "animals"
    assert sets.class_names == ("ape", "bee")
    assert sets.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    for image, label in sets.val:
        assert image.shape == (3, 16, 16)
        assert image.dtype == torch.uint8
        assert image.float().mean().item() == pytest.approx(45 + 100 * label, abs=5)


def test_square_image_of_the_right_size_is_kept_byte_for_byte(folder: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "train/ape/a.png")
    image, _ = load_images(folder, 24, seed=0).train[3]
    np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), pixels)


def test_scaling_is_that_of_the_central_square_with_antialiasing(folder: Path) -> None:
    rng = np.random.default_rng(2)
    pixels = ndimage.gaussian_filter(rng.uniform(0, 255, (96, 160, 3)), (2, 2, 0))
    pixels = (4 * (pixels - 127) + 127).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "train/ape/0.png")
    image, _ = FolderImages(folder, "train", 32)[0]
    square = torch.from_numpy(pixels[:, 32:128]).permute(2, 0, 1)

    def distance(antialias: bool) -> int:
        other = vision.resize(
            square, [32, 32], vision.InterpolationMode.BICUBIC, antialias=antialias
        )
        return int((image.int() - other.int()).abs().max())

    assert distance(antialias=True) <= 1 < 10 < distance(antialias=False)


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (1, 1), (5, 7)])
def test_odd_shapes_are_scaled(folder: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, (10, 20, 30)).save(folder / "train/ape/0.png")
    image, _ = load_images(folder, 16, seed=0).train[0]
    assert image.flatten(1).unique(dim=1).flatten().tolist() == [10, 20, 30]


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGBA", "CMYK"])
def test_other_colour_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "image.tif"
    Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode).save(path)
    assert np.asarray(read_image(path)).tolist() == np.full((8, 8, 3), 255).tolist()


def test_deep_pixels_are_refused_and_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 30_000, dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(GeoBasinError, match=r"deep\.png has pixels of mode I"):
        read_image(tmp_path / "deep.png")


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damaged_images_only_raise_our_error(folder: Path, data: st.DataObject) -> None:
    good = (folder / f"train/ape/{data.draw(st.sampled_from(['0.png', '1.jpg']))}").read_bytes()
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(good))] * 2)))
    path = folder / "damaged.png"
    path.write_bytes(good[:start] + data.draw(st.binary(max_size=30)) + good[stop:])
    try:
        assert read_image(path).mode == "RGB"
    except GeoBasinError as error:
        message = str(error)
    else:
        message = str(path)
    assert str(path) in message


def test_unreadable_image_is_named_when_it_is_asked_for(folder: Path) -> None:
    path = folder / "val/bee/0.png"
    path.write_bytes(path.read_bytes()[:200])
    sets = load_images(folder, 16, seed=0)
    assert sets.val[2][1] == 0
    with pytest.raises(GeoBasinError, match=re.escape(f"cannot read image {path}")):
        sets.val[3]


def test_missing_split(folder: Path) -> None:
    (folder / "val").rename(folder / "test")
    with pytest.raises(
        GeoBasinError, match=r"no folder .*val; images belong in animals/val/<class>"
    ):
        load_images(folder, 16, seed=0)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(GeoBasinError, match=r"no folder .*nowhere/train"):
        load_images(tmp_path / "nowhere", 16, seed=0)


def test_split_without_classes(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "flat/train").mkdir(parents=True)
    with pytest.raises(GeoBasinError, match="flat/train holds no class"):
        load_images(tmp_path / "flat", 16, seed=0)


def test_empty_class(folder: Path) -> None:
    (folder / "train/cat").mkdir()
    (folder / "train/cat/notes.txt").write_text("no image")
    with pytest.raises(GeoBasinError, match="train/cat holds no image"):
        load_images(folder, 16, seed=0)


def test_one_class(folder: Path) -> None:
    for split in ("train", "val"):
        (folder / split / "bee").rename(folder / f"{split}-bee")
    with pytest.raises(GeoBasinError, match="holds one class, 'ape'"):
        load_images(folder, 16, seed=0)


@pytest.mark.parametrize(("split", "other"), [("train", "val"), ("val", "train")])
def test_other_classes_in_val_than_in_train(folder: Path, split: str, other: str) -> None:
    (folder / split / "cat").mkdir()
    Image.new("RGB", (20, 20)).save(folder / split / "cat/0.png")
    with pytest.raises(
        GeoBasinError, match=f"class 'cat' is in .*{split} but not in .*{other}; every"
    ):
        load_images(folder, 16, seed=0)


@pytest.mark.parametrize("size", [15, 0, -3])
def test_too_small(folder: Path, size: int) -> None:
    for place in (None, folder):
        with pytest.raises(GeoBasinError, match=f"image size {size} is below 16"):
            load_images(place, size, seed=0)


# Some of the classes.

ENDS = st.none() | st.integers(-12, 12)


@given(count=st.integers(0, 9), start=ENDS, stop=ENDS, step=ENDS.filter(lambda step: step != 0))
def test_a_choice_of_classes_is_pythons_slice_in_the_order_of_the_names(
    count: int, start: int | None, stop: int | None, step: int | None
) -> None:
    text = ":".join("" if part is None else str(part) for part in (start, stop, step))
    assert class_places(text, count) == sorted(list(range(count))[start:stop:step])


@given(count=st.integers(0, 50))
def test_even_and_odd_places_share_the_classes_between_them(count: int) -> None:
    even, odd = class_places("0::2", count), class_places("1::2", count)
    assert sorted([*even, *odd]) == list(range(count))
    assert {place % 2 for place in even} <= {0}
    assert {place % 2 for place in odd} <= {1}


@pytest.mark.parametrize("text", ["", "3", "0::0", "a:b", "1:2:3:4", "0:1.5", "0::2;", "9" * 5000])
def test_what_is_no_slice_is_refused(text: str) -> None:
    with pytest.raises(GeoBasinError, match="is no slice; write it as Python does"):
        class_places(text, 10)


@pytest.fixture
def five(folder: Path) -> Path:
    """Classes ant, ape, bee, cat and dog, the name of each image telling its class."""
    for split in ("train", "val"):
        for label, name in enumerate(("ant", "cat", "dog")):
            (folder / split / name).mkdir()
            for number in range(label + 1):
                path = folder / split / name / f"{name}-{number}.png"
                Image.new("RGB", (20 + label, 20), (50 * label, 0, 0)).save(path)
    return folder


def test_the_images_of_a_choice_are_those_of_its_classes_and_no_others(five: Path) -> None:
    even, odd = (load_images(five, 16, seed=0, classes=text) for text in ("0::2", "1::2"))
    assert (even.class_names, odd.class_names) == (("ant", "bee", "dog"), ("ape", "cat"))
    assert even.train.labels.tolist() == [0, 1, 1, 1, 2, 2, 2]
    assert odd.val.labels.tolist() == [0, 0, 0, 1, 1]
    assert (even.class_slice, odd.class_slice) == ("0::2", "1::2")
    whole = FolderImages(five, "train", 16)
    own = [row for row, label in enumerate(whole.labels.tolist()) if label in (0, 2, 4)]
    assert [path.parent.name for path in whole.paths][:4] == ["ant", "ape", "ape", "ape"]
    for (image, label), row in zip(even.train, own, strict=True):
        theirs, name = whole[row]
        assert torch.equal(image, theirs)
        assert even.class_names[label] == whole.class_names[name]


def test_the_listing_is_of_the_files_that_were_kept(five: Path) -> None:
    listing = "".join(
        f"{path.relative_to(five)} {path.stat().st_size}\n"
        for split in ("train", "val")
        for name in ("ape", "cat")
        for path in sorted((five / split / name).iterdir())
    )
    sets = load_images(five, 16, seed=0, classes="1::2")
    assert sets.listing_sha512 == hashlib.sha512(listing.encode()).hexdigest()
    everything = load_images(five, 16, seed=0, classes=":")
    assert everything.listing_sha512 == load_images(five, 16, seed=0).listing_sha512


def test_a_split_that_lacks_a_class_shifts_no_label(five: Path) -> None:
    for path in (five / "val/ape").iterdir():
        path.unlink()
    (five / "val/ape").rmdir()
    with pytest.raises(GeoBasinError, match=r"class 'bee' is in .*train but not in .*val"):
        load_images(five, 16, seed=0, classes="0::2")


def test_a_choice_needs_a_folder_and_two_classes(five: Path) -> None:
    with pytest.raises(GeoBasinError, match=r"classes '4:' leaves 1 of the 5 in .*train; two are"):
        list_images(five, "train", "4:")
    with pytest.raises(GeoBasinError, match="leaves 0 of the 5"):
        load_images(five, 16, seed=0, classes="7:")
    with pytest.raises(
        GeoBasinError, match="'0::2' needs a folder to choose from; give --data_dir"
    ):
        load_images(None, 16, seed=0, classes="0::2")


def test_normalise_is_torchvisions() -> None:
    images = torch.randint(0, 256, (4, 3, 9, 9), dtype=torch.uint8)
    expected = vision.normalize(images.float() / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    result = normalise(images)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, expected)
    with pytest.raises(GeoBasinError, match="uint8"):
        normalise(images.float())
