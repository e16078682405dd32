"""Plain ``torch.nn.Sequential`` networks as chains of layers."""

import copy
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from recon.compression.chain import Convolution, Link
from recon.errors import UsageError
from recon.priors.networks.layers.activations import ACTIVATIONS, REFUSED
from recon.types import Map

_KNOWN: tuple[type[nn.Module], ...] = (
    nn.Identity, nn.ReLU, nn.ReLU6, nn.Tanh, nn.Sigmoid, nn.Softsign, nn.Softplus, nn.LeakyReLU, nn.Hardtanh,
    nn.Softshrink, nn.ELU, nn.PReLU, nn.Softmax,
)  # fmt: skip
"""Activations that are proximity operators, where their parameters allow it."""

_REASONS = {
    "GELU": "gelu",
    "SiLU": "silu",
    "Mish": "mish",
    "Hardswish": "hardswish",
    "SELU": "selu",
    "Hardshrink": "hardshrink",
}
_NORMALISING = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d)


def links_of(network: nn.Sequential) -> list[Link]:
    """The layers of a sequential network: convolutions and matrices, each with the activations after it.

    Raises:
        UsageError: A module is not understood; it is named, with its place.
    """
    links: list[Link] = []
    before: list[Map] = []
    for name, module in flat(network):
        if isinstance(module, nn.Conv2d) and type(module) is nn.Conv2d:
            links.append(_link(name, module, _convolution(name, module), before))
            before = []
        elif type(module) is nn.Linear:
            links.append(_link(name, module, None, before))
            before = []
        elif type(module) is nn.Flatten:
            if (module.start_dim, module.end_dim) != (1, -1):
                raise UsageError(f"{name}: {module}; expected start_dim=1 and end_dim=-1.")
            before.append(module)
        elif _is_activation(name, module):
            if links and not before:
                links[-1] = _followed(links[-1], module)
            else:
                before.append(module)
        else:
            raise _unknown(name, module)
    if not links:
        raise UsageError("Sequential: there is no convolution and no matrix in it; expected at least one.")
    if before:
        raise UsageError("Sequential: it ends with Flatten; expected a convolution or a matrix after it.")
    return links


def with_links(network: nn.Sequential, links: Sequence[Link]) -> nn.Sequential:
    """A copy of a network with the weights of a chain, whose numbers of channels may be other ones."""
    twin = copy.deepcopy(network)
    for link in links:
        module = twin.get_submodule(link.name)
        assert isinstance(module, nn.Conv2d | nn.Linear)  # noqa: S101  what links_of takes
        module.weight = nn.Parameter(link.weight.detach().clone(), module.weight.requires_grad)
        if link.bias is not None and module.bias is not None:
            module.bias = nn.Parameter(link.bias.detach().clone(), module.bias.requires_grad)
        if isinstance(module, nn.Conv2d):
            module.out_channels, module.in_channels = link.weight.shape[:2]
        else:
            module.out_features, module.in_features = link.weight.shape
    return twin


def require_pointwise(network: nn.Sequential) -> None:
    """Refuse activations that depend on which channels there are.

    Raises:
        UsageError: There is one.
    """
    for name, module in flat(network):
        if isinstance(module, nn.Softmax) or (isinstance(module, nn.PReLU) and module.num_parameters > 1):
            raise UsageError(
                f"{name}: {module} with structured; expected an activation that is the same for every channel, because "
                "channels are dropped."
            )


def flat(network: nn.Sequential, prefix: str = "") -> list[tuple[str, nn.Module]]:
    """The modules of a sequential network and of those in it, in their order, with their places."""
    found: list[tuple[str, nn.Module]] = []
    for name, module in network.named_children():
        place = f"{prefix}{name}"
        found += flat(module, f"{place}.") if type(module) is nn.Sequential else [(place, module)]
    return found


def _link(name: str, module: nn.Conv2d | nn.Linear, convolution: Convolution | None, before: Sequence[Map]) -> Link:
    bias = None if module.bias is None else module.bias.detach()
    for part, values in (("weights", module.weight), ("biases", bias)):
        if values is not None and (bad := int((~values.isfinite()).sum())):
            raise UsageError(f"{name}: {bad} of its {values.numel()} {part} are NaN or infinite; expected none.")
    return Link(name, module.weight.detach(), bias, convolution, before=_composed(before))


def _followed(link: Link, module: nn.Module) -> Link:
    return replace(link, activation=_composed([link.activation, module]))


def _composed(maps: Sequence[Map]) -> Map:
    def apply(x: Tensor) -> Tensor:
        for each in maps:
            x = each(x)
        return x

    return apply


def _convolution(name: str, module: nn.Conv2d) -> Convolution:
    if module.groups != 1:
        raise UsageError(f"{name}: a convolution of {module.groups} groups; expected one, in which all channels meet.")
    if module.padding_mode not in ("zeros", "circular"):
        raise UsageError(f"{name}: padding_mode = {module.padding_mode!r}; expected 'zeros' or 'circular'.")
    stride, dilation = (module.stride[0], module.stride[1]), (module.dilation[0], module.dilation[1])
    padding = module.padding
    if isinstance(padding, str):
        size = module.kernel_size
        if padding == "same" and any(each % 2 == 0 for each in size):
            raise UsageError(f"{name}: padding = 'same' with a kernel of {size}; expected odd sizes.")
        padding = (
            tuple(step * (each // 2) for step, each in zip(dilation, size, strict=True))
            if padding == "same"
            else (0, 0)
        )
    return Convolution((padding[0], padding[1]), module.padding_mode == "circular", stride, dilation)


def _is_activation(name: str, module: nn.Module) -> bool:
    if type(module) not in _KNOWN:
        return False
    fault = _slope_fault(module)
    if fault:
        raise UsageError(
            f"{name}: {module} is not the proximity operator of a convex function, because {fault}; expected slopes "
            "between 0 and 1."
        )
    return True


def _slope_fault(module: nn.Module) -> str:
    """Why an activation with these parameters is no proximity operator; empty where it is one."""
    if isinstance(module, nn.LeakyReLU) and not 0 <= module.negative_slope <= 1:
        return f"its slope is {module.negative_slope:g} on negative numbers"
    if isinstance(module, nn.PReLU) and not bool(((module.weight >= 0) & (module.weight <= 1)).all()):
        least, most = module.weight.detach().aminmax()
        return f"its slopes run from {float(least):.3g} to {float(most):.3g}"
    if isinstance(module, nn.ELU) and not 0 <= module.alpha <= 1:
        return f"its slopes reach {module.alpha:g}"
    if isinstance(module, nn.Softmax) and module.dim not in (1,):
        return f"it acts along dimension {module.dim}, and the channels are dimension 1"
    return ""


def _unknown(name: str, module: nn.Module) -> UsageError:
    kind = type(module).__name__
    if kind in _REASONS:
        why = REFUSED[_REASONS[kind]][1]
        return UsageError(
            f"{name}: {kind} is not the proximity operator of a convex function, because {why}; expected slopes "
            f"between 0 and 1, as of {', '.join(sorted(ACTIVATIONS))}."
        )
    if isinstance(module, _NORMALISING):
        return UsageError(f"{name}: {kind} is no layer of this method; expected it folded into the layer before it.")
    return UsageError(
        f"{name}: {kind} is not understood; expected Conv2d, Linear, Flatten and activations that are proximity "
        f"operators: {', '.join(each.__name__ for each in _KNOWN)}."
    )
