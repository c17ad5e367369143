"""Fixtures that write a policy and read it."""

import pytest

from wfpd.config import load_policy
from wfpd.errors import PolicyError


class Policies:
    """Writes files into a directory of their own and loads them."""

    def __init__(self, folder):
        self.folder = folder

    def write(self, name, content):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(0o644)
        return str(path)

    def load(self, content, name="policy.yaml", **options):
        return load_policy(self.write(name, content), **options)

    def errors(self, content, name="policy.yaml", **options):
        with pytest.raises(PolicyError) as caught:
            self.load(content, name, **options)
        return caught.value.problems

    def error(self, content, name="policy.yaml", **options):
        problems = self.errors(content, name, **options)
        assert len(problems) == 1, [str(problem) for problem in problems]
        return problems[0]

    def filter(self, when="{}", layer="ipforward_v4", extra="", top=""):
        """The text of a policy with one filter."""
        return (
            f"version: 1\n{top}filters:\n  - name: one\n    layer: {layer}\n    action: block\n"
            f"{extra}    when: {when}\n"
        )

    def condition(self, field, value, layer="ipforward_v4", top=""):
        """The one condition of a filter."""
        (condition,) = self.load(self.filter(f"{{{field}: {value}}}", layer, top=top)).filters[0].conditions
        return condition

    def refused(self, field, value, layer="ipforward_v4", top=""):
        """The one error of a condition."""
        return self.error(self.filter(f"{{{field}: {value}}}", layer, top=top))


@pytest.fixture
def policies(tmp_path):
    return Policies(tmp_path)
