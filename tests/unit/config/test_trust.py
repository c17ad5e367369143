"""Who may own and write the files of a policy."""

import os

import pytest

from wfpd.config import load_policy
from wfpd.config.trust import Unreadable, distrust, distrust_place, read_trusted, service_uids
from wfpd.errors import PolicyError

UIDS = frozenset({0, 123})


def status(mode, uid):
    return os.stat_result((mode, 1, 1, 1, uid, 0, 0, 0, 0, 0))


@pytest.mark.parametrize("uid", [0, 123])
@pytest.mark.parametrize("mode", [0o100644, 0o100600, 0o100755])
def test_files_of_root_and_the_service_are_trusted(mode, uid):
    assert distrust(status(mode, uid), UIDS) == ""


def test_files_of_others_are_not():
    assert "uid 5" in distrust(status(0o100644, 5), UIDS)


@pytest.mark.parametrize("mode", [0o100664, 0o100646, 0o100666])
def test_files_that_others_may_write_are_not(mode):
    assert "group or others" in distrust(status(mode, 0), UIDS)


def test_root_and_this_user_are_trusted_by_default():
    assert {0, os.geteuid()} <= service_uids()


@pytest.mark.parametrize("which", ["policy.yaml", "a.yaml", "a.txt"])
def test_run_refuses_and_check_warns(policies, which):
    policies.write("a.txt", "1\n")
    policies.write("a.yaml", "sets: {s: {type: port, file: a.txt}}\n")
    path = policies.write("policy.yaml", "version: 1\ninclude: [a.yaml]\n")
    os.chmod(policies.folder / which, 0o666)
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    assert [os.path.basename(problem.location.file) for problem in caught.value.problems] == [which]
    assert "chmod" in caught.value.problems[0].hint
    (lint,) = load_policy(path, trust="warn").lints
    assert "run refuses it" in lint.message and os.path.basename(lint.location.file) == which


def test_the_owner_is_checked(policies):
    path = policies.write("policy.yaml", "version: 1\n")
    with pytest.raises(PolicyError) as caught:
        load_policy(path, service_uids=frozenset({os.geteuid() + 1}))
    assert "is owned by" in caught.value.problems[0].message


def test_no_more_than_the_limit_is_read(policies):
    path = policies.write("x", "12345")
    assert read_trusted(path, 5, service_uids())[0] == b"12345"
    with pytest.raises(Unreadable, match="limit of 4 bytes"):
        read_trusted(path, 4, service_uids())


@pytest.mark.parametrize("path", ["/dev/zero", "/nonexistent/x", "a\0b", ""])
def test_devices_and_missing_files_are_unreadable(path):
    with pytest.raises(Unreadable):
        read_trusted(path, 10, UIDS)


@pytest.fixture
def opened(policies):
    """A policy in a directory that everybody may write."""
    path = policies.write("open/policy.yaml", "version: 1\n")
    os.chmod(policies.folder / "open", 0o777)
    return path


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757])
def test_a_file_in_a_directory_that_others_may_write_is_not_trusted(policies, opened, mode):
    os.chmod(policies.folder / "open", mode)
    with pytest.raises(PolicyError) as caught:
        load_policy(opened)
    assert f"may be written by group or others (mode {mode:04o})" in caught.value.problems[0].message
    (lint,) = load_policy(opened, trust="warn").lints
    assert "run refuses it" in lint.message


def test_the_sticky_bit_mends_it(policies, opened):
    os.chmod(policies.folder / "open", 0o1777)
    assert load_policy(opened).lints == ()


def test_a_link_is_as_good_as_every_directory_on_its_way(policies, opened):
    good = policies.write("policy.yaml", "version: 1\n")
    direct = policies.folder / "direct.yaml"
    direct.symlink_to(good)
    assert load_policy(str(direct)).lints == ()
    away = policies.folder / "away.yaml"
    away.symlink_to(opened)
    through = policies.folder / "open" / "through.yaml"
    through.symlink_to(good)
    for path in (away, through):
        with pytest.raises(PolicyError, match="group or others"):
            load_policy(str(path))


def test_a_link_of_somebody_else_is_not_followed_in_trust(policies, opened):
    os.chmod(policies.folder / "open", 0o1777)
    link = policies.folder / "open" / "link.yaml"
    link.symlink_to("policy.yaml")
    assert distrust_place(str(link), frozenset({os.geteuid()})) == ""
    assert "is a link that belongs to uid" in distrust_place(str(link), frozenset({os.geteuid() + 1}))


def test_links_that_never_end_are_no_endless_loop(policies):
    first, second = policies.folder / "first", policies.folder / "second"
    first.symlink_to(second)
    second.symlink_to(first)
    assert distrust_place(str(first), UIDS | {os.geteuid()}) == ""


def test_a_directory_of_callouts_is_as_trusted_as_the_policy(policies):
    (policies.folder / "code").mkdir()
    path = policies.write("policy.yaml", "version: 1\ndaemon: {callout_path: [code, gone]}\n")
    assert load_policy(path).lints == ()
    os.chmod(policies.folder / "code", 0o777)
    with pytest.raises(PolicyError, match="callout_path"):
        load_policy(path)
    (lint,) = load_policy(path, trust="warn").lints
    assert "callout_path" in lint.message and "run refuses it" in lint.message
