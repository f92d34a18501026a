"""Things by name: what configurations, commands and a user's own files mean by "pes" or "log-uniform"."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

import lopt

T = TypeVar("T")
C = TypeVar("C", bound=type)


class Registry(dict[str, type[T]], Generic[T]):
    """Classes of one kind by name; each is a frozen dataclass, and so its own configuration.

    Args:
        kind: what they are called in messages, such as "horizon".
        base: what all of them derive from.
    """

    def __init__(self, kind: str, base: type[T]) -> None:
        super().__init__()
        self.kind, self.base = kind, base

    def register(self, name: str) -> Callable[[C], C]:
        """Return a decorator that gives a class a name.

        Raises:
            ValueError: when the name is no word, or taken, or the class is no frozen dataclass of the kind.
        """

        def add(cls: C) -> C:
            if not (isinstance(name, str) and name.isprintable() and name and " " not in name):
                raise ValueError(
                    f"{name!r} is no name for a {self.kind}: take a word, such as my-{self.kind}"
                )
            if name in self:
                raise ValueError(f"a {self.kind} called {name!r} is registered already")
            if not (isinstance(cls, type) and issubclass(cast(type, cls), self.base)):
                raise ValueError(f"{cls!r} can't be the {self.kind} {name!r}: it is no {self.base.__name__}")
            made = cls.__dict__.get("__dataclass_params__")
            if made is None or not made.frozen:
                raise ValueError(f"{cls.__name__} needs @dataclasses.dataclass(frozen=True) below its name")
            missing = sorted(getattr(cls, "__abstractmethods__", ()))
            if missing:
                raise ValueError(f"the {self.kind} {name!r} lacks {', '.join(missing)}")
            self[name] = cast(Any, cls)
            return cls

        return add

    def create(self, name: str, **options: Any) -> T:
        """Make a thing by name.

        Raises:
            ValueError: for an unknown name, with the nearest ones, or an option that it does not take.
        """
        cls = lopt.look_up(self.kind, self, name)
        known = [field.name for field in dataclasses.fields(cls) if field.init]  # type: ignore[arg-type]
        for option in options:
            if option not in known:
                takes = ", ".join(known) or "no options"
                raise ValueError(f"{self.kind} {name} has no {option}: it takes {takes}")
        try:
            return cls(**options)
        except TypeError as error:
            raise ValueError(f"{self.kind} {name}: {error}") from error

    def name_of(self, thing: T) -> str:
        """Return the name of a thing's class.

        Raises:
            ValueError: when it has none.
        """
        for name, cls in self.items():
            if cls is type(thing):
                return name
        raise ValueError(f"{type(thing).__name__} is not registered as a {self.kind}")
