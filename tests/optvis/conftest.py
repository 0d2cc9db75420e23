import pytest

from utils.optvis import tabulation


@pytest.fixture
def objective_values():
    def values(objective_list, activations):
        kinds, rows = tabulation.tabulate(objective_list)
        return tabulation.values(kinds, rows, activations, len(objective_list)).numpy()

    return values
