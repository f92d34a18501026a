"""Start a W&B run: online if it can be reached, and offline if it can't."""

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

_files_in: str | None = None  # where files of artifacts are kept now, unless the user says


@dataclasses.dataclass(frozen=True)
class WandBOptions:
    """Where a run goes in W&B, and what it is called there."""

    mode: Literal["online", "offline", "disabled"] | None = None
    """W&B's mode; default: WANDB_MODE, or else online."""
    project: str | None = None
    """W&B project; default: WANDB_PROJECT, or else lopt."""
    entity: str | None = None
    """W&B user or team; default: WANDB_ENTITY, or else yours."""
    group: str | None = None
    """W&B group: what runs are compared under, a sweep's name say; default: WANDB_RUN_GROUP."""
    name: str | None = None
    """W&B's name of the run; default: WANDB_NAME, or else W&B makes one up."""
    tags: tuple[str, ...] = ()
    """W&B tags; default: WANDB_TAGS, with commas between them."""
    notes: str | None = None
    """W&B notes; default: WANDB_NOTES."""


def default_project() -> str:
    """Return the project of those who name none: WANDB_PROJECT, or else lopt."""
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
        directory: where W&B keeps its files.
        options: the run's place and name.
        config: the run's configuration.
        run_id: the run's identity; a new one by default.
        job_type: what kind of run it is.
        seconds: how long W&B may take to answer at the start, and to send what is left at the end.
        warn: told that the run is offline.

    Raises:
        UsageError: when W&B is not installed or can't start, with what to do.
    """
    try:
        import wandb
        from wandb.errors import AuthenticationError, CommError
    except ModuleNotFoundError as error:
        raise UsageError("--tracker wandb needs W&B: pip install wandb, or leave it out") from error
    _keep_files_in(directory.absolute() / "wandb")
    if home() is None:
        os.environ["HOME"] = str(directory.absolute() / "wandb")  # it wants one, and fails without
    place: dict[str, Any] = {
        **dataclasses.asdict(options),  # where it says None, W&B looks into the environment
        **{"project": options.project or default_project(), "tags": options.tags or None},
        **{"dir": directory, "config": dict(config), "job_type": job_type},
        **{"id": run_id, "resume": "allow" if run_id else None},
        "settings": wandb.Settings(
            quiet=True,  # no summary at the end; and no question who we are, which costs 10 s offline
            console="off",  # a progress bar is nothing to keep
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
            raise _can_not_start(error) from error  # it answered, and it said no
        reason = _sentence(error)
    except Exception as error:
        raise _can_not_start(error) from error
    try:
        with contextlib.suppress(SystemExit):  # W&B's process may have failed too
            wandb.teardown()  # or else the run's id stays taken; it ends other runs of this process too
        run = wandb.init(**{**place, "mode": "offline"})
    except Exception as error:
        raise _can_not_start(error) from error
    sessions = f"{shlex.quote(str(directory / 'wandb'))}/offline-run-*{run_id or ''}"
    warn(f"W&B can't be reached ({reason}); this session is kept offline: type `wandb sync {sessions}` later")
    return run


def _keep_files_in(folder: Path) -> None:
    """Keep the files of artifacts where they belong until they are sent, perhaps by `wandb sync` much later.

    W&B keeps them in the home directory, which may be gone by then.
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
