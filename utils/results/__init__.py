"""What is kept: figures, runs and their records, executed notebooks, pages, verification."""

from utils.results import figures
from utils.results.record import RECORD, WORK, Record, records
from utils.results.run import Results, Run

__all__ = ["RECORD", "WORK", "Record", "Results", "Run", "figures", "records"]
