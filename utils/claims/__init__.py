"""What the numbers say about the claims."""

from utils.claims.verdicts import (
    early_and_deep,
    judge_c1,
    judge_c2,
    judge_c3,
    judge_randomisation,
    judge_relevance,
    judge_reuse,
)

__all__ = [
    "early_and_deep",
    "judge_c1",
    "judge_c2",
    "judge_c3",
    "judge_randomisation",
    "judge_relevance",
    "judge_reuse",
]
