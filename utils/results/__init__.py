"""What is kept: figures, runs and their records, executed notebooks, pages, verification."""

from utils.results import figures
from utils.results.run import RECORD, WORK, Results, Run, read_record

__all__ = ["RECORD", "WORK", "Results", "Run", "figures", "read_record"]
