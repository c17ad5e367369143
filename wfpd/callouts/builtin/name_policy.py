"""What the callouts with a list of host names share: the list, and an answer for each thing that can be found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wfpd.callouts._names import NameList
from wfpd.callouts.builtin.answers import ANSWERS
from wfpd.callouts.builtin.options import lines, texts, word


class NamePolicy:
    """A list of names and the answers.

    `names`: entries as `NameList` has them; `file`: an absolute path of a file with an entry a line and comments
    behind #.  Either or both; none at all is an error, for a list that speaks of nothing is a mistake.  `answers`:
    option to answer, of which `listed` and `unlisted` are for names.  ValueError names the option at fault.
    """

    def __init__(self, names: str | Sequence[str] | None, file: str | None, answers: Mapping[str, str]) -> None:
        entries = [] if names is None else texts("names", names)
        if file is not None:
            entries += lines("file", file)
        if not entries:
            raise ValueError("names, file: neither has a name")
        self.list = NameList(entries)
        self.answers = {option: word(option, value, ANSWERS) for option, value in answers.items()}

    def of_name(self, name: bytes) -> str:
        """The answer to one name."""
        return self.answers["unlisted" if self.list.match(name) is None else "listed"]

    def of_names(self, names: Sequence[bytes]) -> str:
        """The answer to several names: that of the first that is refused, else of the first."""
        found = [self.of_name(name) for name in names]
        return next((how for how in found if how not in ("continue", "permit")), found[0])
