"""The triton projectors are the numba projectors: run on the CPU by triton's interpreter, compiled for a GPU if asked.

Triton reads TRITON_INTERPRET when it is imported, so this file runs itself as a program in a process of its own, which
writes what it found to a file: ``TRITON_INTERPRET=1 python tests/operators/test_tomography_triton.py FOUND.npz``.
"""

import inspect
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from recon.errors import DeviceError
from recon.operators.tomography import Detector, Geometry, Tomography, Volume, evenly_spaced
from recon.operators.tomography.projectors.planar_gpu import PlanarBeamOnGpu

pytestmark = pytest.mark.slow  # its fixture runs triton's interpreter, for ten seconds

FAN = {"source_to_axis": 40.0, "source_to_detector": 70.0}
ANGLES = (-30.0, 0.0, 45.0, 161.0, 270.0)
OFF_CENTRE = Volume((7, 10), 1.1, (2.0, -3.0))

SMALL = {
    "parallel": Geometry("parallel", ANGLES, Detector(17, 1.3, 0.7), OFF_CENTRE),
    "parallel, coarse detector": Geometry("parallel", ANGLES, Detector(5, 4.0, -1.0), OFF_CENTRE),
    "parallel, fine detector": Geometry("parallel", ANGLES[:3], Detector(24, 0.3, 1.0), Volume((9, 5), 1.0)),
    "flat fan": Geometry("fan", ANGLES, Detector(13, 2.1, 1.5), OFF_CENTRE, **FAN),
    "flat fan, fine detector": Geometry("fan", ANGLES[:3], Detector(24, 0.6), Volume((5, 8), 1.0), **FAN),
    "arc fan": Geometry("fan", ANGLES, Detector(13, 2.1, 1.5, "arc"), OFF_CENTRE, **FAN),
    "arc fan, fine detector": Geometry("fan", ANGLES[:3], Detector(24, 0.6, -1.0, "arc"), Volume((5, 8), 1.0), **FAN),
    "arc fan near the source": Geometry("fan", ANGLES[:3], Detector(9, 3.0, 0.0, "arc"), Volume((8, 8), 6.9), **FAN),
    "one pixel": Geometry("parallel", (10.0,), Detector(1, 1.0), Volume((1, 1), 1.0)),
}
"""Scans whose matrices are written out, in both directions."""

LARGE = {
    "large parallel": Geometry("parallel", evenly_spaced(0, 360, 5), Detector(40, 1.7), Volume((35, 38), 1.0)),
    "large flat fan": Geometry("fan", evenly_spaced(0, 360, 5), Detector(40, 1.7), Volume((35, 38), 1.0), **FAN),
    "large arc fan": Geometry(
        "fan", evenly_spaced(0, 360, 5), Detector(40, 1.7, 0.0, "arc"), Volume((35, 38), 1.0), **FAN
    ),
}
"""Scans that take several blocks of threads in all directions."""

DTYPES = {"single": torch.float32, "double": torch.float64}


def matrices(pair, geometry: Geometry, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the projection, and of the back-projection transposed."""
    image, sinogram = geometry.image_shape, geometry.sinogram_shape
    across = torch.eye(math.prod(image), dtype=dtype).reshape(-1, *image)
    back = torch.eye(math.prod(sinogram), dtype=dtype).reshape(-1, *sinogram)
    return pair.project(across).reshape(len(across), -1), pair.back_project(back).reshape(len(back), -1).T


def batches(pair, geometry: Geometry) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch that is not a multiple of what a thread does at once, with two leading dimensions."""
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(2, 3, *geometry.image_shape, generator=generator)
    sinogram = torch.rand(2, 3, *geometry.sinogram_shape, generator=generator)
    return pair.project(image), pair.back_project(sinogram)


def _interpret(path: str) -> None:
    from recon.operators.tomography.projectors.kernels import planar_triton  # noqa: PLC0415

    found = {name: batches(PlanarBeamOnGpu(geometry), geometry) for name, geometry in LARGE.items()}
    for size in ("VIEWS", "RAYS", "DOWN", "ACROSS"):  # the interpreter's time goes with the size of a block
        setattr(planar_triton, size, type(planar_triton.VIEWS)(4))
    for precision, dtype in DTYPES.items():
        for name, geometry in SMALL.items():
            found[f"{precision} {name}"] = matrices(PlanarBeamOnGpu(geometry, slices=128), geometry, dtype)
    np.savez(path, **{f"{name}/{k}": array.numpy() for name, pair in found.items() for k, array in enumerate(pair)})


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the interpreter gave, as a map from a name to two tensors."""
    pytest.importorskip("triton", reason="triton is not installed: it comes with PyTorch for Linux on x86")
    path = tmp_path_factory.mktemp("triton") / "found.npz"
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    arrays = np.load(path)
    return lambda name: tuple(torch.from_numpy(arrays[f"{name}/{k}"]) for k in range(2))


class NumbaPair:
    def __init__(self, geometry: Geometry) -> None:
        operator = Tomography(geometry)
        self.project, self.back_project = operator.A, operator.A_adjoint


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("name", SMALL)
def test_the_matrices_are_those_of_numba_and_each_others_transpose(found, name, precision):
    forward, back = found(f"{precision} {name}")
    expected, expected_back = matrices(NumbaPair(SMALL[name]), SMALL[name], DTYPES[precision])
    rounding, scale = {"single": 2e-6, "double": 1e-13}[precision], float(expected.abs().max())
    assert scale > 0
    assert float((forward - expected).abs().max()) <= rounding * scale
    assert float((back - expected_back).abs().max()) <= rounding * scale
    gap = torch.linalg.matrix_norm((forward - back).double(), 2) / torch.linalg.matrix_norm(forward.double(), 2)
    assert float(gap) < {"single": 1e-6, "double": 1e-13}[precision]


@pytest.mark.parametrize("name", LARGE)
def test_batches_of_larger_images_are_those_of_numba(found, name):
    for result, expected in zip(found(name), batches(NumbaPair(LARGE[name]), LARGE[name]), strict=True):
        assert result.shape == expected.shape
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


def test_without_triton_a_gpu_is_refused_in_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "recon.operators.tomography.projectors.kernels.planar_triton", raising=False)
    pair = PlanarBeamOnGpu(SMALL["parallel"])
    with pytest.raises(DeviceError, match=r"triton is not installed; expected it \(pip install triton\)"):
        pair.project(torch.zeros(7, 10))


@pytest.mark.parametrize(("kind", "slices"), [("project", 4), ("parallel", 1), ("flat", 4), ("arc", 4)])
def test_the_kernels_compile_for_an_h100(tmp_path, monkeypatch, kind, slices):
    """The interpreter takes what the compiler refuses; the compiler needs no GPU."""
    compiler = pytest.importorskip("triton.compiler", reason="triton is not installed")
    if "constexprs" not in inspect.signature(compiler.ASTSource).parameters:
        pytest.skip("this version of triton is compiled for another interface")
    from triton.backends.compiler import GPUTarget  # noqa: PLC0415

    from recon.operators.tomography.projectors.kernels import planar_triton  # noqa: PLC0415

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    function = planar_triton._project if kind == "project" else planar_triton._back_project
    constants = {"SLICES": slices, **({"FIXED": True} if kind == "project" else {"KIND": kind, "REACH": 2})}
    double = {"start", "slope", "scan", "directions", "bends"}
    single = {"out", "both_ways", "length", "along_columns", "padded", "turns"}
    types = dict.fromkeys(double, "*fp64") | dict.fromkeys(single, "*fp32") | dict.fromkeys(constants, "constexpr")
    signature = {name: types.get(name, "i32") for name in function.arg_names}
    source = compiler.ASTSource(function, signature, {(function.arg_names.index(k),): v for k, v in constants.items()})
    options = {"num_warps": 4, "enable_fp_fusion": True}
    compiled = compiler.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    assert ".target sm_90" in compiled.asm["ptx"]
    assert len(compiled.asm["cubin"]) > 0


if __name__ == "__main__":
    _interpret(sys.argv[1])
