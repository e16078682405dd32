"""BatchEnsemble and LP-BNN: a member is a DnCNN, an ensemble is the mean of its members, and training ends alike."""

import pytest
import torch
from training_cases import patches, recipe, same

from recon.errors import UsageError
from recon.priors.networks import BatchEnsemble, BatchEnsembleConfig, DnCNN, load, save
from recon.training import Trainer

PLAIN = BatchEnsembleConfig(members=3, features=5, depth=3, conditioned=True, noise_range=(0.1, 0.1))
LATENT = BatchEnsembleConfig(members=4, features=5, depth=3, noise_range=(0.1, 0.1), latent=2)


def network(config: BatchEnsembleConfig) -> BatchEnsemble:
    """With members far from each other."""
    torch.manual_seed(0)
    made = BatchEnsemble(config).double()
    for parameter in (*made.inputs, *made.outputs, *made.biases, made.kernels[-1]):
        torch.nn.init.normal_(parameter, std=0.5)
    return made


@pytest.mark.parametrize("latent", [0, 2])
def test_a_member_does_what_training_does_with_its_images(latent: int) -> None:
    made = network(BatchEnsembleConfig(members=3, features=5, depth=4, latent=latent))
    x = torch.rand(7, 1, 9, 8, dtype=torch.float64)
    if latent:
        noise = [torch.zeros(3, 2)] * 4
        noise = [torch.randn((3, 2), generator=torch.Generator().manual_seed(layer)).double() for layer in range(4)]
        made.noise = noise  # the draws of the members, of layer after layer
    found = made.train()(x)
    for index in range(7):
        member = made.member(index % 3 + 1)
        assert isinstance(member, DnCNN)
        torch.testing.assert_close(found[index : index + 1], member(x[index : index + 1]))


@pytest.mark.parametrize("config", [PLAIN, LATENT], ids=["batch ensemble", "lp-bnn"])
def test_an_ensemble_is_the_mean_of_its_members(config: BatchEnsembleConfig, tmp_path) -> None:
    made = network(config).eval()
    level = 0.1 if config.conditioned else None
    x = torch.rand(2, 1, 9, 8, dtype=torch.float64)
    members = [made.member(number)(x, level) for number in range(1, config.members + 1)]
    torch.testing.assert_close(made(x, level), torch.stack(members).mean(0))
    assert all(float((one - members[0]).abs().max()) > 1e-3 for one in members[1:])
    save(made.float(), tmp_path)
    again = load(tmp_path)
    assert isinstance(again, BatchEnsemble)
    for number in range(1, config.members + 1):
        assert same(made.member(number).state_dict(), again.member(number).state_dict())


def test_members_of_other_draws_are_others_and_the_divergence_counts() -> None:
    made = network(LATENT)
    assert float(network(PLAIN).prior_loss()) == 0
    made.draw(torch.Generator().manual_seed(1))
    first = made.prior_loss()
    made.draw(torch.Generator().manual_seed(2))
    assert float(first.detach()) > 0
    assert float((made.prior_loss() - first).detach().abs()) > 0
    first.backward()
    assert all(parameter.grad is not None for parameter in made.latent.parameters())


@pytest.mark.parametrize("config", [PLAIN, LATENT], ids=["batch ensemble", "lp-bnn"])
def test_training_goes_on_from_a_state_as_if_it_had_not_stopped(config: BatchEnsembleConfig) -> None:
    given = recipe(config, steps=6, batch=5)
    whole = Trainer(given, patches())
    for _ in range(3):
        whole.advance()
    half = Trainer(given, patches())
    half.restore({name: tensor.clone() for name, tensor in whole.state().items()})
    for _ in range(3):
        whole.advance()
        half.advance()
    assert same(whole.state(), half.state())
    moved = BatchEnsemble(config).state_dict()
    assert not any(torch.equal(moved[name], tensor) for name, tensor in whole.network.state_dict().items())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: BatchEnsemble(BatchEnsembleConfig(members=1)), "members=1; expected 2 to 64"),
        (lambda: BatchEnsemble(BatchEnsembleConfig(latent=-1)), "latent=-1"),
        (lambda: BatchEnsemble(BatchEnsembleConfig(depth=1)), "depth=1"),
        (lambda: network(PLAIN).member(4), "member=4; expected 1 to 3"),
        (lambda: recipe(LATENT, batch=3), "training.batch = 3 for 4 members"),
        (lambda: recipe(LATENT, penalty=1.0), "penalty.weight"),
    ],
)
def test_what_no_ensemble_can_be_is_refused(make, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make()
