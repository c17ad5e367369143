"""Files of a policy in reading order."""

from wfpd.config.files import Files
from wfpd.config.limits import DEFAULT
from wfpd.config.report import Report
from wfpd.config.trust import service_uids


def test_files_are_listed_in_the_order_in_which_they_are_read(policies):
    policies.write("b/1.yaml", "include: [2.yaml]\n")
    policies.write("b/2.yaml", "filters: []\n")
    policies.write("c.yaml", "filters: []\n")
    path = policies.write("p.yaml", "include: [b/1.yaml, c.yaml]\n")
    files = Files(Report(10), DEFAULT, True, service_uids())
    files.read_policy(path)
    names = [item.removeprefix(str(policies.folder) + "/") for item in files.paths]
    assert names == ["p.yaml", "b/1.yaml", "b/2.yaml", "c.yaml"]
    assert [document.path for document in files.documents] == files.paths


def test_a_link_to_a_file_is_the_file(policies):
    (policies.folder / "link.yaml").symlink_to(policies.write("policy.yaml", "version: 1\n"))
    assert "includes itself" in policies.error("version: 1\ninclude: [link.yaml]\n").message


def test_a_pattern_with_too_many_wildcards_is_refused(policies):
    assert "wildcards" in policies.error(f"version: 1\ninclude: ['{'*a' * 20}']\n").message
