"""Many cases, on one machine or many: each as a run makes it; what is done stays, what fails stops no other."""

from __future__ import annotations

from lesionlens.batch.cases import BatchCase, find_cases
from lesionlens.batch.driver import BatchPlan, BatchResult, plan_batch, run_batch
from lesionlens.batch.verifying import Verified, verify

__all__ = [
    "BatchCase",
    "BatchPlan",
    "BatchResult",
    "Verified",
    "find_cases",
    "plan_batch",
    "run_batch",
    "verify",
]
