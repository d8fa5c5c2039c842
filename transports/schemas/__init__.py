"""Every body that may cross a process boundary: one closed table.

Adding a body means adding it to ``AnyBody`` here and to ``docs/protocol.md``.
"""

from __future__ import annotations

from transports.schemas import daemon, fleet, generate, group, link, operations
from transports.schemas.body import Body

AnyBody = (
    link.Hello
    | link.Welcome
    | link.Goodbye
    | link.Ping
    | link.Pong
    | link.Failure
    | link.Cancel
    | link.Drain
    | link.Drained
    | link.LinkDrops
    | group.LoadShard
    | group.ShardLoaded
    | group.Step
    | group.StepDone
    | group.EndRounds
    | group.EmbedStep
    | group.EmbedStepDone
    | group.ClearCache
    | group.CacheCleared
    | group.SleepShard
    | group.ShardAsleep
    | group.WakeShard
    | group.FaultArmed
    | group.InjectFault
    | generate.Generate
    | generate.Embed
    | generate.EmbedDone
    | generate.CountTokens
    | generate.TokensCounted
    | generate.StillRunning
    | generate.Chunks
    | generate.GenerateDone
    | daemon.GroupStart
    | daemon.GroupReady
    | daemon.GroupBroken
    | daemon.SleepGroup
    | daemon.GroupAsleep
    | daemon.WakeGroup
    | daemon.MemberDown
    | daemon.KillMember
    | daemon.EngineReady
    | daemon.EngineLoad
    | daemon.Prepared
    | daemon.PrepareProgress
    | fleet.NeuronState
    | fleet.ModelState
    | fleet.ServiceState
    | fleet.LeaseRequest
    | fleet.Lease
    | fleet.LeasesSettled
    | fleet.HttpResponses
    | fleet.QueryExplain
    | fleet.Explanation
    | fleet.LoadModel
    | fleet.ModelLoaded
    | fleet.UnloadModel
    | fleet.ModelUnloaded
    | fleet.LoadModelById
    | fleet.RenewStandby
    | fleet.StandbyRenewed
    | operations.PinModel
    | operations.ModelPinned
    | operations.ReloadCatalogue
    | operations.CatalogueReloaded
    | operations.PlanLoad
    | operations.LoadPlan
    | fleet.QueryMetrics
    | fleet.MetricsText
    | fleet.QueryActors
    | fleet.ActorTable
    | fleet.QueryState
)

__all__ = ["AnyBody", "Body"]
