import pytest

from utils.files import whole_file


def test_an_interrupted_file_keeps_the_old_one(tmp_path):
    path = tmp_path / "deep" / "table.csv"
    with whole_file(path) as scratch:
        scratch.write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as scratch:
        scratch.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["table.csv"]
