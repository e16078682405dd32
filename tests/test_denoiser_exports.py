"""The packaged and trained denoisers in torch.compile, torch.export and ONNX."""

import pickle

import numpy as np
import pytest
import torch

import recon
from recon.errors import OutputError, UsageError
from recon.front import Denoiser
from recon.priors.networks import Config, ConvexRidgeConfig, DnCNNConfig, LipschitzConfig, make, save

SINGLE_PASS = {
    "dncnn": DnCNNConfig(1, features=4, depth=3),
    "sll": LipschitzConfig(1, features=4, depth=2),
    "one-shot": ConvexRidgeConfig(channels=1, widths=(2, 4), size=3, noise_range=(0.05, 0.05), one_shot=True),
}
X = torch.rand(2, 1, 40, 36, generator=torch.Generator().manual_seed(0))
OTHER = torch.rand(3, 1, 24, 56, generator=torch.Generator().manual_seed(1))


def trained(folder, config: Config) -> Denoiser:
    torch.manual_seed(0)
    save(make(config), folder / "network")
    return recon.denoiser(str(folder / "network"), noise=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", SINGLE_PASS)
def test_onnx_of_a_single_pass_gives_the_same_images_at_every_size(tmp_path, name):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    denoise = trained(tmp_path, SINGLE_PASS[name])
    session = runtime.InferenceSession(denoise.to_onnx(tmp_path / "denoiser.onnx"))
    for x in (X, OTHER):
        (found,) = session.run(None, {"noisy": x.numpy()})
        assert np.abs(found - denoise(x).numpy()).max() <= 1e-5
    with pytest.raises(OutputError):
        denoise.to_onnx(tmp_path / "denoiser.onnx")


def test_onnx_of_an_iteration_is_refused_with_the_reason(tmp_path):
    with pytest.raises(UsageError, match="iterates until its accuracy is reached"):
        recon.denoiser("proved-gray", noise=0.05).to_onnx(tmp_path / "denoiser.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", SINGLE_PASS)
def test_torch_export_takes_a_single_pass(tmp_path, name):
    denoise = trained(tmp_path, SINGLE_PASS[name])
    expected = denoise(X)
    exported = torch.export.export(denoise, (X,), strict=True).module()
    assert torch.allclose(exported(X), expected, atol=1e-6)


@pytest.mark.slow
def test_torch_compile_takes_a_packaged_denoiser():
    denoise = recon.denoiser("proved-gray", noise=0.05)
    compiled = torch.compile(denoise, backend="eager")  # the graphs; a C++ compiler is not everywhere
    assert torch.allclose(compiled(X), denoise(X), atol=1e-5)


def test_a_denoiser_travels():
    denoise = recon.denoiser("proved-gray", noise=0.05)
    back = pickle.loads(pickle.dumps(denoise))  # noqa: S301  our own bytes
    assert torch.equal(back(X), denoise(X))
