"""The momentum form: its inverse, its gradients, the bytes it keeps, and what it refuses."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from recon.errors import GuaranteeError, UsageError
from recon.training import MomentumForm, momentum_form

Make = Callable[..., MomentumForm]


class Branch(nn.Module):
    """A small residual branch; ``scale`` keeps the states of a deep network bounded."""

    def __init__(self, features: int = 6, scale: float = 0.1) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(2, features, 3, padding=1), nn.Conv2d(features, 2, 3, padding=1)
        self.scale = scale

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        shift = sum(context) if context else 0.0
        return self.scale * self.last(torch.tanh(self.first(x))) + 0.01 * shift


def branches(count: int, **options: float) -> list[nn.Module]:
    torch.manual_seed(3)
    return [Branch(**options) for _ in range(count)]


def image(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(2, 2, 9, 8, generator=torch.Generator().manual_seed(1)).to(dtype)


def gradients(form: MomentumForm, x: Tensor, *context: Tensor) -> list[Tensor]:
    """Of the input, of the context and of all weights."""
    leaves = [tensor.clone().requires_grad_() for tensor in (x, *context)]
    form.zero_grad()
    form(*leaves).square().sum().backward()
    return [leaf.grad for leaf in leaves] + [weight.grad for weight in form.parameters()]


def apart(found: list[Tensor], wanted: list[Tensor]) -> float:
    """The largest relative distance."""
    pairs = zip(found, wanted, strict=True)
    return max(float((a - b).norm() / b.norm()) for a, b in pairs)


def like(form: MomentumForm, memory: str) -> MomentumForm:
    twin = copy.deepcopy(form)
    twin.memory = memory
    return twin


def kept(form: MomentumForm, x: Tensor) -> int:
    """Bytes that autograd keeps for the backward pass, each memory counted once; not those of the weights."""
    seen: dict[int, int] = {}
    weights = {weight.untyped_storage().data_ptr() for weight in form.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        found = form(x)
    assert found.requires_grad
    return sum(seen.values())


@pytest.mark.parametrize("memory", ["momentum", "checkpoint"])
def test_gradients_are_those_of_backpropagation(memory: str) -> None:
    """To 1e-10 with 40 layers and b = 0.9, of the input, of a tensor that all branches see, and of the weights."""
    form = momentum_form(branches(40), 0.9, memory=memory).double()
    shift = torch.randn(2, 2, 9, 8, dtype=torch.float64)
    assert apart(gradients(form, image(), shift), gradients(like(form, "plain"), image(), shift)) < 1e-10
    assert memory == "checkpoint" or form.error < 1e-12


def test_single_precision_branches_lose_nothing_to_the_inverse() -> None:
    form = momentum_form(branches(40), 0.9)
    exact = gradients(like(form, "plain").double(), image())
    found, plain = gradients(form, image(torch.float32)), gradients(like(form, "plain"), image(torch.float32))
    assert apart(found, exact) < 2 * apart(plain, exact)


def test_one_branch_many_times_has_the_sum_of_the_gradients() -> None:
    form = momentum_form(Branch().double(), 0.8, steps=5)
    assert len(list(form.parameters())) == 4
    assert apart(gradients(form, image()), gradients(like(form, "plain"), image())) < 1e-12


def test_complex_states() -> None:
    class Turn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([-0.1 + 0.05j], dtype=torch.complex128))

        def forward(self, x: Tensor) -> Tensor:
            return self.weight * x.abs() * x

    form = momentum_form(Turn(), 0.9, steps=6)
    x = torch.view_as_complex(0.3 * torch.randn(2, 5, 2, dtype=torch.float64))

    def pulled(each: MomentumForm) -> list[Tensor]:
        point = x.clone().requires_grad_()
        each.zero_grad()
        each(point).abs().square().sum().backward()
        return [point.grad, next(each.parameters()).grad]

    assert apart(pulled(form), pulled(like(form, "plain"))) < 1e-12


def test_the_residual_network_of_the_user_is_that_with_momentum_zero() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branch = Branch().double()

        def forward(self, x: Tensor) -> Tensor:
            return x + self.branch(x)

    torch.manual_seed(0)
    network = nn.Sequential(Block(), Block(), Block())
    form = momentum_form(network, 0.0, memory="plain")
    assert torch.allclose(form(image()), network(image()), rtol=0, atol=1e-14)
    assert {id(weight) for weight in form.parameters()} == {id(weight) for weight in network.parameters()}


def test_kept_bytes_do_not_grow_with_the_layers() -> None:
    x = image()
    made = {(memory, count): kept(momentum_form(branches(count), 0.9, memory=memory).double(), x)
            for memory in ("momentum", "checkpoint", "plain") for count in (4, 16, 64)}  # fmt: skip
    assert made["momentum", 4] == made["momentum", 64] == 3 * x.nbytes
    assert made["plain", 64] > 15 * made["plain", 4]
    assert made["checkpoint", 4] < made["checkpoint", 64] < 5 * made["checkpoint", 4]
    assert made["momentum", 16] < made["checkpoint", 16] < made["plain", 16]


def test_the_error_grows_like_the_power_and_falls_back_to_the_right_gradients() -> None:
    """In single precision and with a momentum of 0.5, the start that 30 layers lead back to is another one."""
    form = momentum_form(branches(30), 0.9, state=torch.float32, tolerance=1e-2)
    form.momentum = 0.5  # which the constructor refuses
    exact = gradients(like(form, "plain").double(), image())
    with pytest.warns(RuntimeWarning, match="computed again and kept"):
        found = gradients(form, image(torch.float32))
    assert form.error > 1
    assert apart(found, exact) < 1e-4
    form.fall_back = False
    with pytest.raises(GuaranteeError, match=r"expected at most 0\.01: a momentum nearer to 1"):
        gradients(form, image(torch.float32))


def test_the_guard_sees_a_branch_that_is_another_one_on_the_way_back() -> None:
    form = momentum_form(branches(3), 0.9).double()
    form.branches[1].calls = 0  # type: ignore[assignment]

    def drifting(module: nn.Module, _inputs: object, found: Tensor) -> Tensor:
        module.calls += 1
        return found * (1 + 0.1 * module.calls)

    form.branches[1].register_forward_hook(drifting)
    again = pytest.raises(GuaranteeError, match=r"computed again end .* from those of the forward pass")
    with again, pytest.warns(RuntimeWarning, match="the start that the backward pass arrives at"):
        gradients(form, image())


def test_autocast_is_repeated_on_the_way_back() -> None:
    form = momentum_form(branches(4), 0.9)
    with torch.autocast("cpu", torch.bfloat16):
        found = form(image(torch.float32))
    found.square().sum().backward()
    assert form.error < 1e-12


def test_without_gradients_nothing_is_kept() -> None:
    form = momentum_form(branches(3), 0.9).requires_grad_(False)
    assert not form(image(torch.float32)).requires_grad
    with torch.no_grad():
        assert not momentum_form(branches(3))(image(torch.float32)).requires_grad


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: momentum_form(branches(3), 0.0), "momentum=0 with memory='momentum'; expected a momentum above 0"),
        (lambda: momentum_form(branches(3), 1.0), "momentum=1.0; expected a number from 0 to below 1"),
        (lambda: momentum_form(branches(3), math.nan), "momentum=nan; expected"),
        (lambda: momentum_form(branches(3), "0.9"), "momentum='0.9'; expected a number from 0 to below 1"),
        (lambda: momentum_form(branches(3), True), "momentum=True; expected a number"),
        (lambda: momentum_form(branches(3), tolerance="small"), "tolerance='small'; expected a number"),
        (lambda: momentum_form(5), "the network is of type int; expected an nn.Module, or a list of its branches"),
        (lambda: momentum_form(branches(3), 0.9, memory="none"), "memory='none'; expected checkpoint, momentum, plain"),
        (lambda: momentum_form(branches(3), 0.9, tolerance=0), "tolerance=0; expected"),
        (lambda: momentum_form(branches(3), 0.9, state=torch.bfloat16), "expected torch.float64 or torch.float32"),
        (lambda: momentum_form([]), "there is no branch; expected at least one"),
        (lambda: momentum_form([torch.tanh]), "branch 0 is a builtin_function_or_method; expected an nn.Module"),
        (lambda: momentum_form(Branch(), steps=0), "steps=0; expected a whole number of at least 1"),
        (lambda: momentum_form(Branch(), 0.9, steps=100, state=torch.float32),
         "100 branches with momentum=0.9 in float32 let rounding grow to about 0.0045"),
        (lambda: momentum_form(Branch(), 0.5, steps=40), "in float64 let rounding grow to about 0.00024"),
        (lambda: momentum_form(branches(3))(torch.zeros(1, 2, 4, 4, dtype=torch.int64)), "the input is torch.int64"),
        (lambda: momentum_form(branches(3), state=torch.float32)(image()), "expected a state that is as precise"),
        (lambda: momentum_form([nn.Conv2d(2, 3, 1)])(image(torch.float32)), r"branch 0 gives \(2, 3, 9, 8\)"),
        (lambda: momentum_form([nn.ReLU(inplace=True), Branch()])(image(torch.float32)), "branch 0 overwrites"),
        (lambda: momentum_form([nn.Sequential(Branch(), nn.Dropout())])(image(torch.float32)), "draws random numbers"),
        (lambda: momentum_form([nn.Sequential(Branch(), nn.BatchNorm2d(2))])(image(torch.float32)),
         "moves its running statistics"),
    ],
)  # fmt: skip
def test_bad_input(given: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        given()


def test_layers_that_are_refused_while_they_train_are_taken_afterwards() -> None:
    form = momentum_form([nn.Sequential(Branch(), nn.BatchNorm2d(2), nn.Dropout())], 0.9).eval()
    gradients(form, image(torch.float32))
    assert form.error < 1e-12


def test_a_second_derivative_is_refused() -> None:
    form = momentum_form(branches(3), 0.9).double()
    x = image().requires_grad_()
    with pytest.raises(UsageError, match="a second derivative was asked for"):
        torch.autograd.grad(form(x).sum(), x, create_graph=True)


def test_weights_that_change_before_the_backward_pass_are_refused() -> None:
    form = momentum_form(branches(3), 0.9).double()
    found = form(image())
    with torch.no_grad():
        form.branches[0].first.weight.mul_(1.1)
    with pytest.raises(UsageError, match="weights were changed"):
        found.sum().backward()


def test_a_gradient_that_would_be_lost_is_refused() -> None:
    hidden = torch.ones((), dtype=torch.float64, requires_grad=True)

    class Closure(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 0.1 * hidden * x

    form = momentum_form([Closure()], 0.9)
    with pytest.raises(UsageError, match="neither a parameter of its own nor in its context"):
        form(image().requires_grad_()).sum().backward()
