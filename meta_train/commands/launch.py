"""How a process of `lopt-train` was started: its machine, and the code of yours that it runs."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import tyro

from lopt import UsageError

_HEARTBEAT_SECONDS = 20
"""After how long without a sign of life JAX takes a process for dead, and aborts the others."""


class JoinError(RuntimeError):
    """A job of several processes can't be joined."""


@dataclasses.dataclass(frozen=True)
class Launch:
    """How this process finds the others of its job, and how it stops. Fields are options of `lopt-train`.

    Raises:
        UsageError: for options that don't go together.
    """

    imports: Annotated[tuple[str, ...], tyro.conf.arg(name="import", metavar="FILE...")] = ()
    """Your own Python files, or modules, that register tasks, optimizers or estimators; see
    docs/extending.md."""
    distributed: bool = False
    """Be one of several processes. SLURM, Open MPI and Kubernetes are found without further options."""
    coordinator: str | None = None
    """HOST:PORT of process 0, where nothing else tells; with --num-processes and --process-id."""
    num_processes: int | None = None
    """How many processes there are."""
    process_id: int | None = None
    """Which one this is, from 0."""
    stop_seconds: float = 25.0
    """After SIGTERM, SIGINT or SIGHUP: seconds to finish and save; then the process ends anyway."""
    stopped_status: int = 0
    """Exit status after such a stop; 75 lets a launcher tell it from the end of the run."""

    def __post_init__(self) -> None:
        given = [option is not None for option in (self.coordinator, self.num_processes, self.process_id)]
        if any(given) and not all(given):
            raise UsageError("--coordinator, --num-processes and --process-id go together")
        if self.process_id is not None and not 0 <= self.process_id < (self.num_processes or 0):
            raise UsageError(
                f"--process-id counts from 0 to one less than --num-processes, which is "
                f"{self.num_processes}: it can't be {self.process_id}"
            )
        if not self.stop_seconds > 0:
            raise UsageError(f"--stop-seconds must be positive, not {self.stop_seconds}")

    @property
    def several(self) -> bool:
        """Whether this process is one of several."""
        return self.distributed or self.coordinator is not None

    def join(self) -> None:
        """Meet the other processes; call it before anything else of JAX.

        Raises:
            JoinError: when they can't be found.
        """
        import jax

        # SIGTERM is ours: `stopping.py` saves, and a second signal stops at once.
        jax.config.update("jax_enable_preemption_service", False)
        # Several CPU devices in each of several processes can deadlock in gloo.
        jax.config.update("jax_num_cpu_devices", 1)
        try:
            jax.distributed.initialize(
                self.coordinator,
                self.num_processes,
                self.process_id,
                heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
            )
        except (ValueError, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise JoinError(
                f"the other processes can't be found ({reason}): outside SLURM, Open MPI and Kubernetes say "
                "--coordinator HOST:PORT --num-processes N --process-id I"
            ) from error
