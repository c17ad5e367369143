import stat

from wfpd.control.state import State, default_directory
from wfpd.model.policy import Faults, Word


def test_the_words_come_back_as_they_were_saved(tmp_path) -> None:
    state = State(tmp_path / "s")
    faults = Faults(on_absent=Word.BLOCK, late_after=0.25)
    state.save(faults, "ab", 3)
    assert state.load() == faults
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o700
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["words.json"]


def test_without_a_readable_file_there_are_no_words(tmp_path) -> None:
    state = State(tmp_path)
    assert state.load() is None
    for text in ("", "[]", '{"faults": {}}', '{"faults": {"on_absent": 1}}', "\xff"):
        (tmp_path / "words.json").write_text(text, encoding="latin-1")
        assert state.load() is None


def test_systemds_directory_goes_first(monkeypatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/a:/b")
    assert str(default_directory()) == "/a"
    monkeypatch.delenv("STATE_DIRECTORY")
    assert str(default_directory()) == "/var/lib/wfpd"
