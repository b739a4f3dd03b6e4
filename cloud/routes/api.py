"""All routes of the cloud's API, each with the service that answers them."""

from typing import TYPE_CHECKING

from fastapi import FastAPI

from cloud import api
from cloud.caches.api import cache_routes
from cloud.conflicts.api import conflict_routes
from cloud.consistency.api import ClientSessions, consistency_routes
from cloud.control.api import control_routes
from cloud.control.service import ControlService
from cloud.coordinating.api import coordination_routes
from cloud.coordinating.service import CoordinationService
from cloud.dependencies.api import dependency_routes
from cloud.dependencies.service import DependencyService
from cloud.documents.api import document_routes
from cloud.explain.api import explain_routes
from cloud.forking.api import forking_routes
from cloud.forking.service import ForkService
from cloud.joining.api import joining_routes
from cloud.leading.api import group_routes
from cloud.looking.api import looking_routes
from cloud.moving.api import moving_routes
from cloud.notifying.api import notification_routes
from cloud.notifying.service import NotificationService
from cloud.pausing.api import pausing_routes
from cloud.planning.api import planning_routes
from cloud.planning.service import PlanService
from cloud.points.api import point_routes
from cloud.presence.api import presence_routes
from cloud.retention.api import retention_routes
from cloud.retention.service import RetentionService
from cloud.ruling.api import rule_routes
from cloud.run_documents.api import run_document_routes
from cloud.run_documents.service import RunDocumentService
from cloud.schedule.api import schedule_routes
from cloud.schedule.service import ScheduleService
from cloud.service import PlannerService
from cloud.syncing.api import syncing_routes
from cloud.versions.service import Versions
from cloud.waiting.api import waiting_routes
from cloud.watching.api import watching_routes

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner


def make_routes(node: "GlobalPlanner") -> FastAPI:
    """The application that answers for this cloud."""
    runs = PlannerService(node)
    forks = ForkService(runs, node.fetching)
    control = ControlService(node, runs, forks)
    coordination = CoordinationService(node, runs, control)
    more = (
        dependency_routes(DependencyService(node, runs)),
        forking_routes(forks),
        moving_routes(node),  # Before the orders, which take any verb.
        coordination_routes(coordination),
        control_routes(control, runs),
        point_routes(node, runs, control),
        planning_routes(PlanService(node, runs, control)),
        schedule_routes(ScheduleService(node)),
        notification_routes(NotificationService(node)),
        pausing_routes(node),
        rule_routes(node),
        joining_routes(node),
        presence_routes(node, runs),
        run_document_routes(node, RunDocumentService(node, runs, control, Versions(node))),  # Before those of any id.
        document_routes(node),
        conflict_routes(node, control),
        watching_routes(node),
        waiting_routes(node, runs),
        explain_routes(node, runs, coordination),
        cache_routes(node, runs),
        looking_routes(runs.looking),
        retention_routes(RetentionService(node)),
        syncing_routes(node),
        consistency_routes(runs.consistency),
        group_routes(node, runs),
    )
    app = api.make_app(runs, *more)
    app.add_middleware(ClientSessions, node=node)
    return app
