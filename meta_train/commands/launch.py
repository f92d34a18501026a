"""How a process of `lopt-train` was started: its place in a job, and the user's files that it imports."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import tyro

from lopt import UsageError

_HEARTBEAT_SECONDS = 20
"""Time without a heartbeat after which JAX considers a process dead and aborts the others."""


class JoinError(RuntimeError):
    """A job of several processes can't be joined."""


@dataclasses.dataclass(frozen=True)
class Launch:
    """How this process finds the others of its job, and how it stops. The fields are options of `lopt-train`.

    Raises:
        UsageError: for options that don't fit together.
    """

    imports: Annotated[tuple[str, ...], tyro.conf.arg(name="import", metavar="FILE...")] = ()
    """Your own Python files, or modules, that register tasks, optimizers or estimators; see
    docs/extending.md."""
    distributed: bool = False
    """Be one of several processes. SLURM, Open MPI and Kubernetes are found without further options."""
    coordinator: str | None = None
    """HOST:PORT of process 0, outside SLURM, Open MPI and Kubernetes; with --num-processes and
    --process-id."""
    num_processes: int | None = None
    """Number of processes."""
    process_id: int | None = None
    """Index of this process, from 0."""
    stop_seconds: float = 25.0
    """After SIGTERM, SIGINT or SIGHUP: seconds to finish and save; then the process ends anyway."""
    stopped_status: int = 0
    """Exit status after such a stop; 75 lets a launcher distinguish it from the end of the run."""

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
        """Connect to the other processes; call this before any other use of JAX.

        Raises:
            JoinError: if they can't be found.
        """
        import jax

        # SIGTERM is handled by `stopping.py`, which saves; a second signal stops immediately.
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
