"""What a failed attempt costs: another attempt, the event, its partition, or the processor (SPEC section 5)."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from runnelctl.core.model import Policy, Retry, Scope


class Failure(enum.Enum):
    """How an attempt ended, if not well."""

    RAISED = "raised"
    SKIPPED = "skipped"  # the handler raised Skip: passed over, no failure
    REJECTED = "rejected"  # the handler raised Reject: no more attempts
    DIED = "died"  # its process died under it


class Step(enum.Enum):
    """What to do with the event now."""

    RETRY = "retry"
    PASS = "pass"  # commit past it, nothing recorded
    RECORD = "record"  # commit past it; dead letter and failure record in the same commit
    PARK = "park"  # commit past it; it and what follows of its key is kept aside, in order
    QUARANTINE = "quarantine"
    HALT = "halt"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A step, and for RETRY the pause before it."""

    step: Step
    pause_ms: float = 0.0


_FINAL = {Policy.IGNORE: Step.RECORD, Policy.QUARANTINE: Step.QUARANTINE, Policy.HALT: Step.HALT}


def backoff_ms(retry: Retry, attempt: int, jitter: float) -> float:
    """The pause after failed attempt `attempt`: doubling, capped, spread over its upper half by `jitter` 0..1."""
    ceiling = min(float(retry.max_backoff_ms), retry.backoff_ms * 2.0 ** min(attempt - 1, 60))
    return ceiling * (0.5 + 0.5 * jitter)


def decide(
    failure: Failure, attempt: int, retry: Retry, policy: Policy, jitter: float, scope: Scope = Scope.PARTITION
) -> Verdict:
    """The verdict on attempt number `attempt` (1 is the first) that ended as `failure`."""
    if failure is Failure.SKIPPED:
        return Verdict(Step.PASS)
    if failure is not Failure.REJECTED and attempt < retry.attempts:
        return Verdict(Step.RETRY, backoff_ms(retry, attempt, jitter))
    if policy is Policy.QUARANTINE and scope is Scope.KEY:
        return Verdict(Step.PARK)
    return Verdict(_FINAL[policy])
