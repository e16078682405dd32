"""Images for training: scales, memory, patches, and what is refused."""

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from training_cases import patches, scene, write_scenes

from recon.errors import InputError
from recon.training import DataConfig, read_patches, read_validation
from recon.training.data import unit


def quiet(line):
    raise AssertionError(line)


def read(folder, channels=1, say=quiet, frames=1, **config):
    return read_patches(sorted(folder.iterdir()), DataConfig(patch=12, **config), channels, 0, say, frames)


def generator():
    return torch.Generator().manual_seed(3)


def test_a_patch_is_a_part_of_an_image_in_one_of_eight_ways():
    source = patches(2)
    drawn = source.draw(60, generator())
    assert drawn.shape == (1, 60, 1, 12, 12)
    places, seen = set(), set()
    for patch in (drawn[0, :, 0] * 255).round().byte().numpy():
        found = [
            (index, way)
            for index, image in enumerate(source.images)
            for way, turned in enumerate(symmetries(patch))
            if turned.tobytes() in windows(image[0, 0])
        ]
        assert found
        places |= {index for index, _ in found}
        seen |= {way for _, way in found if len(found) == 1}
    assert places == {0, 1}
    assert len(seen) > 4


def symmetries(patch):
    for flipped in (patch, patch[:, ::-1]):
        for turns in range(4):
            yield np.ascontiguousarray(np.rot90(flipped, turns))


def windows(image):
    view = np.lib.stride_tricks.sliding_window_view(image, (12, 12))
    return {np.ascontiguousarray(window).tobytes() for row in view for window in row}


def test_every_place_is_as_likely_as_any_other():
    wide, narrow = np.zeros((1, 1, 12, 31), np.uint8), np.full((1, 1, 12, 16), 255, np.uint8)  # 20 and 5 places
    source = type(patches())((wide, narrow), 12, True)
    share = float(source.draw(2000, generator())[0].mean((1, 2, 3)).mean())
    assert share == pytest.approx(0.2, abs=0.03)


def test_frames_of_a_scene_stay_together_and_differ():
    image = np.stack([np.full((1, 20, 20), value, np.uint8) for value in (0, 100, 200)])
    drawn = type(patches())((image,), 12, True).draw(50, generator(), frames=2)
    assert drawn.shape == (2, 50, 1, 12, 12)
    assert (drawn[0].mean((1, 2, 3)) != drawn[1].mean((1, 2, 3))).all()


def test_photographs_stay_as_they_are_and_colour_becomes_grey(tmp_path):
    write_scenes(tmp_path / "a", 2)
    colour = np.dstack([scene(5), scene(6), scene(7)])
    Image.fromarray(colour).save(tmp_path / "a" / "z.png")
    images = sorted(image[0, 0].tobytes() for image in read(tmp_path / "a").images)
    grey = np.rint(colour @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    assert images == sorted([scene(0).tobytes(), scene(1).tobytes(), grey.tobytes()])
    with pytest.raises(InputError, match=r"z.png: an image has 3 channels; expected 1.*data.grey = true"):
        read(tmp_path / "a", grey=False)
    with pytest.raises(InputError, match=r"2 files cannot be trained on.*000.png: an image has 1 channels; expected 3"):
        read(tmp_path / "a", channels=3)


def test_small_numbers_hold_what_there_is(tmp_path):
    (tmp_path / "a").mkdir()
    sixteen = (scene().astype(np.uint16) * 257) + 3
    floats = scene().astype(np.float32) / 200 - 0.2
    tifffile.imwrite(tmp_path / "a" / "a.tif", sixteen - 3)
    tifffile.imwrite(tmp_path / "a" / "b.tif", floats)
    kinds = {image.dtype.name: unit(image)[0, 0] for image in read(tmp_path / "a").images}
    assert kinds.keys() == {"uint16", "float16"}
    assert np.abs(kinds["uint16"] - scene() / 255).max() < 1e-5
    assert np.abs(kinds["float16"] - floats).max() < 1e-3


def test_windows_attenuation_and_robust_scales(bundled_data):
    slices = [bundled_data / "ct" / "tcga_60-2695.dcm"]
    whole = unit(read_patches(slices, DataConfig(), 1, 0, quiet).images[0]) * 4095 - 1024
    window = DataConfig(range=(-160.0, 240.0), clip=True)
    found = unit(read_patches(slices, window, 1, 0, quiet).images[0])
    assert np.abs(found - ((whole + 160) / 400).clip(0, 1)).max() < 1e-3
    attenuation = DataConfig(scale="attenuation", water=0.02, range=(0.0, 0.05), clip=True)
    found = unit(read_patches(slices, attenuation, 1, 0, quiet).images[0])
    assert np.abs(found - (0.02 * (1 + whole / 1000) / 0.05).clip(0, 1)).max() < 1e-3
    head = unit(read_patches([bundled_data / "mr" / "studyforrest_t1.dcm"], DataConfig(), 1, 0, quiet).images[0])
    assert np.percentile(head, [0.1, 99.9]) == pytest.approx([0, 1], abs=0.01)


def test_mixed_units_are_refused_by_name(tmp_path, bundled_data):
    photo = write_scenes(tmp_path / "a", 1) / "000.png"
    files = [bundled_data / "ct" / "tcga_60-2695.dcm", photo]
    with pytest.raises(InputError, match=r"1 file cannot be trained on.*expected (HU|no units) as in the files"):
        read_patches(files, DataConfig(patch=12), 1, 0, quiet)
    patches = read_patches(files[:1], DataConfig(patch=12), 1, 0, quiet)
    with pytest.raises(InputError, match="the values are in no units; expected HU as in the files before"):
        read_validation(files[1:], DataConfig(), 1, 2, 20, quiet, patches.units)
    with pytest.raises(InputError, match="the values are in no units; expected HU"):
        read_patches([photo], DataConfig(patch=12, scale="attenuation", range=(0.0, 0.05)), 1, 0, quiet)


def test_damaged_files_are_named_or_left_out(tmp_path):
    folder = write_scenes(tmp_path / "a", 3)
    (folder / "bad.png").write_bytes((folder / "000.png").read_bytes()[:60])
    (folder / "empty.tif").write_bytes(b"")
    with pytest.raises(InputError, match=r"2 files cannot be trained on.*bad.png.*empty.tif|empty.tif.*bad.png"):
        read(folder)
    said = []
    assert len(read(folder, say=said.append, skip_damaged=True).images) == 3
    assert "2 files are left out" in said[0]


def test_the_memory_is_a_limit(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    for number in range(4):
        np.save(folder / f"{number}.npy", np.zeros((600, 600), np.uint8))
    said = []
    found = read(folder, say=said.append, memory_mb=1)
    assert len(found.images) == 2
    assert found.bytes <= 2**20
    assert "2 images fill the 1 MB of data.memory_mb" in said[0]


def test_small_images_are_left_out_and_nothing_is_an_error(tmp_path):
    folder = write_scenes(tmp_path / "a", 1)
    Image.fromarray(scene()[:10]).save(folder / "small.png")
    said = []
    assert len(read(folder, say=said.append).images) == 1
    assert "1 images are smaller than a patch of 12 x 12" in said[0]
    (folder / "000.png").unlink()
    with pytest.raises(InputError, match="1 files hold no image for training"):
        read(folder, say=said.append)


def test_pairs_of_frames_need_two(tmp_path):
    folder = write_scenes(tmp_path / "a", 1)
    with pytest.raises(InputError, match="there is 1 frame; expected at least 2 of one scene"):
        read(folder, frames=2)


def test_validation_is_the_middle_of_the_first_images(tmp_path):
    files = sorted(write_scenes(tmp_path / "a", 3).iterdir())
    found = read_validation(files, DataConfig(), 1, 2, 20, quiet)
    assert [tuple(image.shape) for image in found] == [(1, 1, 20, 20)] * 2
    assert torch.equal((found[0][0, 0] * 255).round().byte(), torch.from_numpy(scene(0)[10:30, 10:30].copy()))


def test_the_fingerprint_is_of_the_pixels(tmp_path):
    folder = write_scenes(tmp_path / "a", 2)
    before = read(folder).fingerprint()
    assert read(folder).fingerprint() == before
    Image.fromarray(scene(9)).save(folder / "001.png")
    assert read(folder).fingerprint() != before


def test_shrinking_takes_means_of_squares(tmp_path):
    pixels = np.arange(12 * 15, dtype=np.uint8).reshape(12, 15)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (image,) = read_patches([tmp_path / "a.png"], DataConfig(patch=4, shrink=2), 1, 0, print).images
    expected = pixels[:, :14].reshape(6, 2, 7, 2).mean((1, 3)) / 255
    np.testing.assert_allclose(unit(image)[0, 0], expected, atol=1e-5)
    with pytest.raises(InputError, match=r"at least data.shrink = 16 along each axis"):
        read_patches([tmp_path / "a.png"], DataConfig(patch=4, shrink=16), 1, 0, print)
