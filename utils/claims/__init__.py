"""What the numbers say about the claims: endpoints, verdicts, and checks beside them."""

from utils.claims.checks import judge_priors, judge_randomisation, judge_relevance, judge_reuse
from utils.claims.endpoints import ENDPOINTS, LEVEL, OUTCOMES
from utils.claims.replication import disagreements
from utils.claims.verdicts import Verdict, early_and_deep, judge, judge_c1, judge_c2, judge_c3

__all__ = [
    "ENDPOINTS",
    "LEVEL",
    "OUTCOMES",
    "Verdict",
    "disagreements",
    "early_and_deep",
    "judge",
    "judge_c1",
    "judge_c2",
    "judge_c3",
    "judge_priors",
    "judge_randomisation",
    "judge_relevance",
    "judge_reuse",
]
