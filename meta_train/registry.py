"""Registries of classes by name, such as "pes" or "log-uniform", for configurations and commands."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

import lopt
from lopt import UsageError

T = TypeVar("T")
C = TypeVar("C", bound=type)


class Registry(dict[str, type[T]], Generic[T]):
    """Classes of one kind by name; each is a frozen dataclass, and so its own configuration.

    Args:
        kind: the word for them in messages, such as "horizon".
        base: the base class of all of them.
    """

    def __init__(self, kind: str, base: type[T]) -> None:
        super().__init__()
        self.kind, self.base = kind, base

    def register(self, name: str) -> Callable[[C], C]:
        """Return a decorator that registers a class under a name.

        Raises:
            UsageError: if the name is taken or not text, or the class is abstract, not a subclass of `base`,
                or not a frozen dataclass.
        """

        def add(cls: C) -> C:
            lopt.check_class(cls, self.base, name)
            lopt.check_free(self.kind, name, self)
            made = cls.__dict__.get("__dataclass_params__")
            if made is None or not made.frozen:
                raise UsageError(f"{cls.__name__} needs @dataclasses.dataclass(frozen=True) below @register")
            self[name] = cast(Any, cls)
            return cls

        lopt.check_name(name)
        return add

    def create(self, name: str, **options: Any) -> T:
        """Create an instance by name.

        Raises:
            UsageError: for an unknown name, with similar ones, or an unknown option.
        """
        cls = lopt.look_up(self.kind, self, name)
        known = [field.name for field in dataclasses.fields(cls) if field.init]  # type: ignore[arg-type]
        for option in options:
            if option not in known:
                takes = ", ".join(known) or "no options"
                raise UsageError(f"{self.kind} {name} has no {option}: it takes {takes}")
        try:
            return cls(**options)
        except TypeError as error:
            raise UsageError(f"{self.kind} {name}: {error}") from error

    def name_of(self, thing: T) -> str:
        """Return the registered name of an instance's class.

        Raises:
            UsageError: if it is not registered.
        """
        for name, cls in self.items():
            if cls is type(thing):
                return name
        raise UsageError(f"{type(thing).__name__} is not registered as a {self.kind}")
