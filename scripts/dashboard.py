#!/usr/bin/env python
"""Make the W&B dashboard: `scripts/dashboard.py [--run-dir DIR | --project P] [--print]`.

Creates a saved workspace and a report in the project, and prints their addresses. Both have the sections
meta, tasks, estimator, theta, time and robust. A second call creates a second pair; delete the first in W&B.

With --run-dir, the run's configuration determines project and entity, and the dashboard shows the curves of
its tasks and the distributions of its theta; without it, name the tasks with --task.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import warnings
from pathlib import Path
from typing import Any

from meta_train import METRICS
from meta_train.trackers import dashboard
from meta_train.trackers.dashboard import Panel, Section, Subject
from meta_train.trackers.metrics import Scope


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    given = parse(arguments)
    try:
        subject = find_subject(given)
        ws, wr = load_library()
        if not given.print:
            subject = sign_in(subject)
        makers = {"workspace": make_workspace, "report": make_report}
        made = {kind: make(subject, ws, wr) for kind, make in makers.items() if given.only in (None, kind)}
        if given.print:
            print(json.dumps({kind: spec(what) for kind, what in made.items()}, indent=2))
            return 0
        for kind, what in made.items():
            print(f"{kind}: {save(what)}")
    except ValueError as error:
        print(f"dashboard: {error}", file=sys.stderr)
        return 1
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--project", help="W&B project; default: the run's, or lopt")
    parser.add_argument("--entity", help="its owner; default: the run's, or W&B's default")
    parser.add_argument("--run-dir", type=Path, help="a run of the project")
    parser.add_argument("--task", action="append", default=[], help="a task that runs log; repeatable")
    parser.add_argument(
        "--print", action="store_true", help="print what would be created, as JSON; needs no API key"
    )
    parser.add_argument("--only", choices=("workspace", "report"), help="create only one of the two")
    return parser.parse_args(arguments)


def find_subject(given: argparse.Namespace) -> Subject:
    subject = dashboard.read_subject(given.run_dir) if given.run_dir else Subject()
    chosen = {name: value for name in ("project", "entity") if (value := getattr(given, name)) is not None}
    return dataclasses.replace(subject, **chosen).with_tasks(given.task)


# --- W&B ---------------------------------------------------------------------------------------------------


def load_library() -> tuple[Any, Any]:
    """Import W&B's workspaces and reports."""
    try:
        with warnings.catch_warnings():
            # They use pydantic's deprecated validators, which can't be changed here.
            warnings.simplefilter("ignore", DeprecationWarning)
            import wandb_workspaces.reports.v2 as wr
            import wandb_workspaces.workspaces as ws
    except ModuleNotFoundError as error:
        raise ValueError("W&B's dashboards need a package: pip install wandb-workspaces") from error
    return ws, wr


def sign_in(subject: Subject) -> Subject:
    """Check that W&B can be used, without prompting for a key; find the default entity."""
    import wandb

    try:
        if not wandb.login(prompt=False):
            raise ValueError(
                "W&B needs an API key: type `wandb login` or set WANDB_API_KEY, without WANDB_MODE=offline; "
                "--print shows the dashboard without"
            )
        return dataclasses.replace(subject, entity=subject.entity or wandb.Api().default_entity or "")
    except wandb.Error as error:
        reason = _first_line(error)
        raise ValueError(f"W&B can't be used ({reason}): see to the network and `wandb login`") from error


def save(what: Any) -> str:
    """Save a workspace or a report; return its address."""
    try:
        return what.save().url
    except Exception as error:  # W&B may raise anything
        raise ValueError(
            f"W&B did not take the {type(what).__name__.lower()}: {_first_line(error)}"
        ) from error


def spec(what: Any) -> dict[str, Any]:
    """Return the data that would be sent to W&B."""
    return json.loads(what._to_model().model_dump_json(by_alias=True, exclude_none=True))


def make_workspace(subject: Subject, ws: Any, wr: Any) -> Any:
    """Make the workspace: all sections, open."""
    sections = [
        ws.Section(
            name=section.name,
            panels=make_panels(section, subject, wr),
            is_open=True,
            panel_settings=ws.SectionPanelSettings(x_axis=dashboard.META_STEP),
        )
        for section in dashboard.SECTIONS
    ]
    settings = ws.WorkspaceSettings(x_axis=dashboard.META_STEP)
    return ws.Workspace(
        name="lopt", entity=subject.entity, project=subject.project, sections=sections, settings=settings
    )


def make_report(subject: Subject, ws: Any, wr: Any) -> Any:
    """Make the report: the same panels, with descriptions of their metrics."""
    blocks: list[Any] = [wr.TableOfContents()]
    for section in dashboard.SECTIONS:
        panels = make_panels(section, subject, wr)
        # A run set without a project means the report's own, and needs no lookup.
        blocks += [wr.H2(section.name), wr.P(section.about), meanings(section, wr)]
        blocks += [wr.PanelGrid(runsets=[wr.Runset()], panels=panels)] if panels else []
    return wr.Report(
        project=subject.project,
        entity=subject.entity,
        title="lopt: meta-training",
        blocks=blocks,
        width="fluid",
    )


def meanings(section: Section, wr: Any) -> Any:
    """List a section's metrics with their meanings."""
    names = dict.fromkeys(name for panel in section.panels for name in panel.metrics)
    return wr.UnorderedList(items=[[wr.InlineCode(name), f": {meaning(name)}"] for name in names])


def meaning(name: str) -> str:
    metric = METRICS[name]
    return "".join(
        (
            "in a mixture, " if metric.scope is Scope.MEMBER else "",
            metric.about,
            f" ({metric.unit})" if metric.unit else "",
        )
    )


def make_panels(section: Section, subject: Subject, wr: Any) -> list[Any]:
    return [made for panel in section.panels for made in make_panel(panel, subject, wr)]


def make_panel(panel: Panel, subject: Subject, wr: Any) -> list[Any]:
    """Make W&B's panels for one of ours: none if it needs names that are not known."""
    names = subject.expand(panel.metrics)
    known = [name for name in names if "{" not in name]
    if panel.kind == "media":
        return [wr.MediaBrowser(title=name, media_keys=[name], gallery_axis="step") for name in known]
    if panel.kind == "each":
        return [wr.LinePlot(title=name, x=panel.x, y=[name]) for name in known]
    unknown = [dashboard.pattern(name) for name in names if "{" in name]
    dashed = subject.run_id and dashboard.REFERENCE in known
    if not names:
        return []
    return [
        wr.LinePlot(
            title=panel.title,
            x=panel.x,
            y=known,
            log_y=(panel.log and subject.positive) or None,
            metric_regex="|".join(unknown) or None,
            line_marks={f"{subject.run_id}:{dashboard.REFERENCE}": "dashed"} if dashed else None,
        )
    ]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


if __name__ == "__main__":
    sys.exit(main())
