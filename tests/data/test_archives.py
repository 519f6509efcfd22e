"""Archives: what is in them lands in one folder, or nowhere."""

import io
import stat
import tarfile
import zipfile

import pytest

from speechlm.data.archives import unpack

FILES = {"corpus/a.wav": b"a" * 5000, "corpus/deep/b.txt": b"hello", "corpus/..c": b""}


def make_tar(path, mode="w:gz", *extra: tarfile.TarInfo):
    with tarfile.open(path, mode) as tar:
        for name, content in FILES.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in extra:
            tar.addfile(member)
    return path


def make_zip(path, mode="", *extra: zipfile.ZipInfo):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("corpus")
        for name, content in FILES.items():
            archive.writestr(name, content)
        for member in extra:
            archive.writestr(member, b"/etc")
    return path


def entry(name, kind=tarfile.REGTYPE, target=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def zip_entry(name, kind=stat.S_IFREG):
    member = zipfile.ZipInfo(name)
    member.external_attr = (kind | 0o777) << 16
    return member


@pytest.mark.parametrize(
    ("make", "mode"), [(make_tar, "w"), (make_tar, "w:gz"), (make_tar, "w:bz2"), (make_tar, "w:xz"), (make_zip, "")]
)
def test_all_files_once(tmp_path, make, mode):
    folder = unpack(make(tmp_path / "corpus.any", mode), tmp_path / "downloads/corpus")
    assert {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == FILES
    (tmp_path / "corpus.any").unlink()
    assert unpack(tmp_path / "corpus.any", folder) == folder, "complete: the archive is not needed again"


@pytest.mark.parametrize(
    "bad",
    [
        entry("../evil"), entry("corpus/../../evil"), entry("/tmp/evil"), entry("corpus/a\\..\\evil"),
        entry("evil", tarfile.SYMTYPE, "../.."), entry("evil", tarfile.LNKTYPE, "/etc/passwd"),
        entry("evil", tarfile.CHRTYPE), entry("evil", tarfile.FIFOTYPE), entry("corpus/a.wav/evil"),
        zip_entry("../evil"), zip_entry("/tmp/evil"), zip_entry("evil", stat.S_IFLNK), zip_entry("corpus/a.wav/evil"),
    ],
    ids=lambda member: f"{type(member).__name__} {getattr(member, 'name', None) or member.filename} "
    f"{getattr(member, 'type', '')}",
)  # fmt: skip
def test_nothing_leaves_the_folder(tmp_path, bad):
    make = make_zip if isinstance(bad, zipfile.ZipInfo) else make_tar
    path = make(tmp_path / "corpus.any", "w:gz", bad)
    with pytest.raises(ValueError, match="corpus.any: .* expected files and folders below one"):
        unpack(path, tmp_path / "downloads/corpus")
    assert not (tmp_path / "downloads/corpus").exists()
    assert not list(tmp_path.rglob("*evil*")) and not [p for p in tmp_path.rglob("*") if p.is_symlink()]


@pytest.mark.parametrize(("make", "mode"), [(make_tar, "w"), (make_tar, "w:gz"), (make_tar, "w:xz"), (make_zip, "")])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.6, 0.9])
def test_a_download_cut_short_is_named_and_leaves_no_folder(tmp_path, make, mode, kept):
    path = make(tmp_path / "corpus.any", mode)
    whole = path.read_bytes().rstrip(b"\0")  # tar ends with zeros that nobody misses
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ValueError, match="corpus.any: cut short, damaged.* Delete it and download it again"):
        unpack(path, tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()
    assert unpack(make(path, mode), tmp_path / "corpus").is_dir()


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(ValueError, match="corpus.tar: no such file"):
        unpack(tmp_path / "corpus.tar", tmp_path / "corpus")
