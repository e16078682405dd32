"""Folders of compressed networks, and the command that makes them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cards import write_card
from click.testing import CliRunner
from recon.cli.compress import command
from training_cases import FREE, recipe, scene

from recon.compression import Listeners, Settings, compress_folder
from recon.compression import ridges as ridges_module
from recon.compression.package import _data_of, photographs, source_of
from recon.errors import GuaranteeError, InputError, OutputError, UsageError
from recon.priors.networks import (
    ConvexRidgeConfig,
    CriticConfig,
    DnCNNConfig,
    LipschitzConfig,
    load,
    make,
    make_critic,
    save,
)
from recon.priors.networks.files.packed import pack, unpack
from recon.training import DataConfig
from recon.training.config import to_json
from recon.training.sparsity import keep_largest

NOISE = (0.1, 0.1)


@pytest.fixture
def data(tmp_path: Path) -> list[Path]:
    from PIL import Image  # noqa: PLC0415

    files = [tmp_path / f"{seed}.png" for seed in range(5)]
    for seed, file in enumerate(files):
        Image.fromarray(scene(seed, 56)).save(file)
    return files


@pytest.fixture
def dense(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save(make(DnCNNConfig(features=4, depth=3, noise_range=NOISE)), tmp_path / "dense")
    return tmp_path / "dense"


def _quick(folder: Path):
    from recon.methods.network_search import QUICK  # noqa: PLC0415
    from recon.reconstruction.certify import certify_prior  # noqa: PLC0415
    from recon.specs.grammar import Spec  # noqa: PLC0415

    return certify_prior(Spec("folder", value=str(folder)), extent=QUICK, side=12)


QUICKLY = Listeners(certify=_quick)


@pytest.mark.slow
def test_a_folder_is_compressed_with_its_card_and_used(dense: Path, data: list[Path], tmp_path: Path) -> None:
    card = compress_folder(dense, tmp_path / "small", data, Settings(0.5), QUICKLY)
    network = load(tmp_path / "small")
    for kernel in network.kernels:
        assert int((kernel != 0).sum()) == round(0.5 * kernel.numel())
    made = card["compression"]
    assert made["sparsity"] == 0.5
    assert made["operations_per_pixel"] == [216, 108]
    assert made["bytes"][1] == (tmp_path / "small" / "weights.safetensors").stat().st_size
    assert [layer["name"] for layer in made["layers"]] == ["kernels.0", "kernels.1", "kernels.2"]
    assert {"noise", "psnr", "psnr_noisy"} == made["figures_before"][0].keys() == card["figures"][0].keys()
    assert card["lipschitz_Q"]["evidence"] in ("assumed", "measured")
    assert card["searches"], "what was searched is kept, as recon certify keeps it"
    assert json.loads((tmp_path / "small" / "card.json").read_text()) == card
    assert sorted(file.name for file in tmp_path.glob(".*")) == []


@pytest.mark.slow
def test_a_network_that_lost_its_certificate_is_not_written(dense: Path, data: list[Path], tmp_path: Path) -> None:
    """A DnCNN with random weights expands; a card that says that it does not is refuted by the search."""
    network = load(dense)
    with torch.no_grad():
        network.kernels[-1].mul_(1000)
    save(network, dense, overwrite=True)
    write_card(dense, lipschitz_Q={"value": 0.99, "evidence": "measured", "how": "planted", "least_side": 12})
    with pytest.raises(GuaranteeError, match=r"found Lip.*dense says 0.99.*nothing is written"):
        compress_folder(dense, tmp_path / "small", data, Settings(0.5), QUICKLY)
    assert not (tmp_path / "small").exists()
    assert not list(tmp_path.glob(".small*"))
    card = compress_folder(dense, tmp_path / "small", data, Settings(0.5, uncertified=True), QUICKLY)
    assert card["lipschitz_Q"]["value"] > 1
    assert card["compression"]["lipschitz_Q_before"]["value"] == 0.99


@pytest.mark.slow
def test_a_proved_network_stays_proved(data: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ridges_module, "STEPS", 20)
    torch.manual_seed(0)
    config = ConvexRidgeConfig(widths=(2, 4), size=3, pieces=5, noise_range=NOISE, one_shot=True)  # quickly searched
    save(make(config), tmp_path / "dense")
    card = compress_folder(tmp_path / "dense", tmp_path / "small", data, Settings(0.5, structured=True), QUICKLY)
    for known in (card["lipschitz_Q"], card["compression"]["lipschitz_Q_before"]):
        assert (known["value"], known["evidence"]) == (1.0, "proved")
    assert card["compression"]["attack"]["value"] <= 1 + 1e-6
    assert load(tmp_path / "small").config.widths == (2, 2)
    assert "seconds" in card["compression"]


def test_what_cannot_be_is_refused_before_images_are_read(dense: Path, tmp_path: Path) -> None:
    nothing = [tmp_path / "absent.png"]
    with pytest.raises(OutputError, match="the folder of the dense network"):
        compress_folder(dense, dense, nothing, Settings(0.5))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UsageError, match=r"at most 0.99"):
        compress_folder(dense, tmp_path / "small", nothing, Settings(0.995))
    with pytest.raises(OutputError, match="full/file/small: the folder cannot be written"):
        compress_folder(dense, tmp_path / "full" / "file" / "small", nothing, Settings(0.5))
    with pytest.raises(OutputError, match="not empty"):
        compress_folder(dense, tmp_path / "full", nothing, Settings(0.5))
    save(make(LipschitzConfig(features=4, depth=2)), tmp_path / "proved")
    with pytest.raises(UsageError, match="a Lipschitz network derives"):
        compress_folder(tmp_path / "proved", tmp_path / "small", nothing, Settings(0.5))
    save(make_critic(CriticConfig()), tmp_path / "critic")
    with pytest.raises(InputError, match="critic"):
        compress_folder(tmp_path / "critic", tmp_path / "small", nothing, Settings(0.5))
    save(make(DnCNNConfig(features=4, depth=3)), tmp_path / "unknown")
    with pytest.raises(UsageError, match=r"--noise 0.02:0.1"):
        compress_folder(tmp_path / "unknown", tmp_path / "small", nothing, Settings(0.5))
    with pytest.raises(InputError, match=r"absent.png"):
        compress_folder(dense, tmp_path / "small", nothing, Settings(0.5))
    assert not (tmp_path / "small").exists()


def test_the_scale_of_the_training_is_that_of_the_samples_also_the_second_time() -> None:
    wanted = replace(recipe(FREE), data=DataConfig(range=(-100.0, 300.0), shrink=2))
    stated = json.loads(json.dumps(to_json(wanted)))
    for card in ({"recipe": stated}, {"compression": {"source": {"recipe": stated}}}):
        assert (_data_of(card).range, _data_of(card).shrink) == ((-100.0, 300.0), 2)
    for card in ({}, {"recipe": 3}, {"recipe": {"network": {}}}, {"compression": {"source": "x"}}):
        assert _data_of(card) == DataConfig()


def test_networks_are_named_as_everywhere() -> None:
    assert source_of("folder:runs/x") == source_of("runs/x") == Path("runs/x")
    assert (source_of("model:proved-gray") / "weights.safetensors").is_file()
    with pytest.raises(UsageError, match="proved-gray"):
        source_of("model:proved-grey")
    assert photographs(1) and photographs(3)
    with pytest.raises(UsageError, match="--data"):
        photographs(7)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sparsity", "1.5"], "--sparsity is 1.5; expected more than 0"),
        (["--sparsity", "nan"], "--sparsity is nan"),
        (["--sparsity", "0.5", "--noise", "a"], "--noise is 'a'"),
        (["--sparsity", "0.5", "--noise", "0.2:0.1"], "--noise is '0.2:0.1'"),
        ([], "Missing option '--sparsity'"),
    ],
)
def test_options_out_of_range_are_refused(arguments: list[str], said: str) -> None:
    outcome = CliRunner().invoke(command, ["net", "-o", "small", *arguments])
    assert outcome.exit_code == 2
    assert said in outcome.output


@pytest.mark.slow
def test_the_command_prints_what_was_lost(dense: Path, data: list[Path], tmp_path: Path) -> None:
    given = [str(dense), "-o", str(tmp_path / "small"), "--sparsity", "0.5", "--quick"]
    outcome = CliRunner().invoke(command, [*given, *(part for file in data for part in ("--data", str(file)))])
    assert outcome.exit_code == 0, outcome.output
    for row in ("108 of 216 weights of 3 layers", "bytes of the weights", "multiplications a pixel", "PSNR", "Lip(Q)"):
        assert row in outcome.output


def test_packed_tensors_come_back() -> None:
    generator = torch.Generator().manual_seed(0)
    sparse = torch.randn(7, 5, 3, generator=generator) * (torch.rand(7, 5, 3, generator=generator) < 0.2)
    tensors = {"sparse": sparse, "dense": torch.randn(4), "zero": torch.zeros(9), "nothing": torch.zeros(0)}
    packed = pack(tensors)
    assert {"sparse.places", "sparse.values", "dense", "zero.places", "zero.values", "nothing"} == packed.keys()
    again = unpack(packed, {name: tensor.shape for name, tensor in tensors.items()}, "here")
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: p.pop("a.values"), "lacks its places or its values"),
        (lambda p: p.pop("a.places"), "lacks its places or its values"),
        (lambda p: p.update(a=torch.zeros(9)), "twice"),
        (lambda p: p.update({"a.places": torch.zeros(3, dtype=torch.uint8)}), "expected 2 bytes"),
        (lambda p: p.update({"a.places": torch.zeros(2)}), "expected 2 bytes"),
        (lambda p: p.update({"a.places": torch.tensor([0, 2], dtype=torch.uint8)}), "0 places and 1 values"),
        (lambda p: p.update({"a.places": torch.tensor([3, 0], dtype=torch.uint8)}), "2 places and 1 values"),
        (lambda p: p.update({"a.values": torch.zeros(1, 1)}), "expected 2 bytes"),
    ],
)
def test_packed_tensors_that_do_not_go_together_are_refused(change, said: str) -> None:
    packed = pack({"a": torch.tensor([0.0] * 8 + [1.0])})
    change(packed)
    with pytest.raises(InputError, match=said):
        unpack(packed, {"a": torch.Size([9])}, "here")


def test_a_packed_network_is_smaller_and_the_same(tmp_path: Path) -> None:
    network = make(DnCNNConfig(features=8, depth=4))
    with torch.no_grad():
        for kernel in network.kernels:
            keep_largest(kernel, kernel.numel() // 10)
    save(network, tmp_path / "packed", packed=True)
    save(network, tmp_path / "plain")
    sizes = [(tmp_path / name / "weights.safetensors").stat().st_size for name in ("packed", "plain")]
    assert sizes[0] < 0.4 * sizes[1]
    again = load(tmp_path / "packed")
    for name, tensor in network.state_dict().items():
        assert np.array_equal(again.state_dict()[name].numpy(), tensor.numpy())
