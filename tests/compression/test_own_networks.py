"""Networks of the user's code, on the command line and in folders."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from recon.cli.compress import command
from torch import nn

from recon.compression import FlexibleActivation, Listeners, Settings, compress_own, load_sequential, own
from recon.compression.own import multiplications, sequential_of
from recon.compression.sequential_folder import save_sequential
from recon.errors import GuaranteeError, InputError, OutputError, UsageError
from recon.evidence import Proved

CODE = """
import torch
def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 30), torch.nn.Softplus(), torch.nn.Linear(30, 5))
def images():
    torch.manual_seed(0)
    first, last = torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Conv2d(4, 1, 3, padding=1)
    return torch.nn.Sequential(first, torch.nn.ReLU(), last)
def three():
    return 3
def raises():
    raise KeyError("no")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(CODE)
    generator = np.random.default_rng(0)
    np.save("x.npy", generator.standard_normal((160, 6)))
    np.save("wide.npy", generator.standard_normal((160, 7)))
    np.save("nan.npy", np.full((160, 6), np.nan))
    np.save("objects.npy", np.array([{}, {}]), allow_pickle=True)
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(command, list(arguments))


def run_plainly(*arguments: str) -> None:
    command.main(list(arguments), standalone_mode=False)


def test_the_command_writes_a_network_that_is_read_again(folder: Path) -> None:
    pytest.importorskip("tensorly", reason="the extra decouple is not installed")
    given = ("python:mine.py:network", "-o", "small", "--method", "decouple", "--rank", "2", "--data", "x.npy")
    outcome = run(*given)
    assert outcome.exit_code == 0, outcome.output
    for row in (
        "numbers",
        "numbers that are not 0",
        "bytes of the weights",
        "multiplications an input",
        "seconds, 40 x 6",
        "Lipschitz",
        "rank 2",
    ):
        assert row in outcome.output
    network, dense = load_sequential("small"), sequential_of("python:mine.py:network")
    assert [type(module) for module in network] == [nn.Linear, FlexibleActivation, nn.Linear]
    card = json.loads(Path("small/card.json").read_text())
    assert card["parameters"] == sum(p.numel() for p in network.parameters()) < card["compression"]["parameters_before"]
    x = torch.from_numpy(np.load("x.npy")).float()
    with torch.no_grad():
        error = float((network(x) - dense(x)).square().sum() / dense(x).square().sum())
    assert 0.2 * card["error"] < error < 5 * card["error"]
    assert card["lipschitz"]["evidence"] == "proved"
    assert str(folder) not in Path("small/card.json").read_text()
    with pytest.raises(OutputError, match="not empty"):
        run_plainly(*given)


def test_weights_of_own_networks_go_by_inclusion_too(folder: Path) -> None:
    outcome = run("python:mine.py:images", "-o", "small", "--sparsity", "0.5", "--noise", "0.1", "--json")
    assert outcome.exit_code == 0, outcome.output
    network = load_sequential("small")
    assert sum(int((p != 0).sum()) for p in network.parameters() if p.ndim == 4) == 36
    assert network(torch.zeros(1, 1, 9, 9)).shape == (1, 1, 9, 9)


def test_a_network_that_is_proved_nonexpansive_stays_so_or_is_not_written(folder: Path, monkeypatch) -> None:
    bounds = iter([0.9, 1.2] * 2)
    monkeypatch.setattr(own, "lipschitz_bound", lambda network: Proved(next(bounds), "planted"))
    settings = Settings(0.5)
    with pytest.raises(GuaranteeError, match=r"at most 1.2, and that of the given one at most 0.9"):
        compress_own("python:mine.py:network", Path("small"), [Path("x.npy")], settings, Listeners())
    assert not Path("small").exists()
    found = compress_own(
        "python:mine.py:network", Path("small"), [Path("x.npy")], Settings(0.5, uncertified=True), Listeners()
    )
    assert found["lipschitz"]["value"] == 1.2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["python:mine.py:three", "--data", "x.npy"], 2, "made by it is of type int"),
        (["python:mine.py:raises", "--data", "x.npy"], 2, "KeyError"),
        (["python:mine.py:network"], 2, "--data FILE.npy, of (samples, 6)"),
        (["python:mine.py:network", "--data", "wide.npy"], 3, "(160, 7); expected real numbers of (samples, 6)"),
        (["python:mine.py:network", "--data", "nan.npy"], 3, "NaN or infinity"),
        (["python:mine.py:network", "--data", "objects.npy"], 3, "no NPY file of numbers"),
        (["python:mine.py:network", "--data", "mine.py"], 3, "no NPY file of numbers"),
        (["python:mine.py:network", "--data", "x.npy", "--method", "prune"], 2, "--method is 'prune'"),
        (["model:proved-gray", "--method", "decouple"], 2, "ConvexRidge: its filters are tied"),
    ],
)
def test_bad_input_gets_one_sentence(folder: Path, arguments: list[str], code: int, said: str) -> None:
    options = [] if "--method" in arguments else ["--sparsity", "0.5"]
    outcome = CliRunner().invoke(command, [*arguments, *options, "-o", "small"])
    text = outcome.output + str(outcome.exception)
    assert said in text
    assert getattr(outcome.exception, "exit_code", outcome.exit_code) == code
    assert not Path("small").exists()


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, (3, 5), stride=2, padding="valid"), nn.LeakyReLU(0.2),
        nn.Sequential(nn.Conv2d(4, 3, 1, bias=False), FlexibleActivation(3, 5), nn.PReLU(3)), nn.ELU(0.5),
        nn.Flatten(), nn.Linear(12, 2), nn.Softmax(1),
    ).double().eval()  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
def test_a_stored_network_is_the_same(tmp_path: Path, packed: bool) -> None:
    made = network()
    with torch.no_grad():
        made[5].weight[:, :10] = 0
    save_sequential(made, tmp_path, packed=packed)
    again, x = load_sequential(tmp_path), torch.randn(3, 1, 6, 8).double()
    assert torch.equal(again(x), made(x))
    assert not again.training
    assert multiplications(made, x[:1]) == 4 * 15 * 4 + 12 * 4 + 4 * 12 + 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(format=2), "expected format 1"),
        (lambda d: d.update(layers=[]), "1 to 1000 layers"),
        (lambda d: d["layers"][0].update(kind="Conv2D"), "did you mean 'Conv2d'"),
        (lambda d: d["layers"][0].update(kind="os.system"), "the kind 'os.system' is unknown"),
        (lambda d: d["layers"][0].update(kind=["Conv2d"]), "is unknown"),
        (lambda d: d["layers"][0].update(in_channels=10**9), "in_channels = 1000000000 of a Conv2d is out of range"),
        (lambda d: d["layers"][0].update(in_channels=True), "in_channels = True"),
        (lambda d: d["layers"][0].update(device="meta"), "'device'"),
        (lambda d: d["layers"][0].update(out_channels=5), "not those of layers.json"),
        (lambda d: d["layers"].pop(), None),
        (lambda d: d["layers"].pop(0), "not those of layers.json"),
        (lambda d: d["layers"][1].update(negative_slope=float("nan")), "negative_slope"),
    ],
)
def test_a_folder_that_was_changed_is_refused(tmp_path: Path, change, said: str | None) -> None:
    save_sequential(network(), tmp_path)
    document = json.loads((tmp_path / "layers.json").read_text())
    change(document)
    (tmp_path / "layers.json").write_text(json.dumps(document))
    if said is None:  # a softmax has no weights
        assert len(load_sequential(tmp_path)) == len(document["layers"])
        return
    with pytest.raises(InputError, match=said):
        load_sequential(tmp_path)


def test_a_file_that_is_not_there_or_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_sequential(tmp_path)
    (tmp_path / "layers.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="no JSON"):
        load_sequential(tmp_path)
    with pytest.raises(UsageError, match="GELU is not stored"):
        save_sequential(nn.Sequential(nn.GELU()), tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept").touch()
    with pytest.raises(OutputError, match="not empty"):
        own.require_new(tmp_path / "full")
