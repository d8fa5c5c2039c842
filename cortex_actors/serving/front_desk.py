"""Where the front-end processes' links end: hands each message to the actor that answers it.

Runs on the reactor's thread and therefore only tells. A full mailbox is an immediate refusal (G8).
"""

from __future__ import annotations

from typing import final

from cortex_actors.kit.errors import ActorDead, MailboxFull
from cortex_actors.kit.ref import ActorRef
from cortex_actors.serving.drop_totals import DropTotals
from cortex_actors.serving.http_metrics import HttpMetrics
from cortex_actors.serving.lease_table import holder_of
from cortex_actors.serving.messages import (
    ExplainAsked,
    HolderGone,
    LeaseAsked,
    LeasesReturned,
    OperatorAsked,
    SubscriberGone,
    SubscriberUp,
)
from transports.failures import FailureCode
from transports.link import IncomingRequest, Link
from transports.schemas.body import Body
from transports.schemas.fleet import HttpResponses, LeaseRequest, LeasesSettled, QueryExplain
from transports.schemas.link import Failure, LinkDrops


@final
class FrontDesk:
    """A ``LinkHandler`` for the links of one daemon's front-end processes and operators."""

    def __init__(
        self,
        router: ActorRef,
        publisher: ActorRef,
        operations: ActorRef,
        drops: DropTotals,
        responses: HttpMetrics,
    ) -> None:
        self._router = router
        self._publisher = publisher
        self._operations = operations
        self._drops = drops
        self._responses = responses

    def on_up(self, link: Link) -> None:
        """Start to push the state to the newcomer."""
        self._publisher.notify(SubscriberUp(link))

    def on_request(self, request: IncomingRequest) -> None:
        """Pass a question on, or refuse it at once."""
        try:
            if isinstance(request.body, LeaseRequest):
                self._router.tell(LeaseAsked(request, request.body))
            elif isinstance(request.body, QueryExplain):
                self._router.tell(ExplainAsked(request, request.body.request_id))
            else:
                self._operations.tell(OperatorAsked(request))
        except MailboxFull:
            request.fail(
                Failure(FailureCode.OVERLOADED, "too many requests at once", retry_after_s=1.0)
            )
        except ActorDead:
            request.fail(
                Failure(FailureCode.MODEL_UNAVAILABLE, "the service restarts", retry_after_s=1.0)
            )

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        """Take settled leases back, or a count of refused messages or of responses."""
        del raw
        if isinstance(body, LeasesSettled):
            self._router.notify(LeasesReturned(holder_of(link), body.items))
        elif isinstance(body, LinkDrops):
            self._drops.add(body)
        elif isinstance(body, HttpResponses):
            self._responses.add(body)

    def on_suspect(self, link: Link) -> None:
        """A front end that is silent keeps its leases until its link is down."""

    def on_down(self, link: Link, reason: str, detail: str) -> None:
        """Release everything the lost process held."""
        del reason, detail
        self._publisher.notify(SubscriberGone(link))
        self._router.notify(HolderGone(holder_of(link)))
