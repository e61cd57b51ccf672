"""The table of SPEC section 5, and the pauses between attempts."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnelctl.core.model import Policy, Retry
from runnelctl.core.policy import Failure, Step, backoff_ms, decide

FINAL = {Policy.IGNORE: Step.RECORD, Policy.QUARANTINE: Step.QUARANTINE, Policy.HALT: Step.HALT}
RETRIED = (Failure.RAISED, Failure.DIED)


@pytest.mark.parametrize(("policy", "failure"), list(itertools.product(Policy, RETRIED)))
def test_attempts_are_used_up_before_the_policy_applies(policy: Policy, failure: Failure) -> None:
    retry = Retry(attempts=3)
    steps = [decide(failure, attempt, retry, policy, 0.5).step for attempt in (1, 2, 3, 4)]
    assert steps == [Step.RETRY, Step.RETRY, FINAL[policy], FINAL[policy]]


@pytest.mark.parametrize("policy", Policy)
def test_one_attempt_means_no_second(policy: Policy) -> None:
    assert decide(Failure.RAISED, 1, Retry(attempts=1), policy, 0.0).step is FINAL[policy]


@pytest.mark.parametrize("policy", Policy)
def test_reject_applies_the_policy_at_once(policy: Policy) -> None:
    assert decide(Failure.REJECTED, 1, Retry(attempts=9), policy, 0.0).step is FINAL[policy]


@pytest.mark.parametrize(("policy", "attempt"), list(itertools.product(Policy, (1, 3, 7))))
def test_skip_is_no_failure(policy: Policy, attempt: int) -> None:
    assert decide(Failure.SKIPPED, attempt, Retry(attempts=3), policy, 0.0).step is Step.PASS


@given(
    st.integers(1, 100_000), st.integers(0, 10_000), st.integers(0, 100_000), st.floats(0, 1), st.sampled_from(RETRIED)
)
def test_a_pause_is_between_half_the_ceiling_and_the_ceiling(
    attempt: int, backoff: int, longest: int, jitter: float, failure: Failure
) -> None:
    retry = Retry(attempts=attempt + 1, backoff_ms=backoff, max_backoff_ms=longest)
    verdict = decide(failure, attempt, retry, Policy.HALT, jitter)
    ceiling = min(longest, backoff * 2 ** (attempt - 1))
    assert verdict.step is Step.RETRY
    assert ceiling / 2 <= verdict.pause_ms <= ceiling


def test_pauses_double_up_to_the_longest() -> None:
    retry = Retry(attempts=99, backoff_ms=100, max_backoff_ms=1_000)
    assert [backoff_ms(retry, attempt, 1.0) for attempt in range(1, 7)] == [100, 200, 400, 800, 1_000, 1_000]
    assert [backoff_ms(retry, attempt, 0.0) for attempt in range(1, 4)] == [50, 100, 200]
