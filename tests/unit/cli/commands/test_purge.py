import json

import pytest

from wfpd import cli
from wfpd.netfilter import rules


@pytest.mark.parametrize(("removed", "says"), [(True, "is removed"), (False, "there were no rules")])
def test_purge_says_whether_there_was_anything(removed: bool, says: str, monkeypatch, capsys) -> None:
    monkeypatch.setattr(rules, "purge", lambda commands: removed)
    assert cli.main(["purge"]) == 0
    assert says in capsys.readouterr().out
    assert cli.main(["purge", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"removed": removed}
