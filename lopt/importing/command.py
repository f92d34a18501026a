"""`lopt-import`: publish other people's weights as an optimizer that `lopt.load` reads."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import UsageError
from ..own_optimizers import own_folder
from ..plain_text import plain

_ABOUT = """Import the weights of another library's learned optimizer.

FORMAT is the rule: mlp, adafactor-mlp, tensor-lstm, velo, celo, celo-adam, celo2 or celo2-base. FILE is a
flax msgpack file of learned_optimization or Celo (theta.state), or safetensors of PyLO (two files for velo).
Nothing is unpickled, and the other library is not needed.
"""
_END = """example:
  lopt-import celo celo.theta.state      # lopt.load("celo") finds it from then on
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0 done, 1 an error, 2 wrong usage."""
    parser = argparse.ArgumentParser(
        "lopt-import", description=_ABOUT, epilog=_END, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("format", metavar="FORMAT", nargs="?", help="the rule")
    parser.add_argument(
        "operands",
        metavar="FILE... [OUT_DIR]",
        nargs="*",
        type=Path,
        help="the weights, and the directory to write; default: one among your own optimizers",
    )
    parser.add_argument("--name", help="name among your own optimizers; default: FORMAT")
    parser.add_argument("--origin", help="where the weights come from; default: their library's page")
    parser.add_argument("--licence", help="their licence; default: that of their library")
    parser.add_argument("--list", action="store_true", help="list your own optimizers, and where they are")
    given = parser.parse_args(arguments)
    if given.list:
        return _list()
    if given.format is None or not given.operands:
        parser.print_usage(sys.stderr)
        return 2
    try:
        print(_import(given))
    except (UsageError, OSError) as error:
        print(f"lopt-import: {plain(error, 1000)}", file=sys.stderr)
        return 1
    return 0


def _import(given: argparse.Namespace) -> str:
    import hashlib

    from ..architectures import architecture_name
    from ..base import theta_size
    from ..names import look_up
    from ..publish import published, save
    from .files import parse_theta, read
    from .formats import FORMATS

    form = look_up("format", FORMATS, given.format)
    files, directory = _operands(given.operands)
    if directory is not None and given.name is not None:
        raise UsageError("give OUT_DIR or --name, not both: a name is for the folder of your own optimizers")
    name = given.name or given.format
    if "/" in name or name.startswith("."):
        raise UsageError(f"{name!r} can't be a name: it has a slash, or begins with a dot")
    out = directory or own_folder() / name
    contents = [(file, read(file)) for file in files]
    optimizer = form.optimizer(parse_theta(contents, given.format))
    if (found := architecture_name(optimizer)) != given.format:
        raise UsageError(f"these are weights of {found}: say `lopt-import {found}`")
    provenance = {
        "imported_from": [file.name for file in files],
        "sha256": [hashlib.sha256(content).hexdigest() for _, content in contents],
        "origin": given.origin or form.origin,
        "licence": given.licence or form.licence,
    }
    if form.horizon is not None:
        provenance["horizon"] = list(form.horizon)
    save(optimizer, out, provenance)
    use = f"lopt.load({name!r})" if directory is None and name in published() else f"lopt.load({str(out)!r})"
    return f"wrote {out}: {given.format} with {theta_size(optimizer):,} weights; use it with {use}"


def _operands(operands: Sequence[Path]) -> tuple[Sequence[Path], Path | None]:
    """Tell files from a directory to write, which comes last and is not a file."""
    if len(operands) > 1 and not operands[-1].is_file():
        return operands[:-1], operands[-1]
    return operands, None


def _list() -> int:
    folder = own_folder()
    names = sorted(path.parent.name for path in folder.glob("*/config.json"))
    print("\n".join(names) or f"none; they are imported to {folder}")
    return 0
