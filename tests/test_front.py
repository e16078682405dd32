"""One call from arrays to an image with a certificate: the chain of the command line, and the same bits."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forks
import numpy as np
import pytest
import torch
from scipy.sparse.linalg import aslinearoperator

import recon
from recon.catalogue import folders
from recon.errors import ConsistencyError, GuaranteeError, UsageError
from recon.operators import Blur, gaussian_psf
from recon.operators.tomography import Detector, Geometry, Volume, evenly_spaced, geometry_to_toml
from recon.priors import total_variation_prior
from recon.solvers import Status

SIDES = (32, 28)
PSF = gaussian_psf(1.0).numpy()


def scene(channels: int = 0) -> np.ndarray:
    rows, columns = np.mgrid[0 : SIDES[0], 0 : SIDES[1]]
    x = 0.3 + 0.4 * (np.hypot(rows - 14, columns - 12) < 8) + 0.1 * (columns > 20)
    x = x.astype(np.float32)
    return x if not channels else np.stack([x, 0.8 * x, 1 - x], axis=-1)


def blurred(channels: int = 0) -> np.ndarray:
    x = np.atleast_3d(scene(channels)).transpose(2, 0, 1)[None]
    y = Blur(torch.from_numpy(PSF), SIDES).A(torch.from_numpy(x.copy())).numpy()[0].transpose(1, 2, 0)
    noisy = y + 0.01 * np.random.default_rng(0).standard_normal(y.shape)
    return (noisy if channels else noisy[..., 0]).astype(np.float32)


def by_command(folder: Path, y: np.ndarray, *options: object) -> np.ndarray:
    np.save(folder / "y.npy", y)
    command = ["solve", "y.npy", "-o", "x.npy", *map(str, options), "--device", "cpu"]
    done = forks.run(forks.command, command, cwd=folder)
    assert done.returncode == 0, done.stderr
    return np.load(folder / "x.npy")


@pytest.mark.slow
@pytest.mark.parametrize("channels", [0, 3])
@pytest.mark.parametrize("prior", [None, "tv"])
def test_a_blurred_array_gives_the_bits_of_the_command(tmp_path: Path, channels: int, prior: str | None) -> None:
    np.save(tmp_path / "psf.npy", PSF)
    y = blurred(channels)
    options = () if prior is None else ("--prior", prior)
    expected = by_command(tmp_path, y, "--operator", "blur:psf=psf.npy", "--noise", 0.01, *options)
    result = recon.reconstruct(y, recon.blur(PSF), prior, noise=0.01)
    np.testing.assert_array_equal(result.image, expected)
    assert result.image.dtype == expected.dtype
    assert result.status is Status.CONVERGED
    assert result.certificate.holds
    assert np.abs(result.image - scene(channels)).mean() < np.abs(y - scene(channels)).mean()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["uint8", "uint16", "opacity", "frames", "complex", "float64"])
def test_other_kinds_of_arrays_give_the_bits_of_the_command(tmp_path: Path, kind: str) -> None:
    grey = blurred()
    y = {
        "uint8": (255 * blurred(3).clip(0, 1)).astype(np.uint8),
        "uint16": (65535 * grey.clip(0, 1)).astype(np.uint16),
        "opacity": np.concatenate([blurred(3), np.full((*SIDES, 1), 0.5, np.float32)], axis=-1),
        "frames": np.stack([grey, grey[::-1], 0.5 * grey, grey.T[: SIDES[1]].T]),
        "complex": (grey * np.exp(0.3j)).astype(np.complex64),
        "float64": 1e-3 * grey.astype(np.float64),
    }[kind]
    y.flags.writeable = False
    operator = "identity" if kind == "complex" else "blur:gaussian=1"
    expected = by_command(tmp_path, y, "--operator", operator, "--noise", 0.01, "--prior", "tv")
    result = recon.reconstruct(y, operator, "tv", noise=0.01)
    np.testing.assert_array_equal(result.image, expected)
    assert (result.image.dtype, result.image.shape) == (expected.dtype, expected.shape)
    assert result.image.flags.writeable


@pytest.mark.slow
@pytest.mark.parametrize("boundary", ["circular", "valid"])
def test_a_kernel_in_single_precision_that_sums_to_another_number_is_normalised_as_the_command_does(
    tmp_path: Path, boundary: str
) -> None:
    psf = np.random.default_rng(5).random((5, 3)).astype(np.float32)
    np.save(tmp_path / "psf.npy", psf)
    options = ("--operator", f"blur:psf=psf.npy,boundary={boundary}", "--noise", 0.01, "--prior", "tv")
    expected = by_command(tmp_path, blurred(), *options)
    np.testing.assert_array_equal(
        recon.reconstruct(blurred(), recon.blur(psf, boundary), "tv", noise=0.01).image, expected
    )


def test_a_kernel_larger_than_what_was_seen_is_refused() -> None:
    with pytest.raises(ConsistencyError, match="expected a smaller PSF"):
        recon.reconstruct(blurred(), recon.blur(np.ones((41, 3)), "valid"), "tv", noise=0.01)


def test_a_denoiser_is_read_from_a_folder_whatever_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(folders()["proved-gray"], tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    noisy = blurred()
    np.testing.assert_array_equal(recon.denoiser("mine", 0.05)(noisy), recon.denoiser("proved-gray", 0.05)(noisy))


@pytest.mark.slow
def test_a_scan_gives_the_bits_of_the_command(tmp_path: Path) -> None:
    scan = Geometry("parallel", evenly_spaced(0, 180, 24), Detector(40, 1.0), Volume(SIDES, 1.0))
    (tmp_path / "scan.toml").write_text(geometry_to_toml(scan))
    x = 0.02 * scene()
    y = recon.ct(scan).on(SIDES).A(torch.from_numpy(x)[None, None])[0, 0].numpy()
    options = ("--operator", "ct:scan.toml", "--prior", "tv:low=0", "--photons", 1e5)
    expected = by_command(tmp_path, y, *options)
    result = recon.reconstruct(y, recon.ct(scan), "tv:low=0", photons=1e5)
    np.testing.assert_array_equal(result.image, np.squeeze(expected))
    assert result.image.shape == SIDES
    assert np.linalg.norm(result.image - x) < 0.2 * np.linalg.norm(x)
    stack = recon.reconstruct(torch.from_numpy(y)[None, None], recon.ct(scan), "tv:low=0", photons=1e5)
    assert torch.equal(stack.image[0, 0], torch.from_numpy(result.image))


def test_tensors_come_back_as_tensors_and_axes_as_they_were() -> None:
    y = blurred(3)
    array = recon.reconstruct(y, recon.blur(PSF), "tv", noise=0.01).image
    tensor = torch.from_numpy(y.transpose(2, 0, 1)[None].copy())
    found = recon.reconstruct(tensor, recon.blur(torch.from_numpy(PSF)), "tv", noise=0.01).image
    assert isinstance(found, torch.Tensor)
    assert found.shape == tensor.shape
    np.testing.assert_array_equal(found[0].numpy().transpose(1, 2, 0), array)
    moved = recon.reconstruct(y.transpose(2, 1, 0).copy(), recon.blur(PSF.T), "tv", noise=0.01, axes="CWH").image
    assert moved.shape == y.transpose(2, 1, 0).shape


def test_operators_and_priors_may_be_objects() -> None:
    y, weight = blurred(), 0.003
    by_spec = recon.reconstruct(y, recon.blur(PSF), f"tv:weight={weight}", noise=0.01).image
    blur = Blur(torch.from_numpy(PSF), SIDES)
    np.testing.assert_array_equal(recon.reconstruct(y, blur, f"tv:weight={weight}", noise=0.01).image, by_spec)
    own = recon.reconstruct(y, blur, total_variation_prior(weight, image_shape=SIDES), noise=0.01).image
    assert np.abs(own - by_spec).max() < 0.01


@pytest.mark.parametrize("kind", ["functions", "scipy", "object"])
def test_operators_of_others_are_checked_and_used(kind: str) -> None:
    blur = Blur(torch.from_numpy(PSF), SIDES)
    y = blurred()
    expected = recon.reconstruct(y, blur, "tikhonov:weight=0.05", noise=0.01, method="forward_backward").image
    if kind == "functions":
        operator = recon.operator(blur.A, blur.A_adjoint)
    elif kind == "object":
        operator = recon.operator(type("Physics", (), {"A": blur.A, "A_adjoint": blur.A_adjoint})())
    else:
        dense = blur.A(torch.eye(SIDES[0] * SIDES[1]).reshape(-1, 1, *SIDES)).reshape(SIDES[0] * SIDES[1], -1).T
        operator, y = recon.operator(aslinearoperator(dense.numpy()), shape=SIDES), y.reshape(1, -1)
    found = recon.reconstruct(y, operator, "tikhonov:weight=0.05", noise=0.01, method="forward_backward")
    assert found.result.plan.pair.gap.value < 1e-4
    assert np.abs(found.image - expected).max() < 1e-3


def test_a_wrong_adjoint_is_refused() -> None:
    blur, other = (Blur(gaussian_psf(width), SIDES) for width in (1.0, 2.0))
    with pytest.raises(GuaranteeError, match="A_adjoint differs"):
        recon.reconstruct(blurred(), recon.operator(blur.A, other.A_adjoint), "tv:weight=0.01", noise=0.01)


def test_masks_and_k_space() -> None:
    mask = np.random.default_rng(1).random(SIDES) < 0.6
    result = recon.reconstruct(np.where(mask, scene(), np.float32(0)), recon.inpaint(mask), "tv", noise=0.01)
    assert np.abs(result.image - scene()).mean() < 0.03
    lines = np.zeros(SIDES, bool)
    lines[::2] = lines[10:22] = True
    k = recon.mri(lines).on(SIDES).A(torch.from_numpy(scene())[None, None].to(torch.complex64))[0, 0].numpy()
    assert np.abs(np.abs(recon.reconstruct(k, recon.mri(lines), "tv", noise=0.001).image) - scene()).mean() < 0.03


def test_a_result_shows_itself(tmp_path: Path) -> None:
    result = recon.reconstruct(blurred(), recon.blur(PSF), "tv", noise=0.01)
    drawn = result.figure(tmp_path / "figure.png")
    assert drawn.png == result.figure()._repr_png_() == (tmp_path / "figure.png").read_bytes()
    assert drawn.png.startswith(b"\x89PNG")
    page = result._repr_html_()
    assert page.startswith('<img src="data:image/png;base64,')
    assert "converged after" in page
    assert "Proved" in str(result)


def test_a_result_comes_back_from_another_process_with_its_verdict() -> None:
    result = recon.reconstruct(blurred(), recon.blur(PSF), "tv", noise=0.01)
    back = pickle.loads(pickle.dumps(result))  # noqa: S301  our own bytes
    assert np.array_equal(back.image, result.image)
    assert str(back) == str(result)
    assert back.certificate == result.certificate
    assert back._repr_html_().startswith("<p>")
    with pytest.raises(UsageError, match="in another process"):
        back.figure()


@pytest.mark.parametrize(
    "make",
    [
        lambda: recon.blur(PSF),
        lambda: recon.inpaint(np.eye(24) > 0),
        lambda: recon.mri(np.eye(24) > 0),
        lambda: recon.operator(np.fft.fft2, np.fft.ifft2, (24, 24)),
    ],
    ids=["blur", "inpaint", "mri", "operator"],
)
def test_an_operator_travels_to_another_process(make: Callable[[], Any]) -> None:
    factory = make()
    assert pickle.loads(pickle.dumps(factory)) == factory  # noqa: S301  our own bytes


def test_a_surrogate_may_be_an_object() -> None:
    y, wider = torch.from_numpy(blurred())[None, None], Blur(gaussian_psf(1.1), SIDES)
    options = {"prior": "tikhonov:weight=0.1", "noise": 0.01, "iterations": 5000}
    named = recon.reconstruct(y, "blur:gaussian=1", surrogate="blur:gaussian=1.1", **options)
    found = recon.reconstruct(y, "blur:gaussian=1", surrogate=wider, **options)
    assert torch.equal(found.image, named.image)
    assert "surrogate" in str(found.certificate)


class Meta(torch.Tensor):
    """As of MONAI: a tensor with metadata, which functions of torch carry along."""

    def __new__(cls, x: torch.Tensor, meta: dict[str, str] | None = None) -> "Meta":
        made = x.as_subclass(cls)
        made.meta = meta
        return made


@pytest.mark.parametrize("prior", ["tv", None])
def test_a_tensor_with_metadata_keeps_it(prior: str | None) -> None:
    plain = torch.from_numpy(blurred())[None, None]
    given = Meta(plain, {"affine": "kept"})
    found = recon.reconstruct(given, recon.blur(PSF), prior, noise=0.01).image
    assert type(found) is Meta
    assert found.meta == {"affine": "kept"}
    assert torch.equal(
        found.as_subclass(torch.Tensor), recon.reconstruct(plain, recon.blur(PSF), prior, noise=0.01).image
    )
    denoised = recon.denoiser("proved-gray", noise=0.05)(given)
    assert type(denoised) is Meta
    assert denoised.meta == {"affine": "kept"}


@pytest.mark.parametrize("kind", ["tensor", "grey", "colour"])
def test_a_denoiser_takes_batches_and_arrays(kind: str) -> None:
    colours = kind == "colour"
    denoise = recon.denoiser("proved-color" if colours else "proved-gray", noise=0.05)
    clean = scene(3 if colours else 0)
    noisy = (clean + 0.05 * np.random.default_rng(2).standard_normal(clean.shape)).astype(np.float32)
    given = torch.from_numpy(noisy)[None, None].repeat(2, 1, 1, 1) if kind == "tensor" else noisy
    found = denoise(given)
    assert type(found) is type(given)
    assert found.shape == given.shape
    assert found.dtype == given.dtype
    plain = found[0, 0].numpy() if kind == "tensor" else found
    assert np.abs(plain - clean).mean() < 0.7 * np.abs(noisy - clean).mean()
    assert denoise.properties.lipschitz_Q.evidence == "proved"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda y: recon.reconstruct(torch.from_numpy(y), "identity"), "expected \\(batch, channels, height, width\\)"),
        (lambda y: recon.reconstruct(y.astype(np.float16)), "float16; expected numbers"),
        (lambda y: recon.reconstruct(y, axes="HWC"), "one letter of FCHW"),
        (lambda y: recon.reconstruct(y, lambda x: x), "operator is a function; expected"),
        (lambda y: recon.reconstruct(y, "identity", total_variation_prior), "prior is a function; expected"),
        (lambda y: recon.reconstruct(recon.blur(PSF), y), "measurement|operator is"),
        (lambda y: recon.reconstruct(y, "blurr"), "did you mean 'blur'"),
        (lambda y: recon.blur(PSF.ravel()), "psf has the shape"),
        (lambda y: recon.operator(aslinearoperator(np.eye(6))), "expected \\(height, width\\) with as many pixels"),
        (lambda y: recon.denoiser("proved-grey", noise=0.05), "did you mean 'proved-gray'"),
        (lambda y: recon.denoiser("proved-gray", noise=0), "expected a number between 0 and 1"),
        (lambda y: recon.denoiser("proved-gray", noise=0.05)(torch.from_numpy(y)), "expected \\(batch, channels"),
    ],
)
def test_what_does_not_fit_is_one_sentence(call, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        call(blurred())
