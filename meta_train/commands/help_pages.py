"""Help that is short by default: options in groups, in columns that fit the terminal.

The options are read from dataclasses, as tyro reads them: a field's flag is its name, and its help the string
below it.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import itertools
import os
import shutil
import textwrap
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

_LEAST, _MOST = 40, 100
"""Columns of a page at least, since a narrower one can't be read, and at most."""
_TEXT = 26
"""Column at which the texts begin."""
_TYPES = {"int": "INT", "float": "FLOAT", "str": "NAME", "Path": "PATH"}


@dataclasses.dataclass(frozen=True)
class Option:
    """An option of a command line: its field's name, its flag with what it takes, and its help."""

    name: str
    flag: str
    about: str


def is_asked(arguments: Sequence[str]) -> Literal["", "short", "all"]:
    """Return which help a command line asks for; "" if none."""
    if "--help-all" in arguments:
        return "all"
    return "short" if {"-h", "--help"} & set(arguments) else ""


def with_one_help(arguments: Sequence[str]) -> list[str]:
    """Return a command line of a command whose help is short anyway, with --help for --help-all."""
    return ["--help" if one == "--help-all" else one for one in arguments]


def options_of(settings: Any) -> list[Option]:
    """Return the options of a dataclass, in order.

    Args:
        settings: an instance, whose values are the defaults, or a class.
    """
    cls = settings if isinstance(settings, type) else type(settings)
    abouts = _abouts(cls)
    return [
        _option(field, _hints(cls).get(field.name, field.type), abouts.get(field.name, ""), settings)
        for field in dataclasses.fields(cls)
        if field.init and not _is_positional(field)
    ]


def _is_positional(field: Any) -> bool:
    return "Positional" in str(field.type)


def _hints(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except NameError:  # a name that is imported for type checkers only
        return {}


def _option(field: Any, hint: Any, about: str, settings: Any) -> Option:
    name, takes, hint = field.name, "", hint
    if typing.get_origin(hint) is typing.Annotated:
        for one in hint.__metadata__:
            name = getattr(one, "name", None) or name
            takes = getattr(one, "metavar", None) or takes
        hint = hint.__origin__
    flag = "--" + name.replace("_", "-")
    default = field.default if isinstance(settings, type) else getattr(settings, field.name)
    if hint is bool or (typing.get_origin(hint) is None and isinstance(default, bool)):
        flag += "" if default is False else f", --no-{name.replace('_', '-')}"
        return Option(field.name, flag, about)
    if not takes:
        takes = "NAME=VALUE..." if "NAME=VALUE" in about else _takes(hint)
    return Option(field.name, f"{flag} {takes}", _with_default(about, default))


def _takes(hint: Any) -> str:
    """Return what an option of a type takes."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _takes(arguments[0])
    if origin is tuple:
        return f"{_takes(arguments[0])}..."
    if origin is Literal:
        return "{" + ",".join(map(str, arguments)) + "}"
    if arguments:
        return _takes(next(one for one in arguments if one is not type(None)))
    return _TYPES.get(getattr(hint, "__name__", ""), "TEXT")


def _with_default(about: str, default: Any) -> str:
    if default is dataclasses.MISSING:
        return f"{about} (required)"
    if default is None or default in ((), ""):
        return about
    text = " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
    return f"{about} (default: {text})"


def _abouts(cls: type) -> dict[str, str]:
    """Return the string below each field in a dataclass's source, and its bases'."""
    found: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(one):
            continue
        try:
            body = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]
        except (OSError, TypeError, SyntaxError):
            continue  # a class without a source file
        for field, below in itertools.pairwise(ast.iter_child_nodes(body)):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = " ".join(text.split())
    return found


def page(
    usage: str,
    about: str,
    options: Iterable[Option],
    groups: Mapping[str, Mapping[str, Sequence[str]]],
    which: Literal["short", "all"],
) -> str:
    """Return a page of help.

    Args:
        usage: how the command is called.
        about: what it does; its lines are kept.
        options: all options.
        groups: titles, each with the names of its "short" options, which both pages show, and of "more".
            Options of no group are in the first one, and always shown.
        which: which page.
    """
    width = min(_MOST, max(_LEAST, shutil.get_terminal_size().columns))
    by_name = {one.name: one for one in options}
    known = {name for each in groups.values() for names in each.values() for name in names}
    lines = [*_wrap(f"usage: {usage}", width, subsequent_indent="    "), ""]
    lines += _wrapped(about, width)
    hidden = 0
    for at, (title, each) in enumerate(groups.items()):
        unknown = [name for name in by_name if name not in known]
        names = [*each.get("short", ()), *(unknown if at == 0 else ())]
        more = [name for name in each.get("more", ()) if name in by_name]
        names += more if which == "all" else []
        hidden += len(more) if which == "short" else 0
        if shown := [by_name[name] for name in names if name in by_name]:
            lines += ["", f"{title}:", *(line for one in shown for line in _lines(one, width))]
    if hidden:
        lines += ["", f"{hidden} more options: --help-all"]
    return "\n".join(lines) + "\n"


def _wrapped(text: str, width: int) -> Iterator[str]:
    """Fill the paragraphs of a text anew; an indented one stays indented."""
    for indent, lines in itertools.groupby(text.strip().splitlines(), lambda x: len(x) - len(x.lstrip())):
        paragraph = [line.strip() for line in lines]
        for filled, part in itertools.groupby(paragraph, bool):
            margin = " " * indent
            yield from _wrap(" ".join(part), width, initial_indent=margin, subsequent_indent=margin)
            yield from [""] if not filled else ()


def _wrap(text: str, width: int, **options: Any) -> list[str]:
    """Wrap text, without breaking names at their hyphens."""
    return textwrap.wrap(text, width, break_on_hyphens=False, **options)


def _lines(one: Option, width: int) -> Iterator[str]:
    left = f"  {one.flag}"
    indent = _TEXT if width >= 2 * _TEXT else 6
    text = _wrap(one.about, width - indent) or [""]
    if len(left) < indent - 1:
        yield f"{left:{indent}}{text[0]}".rstrip()
        text = text[1:]
    else:
        yield from _wrap(left, width, initial_indent="", subsequent_indent="      ") or [left]
    yield from (" " * indent + line for line in text if line)


@contextmanager
def wide_enough() -> Iterator[None]:
    """Give tyro at least 40 columns: in fewer, its help and its errors never end."""
    given, columns = os.environ.get("COLUMNS"), shutil.get_terminal_size().columns
    if columns < _LEAST:
        os.environ["COLUMNS"] = str(_LEAST)
    try:
        yield
    finally:
        if columns < _LEAST:
            os.environ.pop("COLUMNS", None)
            os.environ |= {} if given is None else {"COLUMNS": given}


def parser_of(program: str, about: str) -> argparse.ArgumentParser:
    """Return an argparse parser whose help keeps the lines of its texts, and fits the terminal."""

    def formatter(prog: str) -> argparse.HelpFormatter:
        width = min(_MOST, max(_LEAST, shutil.get_terminal_size().columns)) - 2
        return argparse.RawDescriptionHelpFormatter(prog, max_help_position=_TEXT, width=width)

    return argparse.ArgumentParser(
        prog=program, description=about, formatter_class=formatter, allow_abbrev=False
    )
