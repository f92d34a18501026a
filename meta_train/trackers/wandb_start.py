"""Starting a W&B run: online if W&B can be reached, otherwise offline."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from lopt import UsageError

from ..host.home import home

_files_in: str | None = None  # the current folder for artifact files, unless the user sets one


@dataclasses.dataclass(frozen=True)
class WandBOptions:
    """A run's place and name in W&B."""

    mode: Literal["online", "offline", "disabled"] | None = None
    """W&B's mode; default: WANDB_MODE, or else online."""
    project: str | None = None
    """W&B project; default: WANDB_PROJECT, or else lopt."""
    entity: str | None = None
    """W&B user or team; default: WANDB_ENTITY, or else yours."""
    group: str | None = None
    """W&B group of runs to compare, such as a sweep's name; default: WANDB_RUN_GROUP."""
    name: str | None = None
    """W&B's name of the run; default: WANDB_NAME, or else one chosen by W&B."""
    tags: tuple[str, ...] = ()
    """W&B tags; default: WANDB_TAGS, separated by commas."""
    notes: str | None = None
    """W&B notes; default: WANDB_NOTES."""


def default_project() -> str:
    """Return the default project: WANDB_PROJECT, or else lopt."""
    return os.environ.get("WANDB_PROJECT") or "lopt"


def start_run(
    directory: Path,
    options: WandBOptions,
    config: Mapping[str, Any],
    run_id: str | None,
    job_type: str | None,
    seconds: tuple[float, float],
    warn: Callable[[str], None],
) -> Any:
    """Start or resume a W&B run; offline, with a warning, if W&B can't be reached.

    Args:
        directory: folder of W&B's files.
        options: the run's place and name.
        config: the run's configuration.
        run_id: the run's id; a new one by default.
        job_type: the kind of run.
        seconds: time that W&B may take to answer at the start, and to send the rest at the end.
        warn: called with a message if the run is offline.

    Raises:
        UsageError: if W&B is not installed or can't start; the message says what to do.
    """
    try:
        import wandb
        from wandb.errors import AuthenticationError, CommError
    except ModuleNotFoundError as error:
        raise UsageError("--tracker wandb needs W&B: pip install wandb, or leave it out") from error
    _keep_files_in(directory.absolute() / "wandb")
    if home() is None:
        os.environ["HOME"] = str(directory.absolute() / "wandb")  # W&B fails without a home directory
    place: dict[str, Any] = {
        **dataclasses.asdict(options),  # for None, W&B uses its environment variables
        **{"project": options.project or default_project(), "tags": options.tags or None},
        **{"dir": directory, "config": dict(config), "job_type": job_type},
        **{"id": run_id, "resume": "allow" if run_id else None},
        "settings": wandb.Settings(
            quiet=True,  # no summary at the end, and no login query, which costs 10 s offline
            console="off",  # progress bars need not be stored
            reinit="create_new",  # never another run of this process
            init_timeout=seconds[0],
            finish_timeout=seconds[1],
            finish_timeout_raises=True,
        ),
    }
    try:
        return wandb.init(**place)
    except (CommError, TimeoutError) as error:
        if isinstance(error, AuthenticationError) or re.search(r"\berror 4\d\d\b", str(error)):
            raise _can_not_start(error) from error  # W&B answered with a refusal
        reason = _sentence(error)
    except Exception as error:
        raise _can_not_start(error) from error
    try:
        with contextlib.suppress(SystemExit):  # W&B's process may have failed too
            wandb.teardown()  # otherwise the run's id stays taken; this also ends other runs of this process
        run = wandb.init(**{**place, "mode": "offline"})
    except Exception as error:
        raise _can_not_start(error) from error
    sessions = f"{shlex.quote(str(directory / 'wandb'))}/offline-run-*{run_id or ''}"
    warn(f"W&B can't be reached ({reason}); this session is kept offline: type `wandb sync {sessions}` later")
    return run


def _keep_files_in(folder: Path) -> None:
    """Keep artifact files in the run's folder until they are sent, perhaps much later by `wandb sync`.

    By default W&B keeps them in the home directory, which may be gone by then.
    """
    global _files_in
    if os.environ.get("WANDB_DATA_DIR") in (None, _files_in):
        os.environ["WANDB_DATA_DIR"] = _files_in = str(folder)


def _can_not_start(error: Exception) -> UsageError:
    return UsageError(
        f"W&B can't start ({_sentence(error)}): type `wandb login`, set WANDB_MODE=offline, or leave it out "
        "with --tracker none"
    )


def _sentence(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
