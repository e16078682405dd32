import errno
import os
import stat
from pathlib import Path

import pytest

from recon.errors import OutputError
from recon.io.atomic import check_output, replacing


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_the_output_appears_whole_and_only_at_the_end(tmp_path: Path) -> None:
    with replacing(tmp_path / "out.npy") as temporary:
        temporary.write_bytes(b"whole")
        assert temporary.suffix == ".npy"
        assert temporary.parent == tmp_path.resolve()
        assert not (tmp_path / "out.npy").exists()
    assert (tmp_path / "out.npy").read_bytes() == b"whole"
    assert names(tmp_path) == {"out.npy"}


@pytest.mark.parametrize("name", ["a.dcm", "a.IMA", "a", "a.run.json", "batch.json", "A.JSON"])
def test_what_a_killed_process_leaves_has_no_name_of_a_result(tmp_path: Path, name: str) -> None:
    """Programs that take a folder by its suffixes must not meet a file that is still empty."""
    with replacing(tmp_path / name) as temporary:
        assert temporary.suffix == ".part"
        assert temporary.read_bytes() == b""
        assert names(tmp_path) == {temporary.name}
    assert names(tmp_path) == {name}


def test_the_umask_decides_who_may_read_the_output(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "out.bin") as temporary:
            temporary.write_bytes(b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.bin").stat().st_mode) == 0o640


@pytest.mark.parametrize("failure", [ValueError("mine"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, failure: BaseException) -> None:
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")
    with pytest.raises(type(failure)), replacing(target, overwrite=True) as temporary:
        temporary.write_bytes(b"half")
        raise failure
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == {"out.bin"}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "no space left on device"),
        (OSError("786432 requested and 201424 written"), "the disk may be full"),  # as numpy puts it
    ],
)
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, error: OSError, said: str) -> None:
    with pytest.raises(OutputError, match=said), replacing(tmp_path / "out.bin") as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert names(tmp_path) == set()


def test_an_existing_file_is_kept_unless_overwrite_is_given(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")
    with pytest.raises(OutputError, match="the file exists"), replacing(target):
        pass
    assert target.read_bytes() == b"old"
    with replacing(target, overwrite=True) as temporary:
        temporary.write_bytes(b"new")
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appeared_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    target = tmp_path / "out.bin"
    with pytest.raises(OutputError, match="the file exists"), replacing(target) as temporary:
        temporary.write_bytes(b"mine")
        target.write_bytes(b"theirs")
    assert target.read_bytes() == b"theirs"
    assert names(tmp_path) == {"out.bin"}


def test_an_input_is_never_replaced_by_whatever_name(tmp_path: Path) -> None:
    source, alias = tmp_path / "in.bin", tmp_path / "alias.bin"
    source.write_bytes(b"measurement")
    alias.symlink_to(source)
    for output in (source, alias):
        with pytest.raises(OutputError, match="one of the inputs"):
            check_output(output, overwrite=True, inputs=[source])


def test_a_link_stays_a_link_and_its_target_is_replaced(tmp_path: Path) -> None:
    target, alias = tmp_path / "real.bin", tmp_path / "alias.bin"
    target.write_bytes(b"old")
    alias.symlink_to(target)
    with replacing(alias, overwrite=True) as temporary:
        temporary.write_bytes(b"new")
    assert alias.is_symlink()
    assert target.read_bytes() == b"new"


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    for output, said in [
        (tmp_path, "is a folder"),
        (tmp_path / "missing" / "out.png", "there is no folder"),
        (tmp_path / "file" / "out.png", "is not a folder"),
        (tmp_path / "pipe", "not a regular file"),
        (tmp_path / ("n" * 300), "file name too long"),
        (tmp_path / "a\0b", "null"),
    ]:
        with pytest.raises(OutputError, match=said):
            check_output(output)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="not writable"):
            check_output(tmp_path / "out.png")
    finally:
        tmp_path.chmod(0o700)
