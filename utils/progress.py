"""One kind of progress bar, as text, which terminals, Jupyter and papermill all show."""

from functools import partial

from tqdm import tqdm

# Widgets would be nicer in Jupyter, but papermill does not print them, and in executed notebooks
# they stay at 0 %. Loops of less than a second show nothing.
progress_bar = partial(tqdm, mininterval=0.5, delay=1)
