"""What the numbers say about the claims."""

from utils.claims.verdicts import (
    judge_c1,
    judge_c2,
    judge_c3,
    judge_randomisation,
    judge_relevance,
    judge_reuse,
)

__all__ = [
    "judge_c1",
    "judge_c2",
    "judge_c3",
    "judge_randomisation",
    "judge_relevance",
    "judge_reuse",
]
