"""Values that compare, print and pickle: frozen dataclasses with tensors, and results of named functions."""

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from types import MethodType
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from recon.errors import UsageError

P = ParamSpec("P")
V = TypeVar("V", bound="Made")

_RECIPE = "_recipe"


class ByValue:
    """Equality, hash and text of a frozen dataclass with tensors among its fields.

    Two are equal if they have one type and equal fields; tensors are equal if type and entries are. Fields that are
    declared with ``compare=False`` or ``repr=False`` do not take part.
    """

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        names = [field.name for field in fields(self) if field.compare]  # type: ignore[arg-type]
        return all(is_same(getattr(self, name), getattr(other, name)) for name in names)

    def __hash__(self) -> int:
        return hash(type(self))  # equal values may differ in every field that could be hashed, as 0.0 and -0.0 do

    def __repr__(self) -> str:
        shown = [field.name for field in fields(self) if field.repr]  # type: ignore[arg-type]
        values = [f"{name}={as_text(getattr(self, name))}" for name in shown]
        return f"{type(self).__name__}({', '.join(values)})"

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields, which are what pickles; private caches start empty, other values are made again."""
        known = {field.name: field for field in fields(self) if field.name in self.__dict__}  # type: ignore[arg-type]
        return {name: _empty(field) if _is_cache(field) else self.__dict__[name] for name, field in known.items()}


def _is_cache(field: Field[Any]) -> bool:
    return field.name.startswith("_") and not field.compare and field.default_factory is not MISSING


def _empty(field: Field[Any]) -> Any:
    assert field.default_factory is not MISSING  # noqa: S101  a cache has one
    return field.default_factory()


@dataclass(frozen=True, eq=False)
class Recipe:
    """A call: a function by name, and what it was called with.

    Attributes:
        function: Of a module or class, so that it pickles by its name.
        positional: Its positional arguments, defaults filled in.
        named: The others.
        chosen: By name those arguments that are not at their defaults.
        versions: How often each tensor among the arguments had been written to.
    """

    function: Callable[..., Any]
    positional: tuple[Any, ...]
    named: Mapping[str, Any]
    chosen: Mapping[str, Any]
    versions: tuple[int, ...]

    @property
    def is_current(self) -> bool:
        """Whether no tensor among the arguments was written to since the call."""
        return self.versions == _versions((*self.positional, *self.named.values()))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Recipe)
            and self.function is other.function
            and self.is_current
            and other.is_current
            and is_same(self.positional, other.positional)
            and is_same(self.named, other.named)
        )

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return f"{self.function.__name__}({', '.join(f'{name}={as_text(v)}' for name, v in self.chosen.items())})"


class Made(ByValue):
    """A frozen dataclass that remembers the call of a :func:`remembered` function that made it.

    It pickles, compares and prints as that call. A changed copy (:func:`dataclasses.replace`) remembers none, and
    then pickles, compares and prints by its fields.
    """

    @property
    def recipe(self) -> Recipe | None:
        """The call that made it; ``None`` where it was put together by hand."""
        return self.__dict__.get(_RECIPE)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        mine, theirs = self.recipe, other.recipe
        return ByValue.__eq__(self, other) if mine is None or theirs is None else mine == theirs

    __hash__ = ByValue.__hash__

    def __repr__(self) -> str:
        return super().__repr__() if self.recipe is None else str(self.recipe)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.recipe is None:
            return (_put_together, (type(self), self.__getstate__()))
        if not self.recipe.is_current:
            raise UsageError(
                f"{self.recipe.function.__name__}: a tensor that it was called with was written to since; expected it "
                "as it was, because the value is kept as that call: make it anew, or hand over a clone."
            )
        return (_made_again, (self.recipe.function, self.recipe.positional, dict(self.recipe.named)))


def remembered(function: Callable[P, V]) -> Callable[P, V]:
    """A function of a module or class whose results remember how they were made; see :class:`Made`."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def make(*args: P.args, **kwargs: P.kwargs) -> V:
        made = function(*args, **kwargs)
        if any(made is each for each in (*args, *kwargs.values())):
            return made  # handed through, it keeps what it remembers
        bound = signature.bind(*args, **kwargs)
        bound.arguments.update({name: _kept(value) for name, value in bound.arguments.items()})
        chosen = {name: v for name, v in bound.arguments.items() if not _is_default(signature, name, v)}
        bound.apply_defaults()
        versions = _versions((*bound.args, *bound.kwargs.values()))
        return _with_recipe(made, Recipe(make, bound.args, bound.kwargs, chosen, versions))

    return make


def _kept(value: Any) -> Any:
    """An argument as a recipe keeps it: arrays, which tell nobody that they are written to, as copies."""
    return value.copy() if isinstance(value, np.ndarray) else value


def _versions(values: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(value._version for value in values if isinstance(value, Tensor))


def _is_default(signature: inspect.Signature, name: str, value: Any) -> bool:
    default = signature.parameters[name].default
    return default is not inspect.Parameter.empty and is_same(default, value)


def _with_recipe(made: V, recipe: Recipe) -> V:
    """A copy, because what a function returns may have another call to remember."""
    copied = _put_together(type(made), made.__dict__)
    copied.__dict__[_RECIPE] = recipe
    return copied


def _put_together(kind: type[V], state: Mapping[str, Any]) -> V:
    made = object.__new__(kind)
    made.__dict__.update(state)
    return made


def _made_again(function: Callable[..., V], positional: tuple[Any, ...], named: dict[str, Any]) -> V:
    return function(*positional, **named)


def is_same(a: Any, b: Any) -> bool:
    """Return whether two arguments are equal; of tensors, type and entries."""
    if a is b:
        return True
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        alike = isinstance(a, Tensor) and isinstance(b, Tensor) and a.dtype == b.dtype and a.device == b.device
        return alike and torch.equal(a, b)
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        alike = isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.dtype == b.dtype
        return alike and np.array_equal(a, b)
    if isinstance(a, tuple | list) and type(a) is type(b):
        return len(a) == len(b) and all(map(is_same, a, b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(is_same(a[key], b[key]) for key in a)
    return _is_same_value(a, b)


def _is_same_value(a: Any, b: Any) -> bool:
    """Two functions with what they are bound to, two networks by their weights, or any two values."""
    if type(a) is not type(b):
        return bool(a == b)  # 1 and 1.0
    if isinstance(a, functools.partial):
        return a.func is b.func and is_same(a.args, b.args) and is_same(a.keywords, b.keywords)
    if isinstance(a, MethodType):
        return a.__func__ is b.__func__ and is_same(a.__self__, b.__self__)
    if isinstance(a, nn.Module):
        settings = getattr(a, "config", None), getattr(b, "config", None)
        return repr(a) == repr(b) and is_same(*settings) and is_same(dict(a.state_dict()), dict(b.state_dict()))
    return bool(a == b) or (isinstance(a, float) and math.isnan(a) and math.isnan(b))


def as_text(value: Any) -> str:
    """A value in a line; of a tensor, type and shape."""
    if isinstance(value, Tensor):
        return f"<{str(value.dtype).removeprefix('torch.')} {' x '.join(map(str, value.shape)) or 'number'}>"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return f"({', '.join(map(as_text, value))}{',' * (len(value) == 1)})"
    return _function_text(value) or repr(value)


def _function_text(value: Any) -> str | None:
    """A function by its name, with what it is bound to, or a network by its type; ``None`` of anything else."""
    if isinstance(value, functools.partial):
        return f"{as_text(value.func)}({', '.join(map(as_text, value.args))}, ...)"
    if isinstance(value, nn.Module):
        return type(value).__name__
    return str(value.__qualname__) if inspect.isroutine(value) else None
