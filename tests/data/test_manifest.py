"""The manifest: what is built is loaded back, codes included; nothing missing is skipped."""

import hashlib
import json
import pickle

import kaldiio
import numpy as np
import pytest

from speechlm.data.files import file_digest
from speechlm.data.kaldi import write_data_dir
from speechlm.data.manifest import CodesDigest, build_manifest, load_manifest, read_codes, write_manifest


@pytest.fixture
def one_set(tmp_path):
    """A data directory with two utterances, and their codes."""
    tables = {
        "text.en": {"b": "two words", "a": "one"},
        "wav.scp.en": {"a": "a.wav", "b": "b.wav"},
        "utt2spk": {"a": "v1", "b": "v1"},
    }
    write_data_dir(tmp_path / "data", tables)
    (tmp_path / "dump").mkdir()
    ark = tmp_path / "dump" / "codes.en.0.ark"
    codes = {"a": np.arange(6, dtype=np.int32).reshape(3, 2), "b": np.ones((5, 2), np.int32)}
    kaldiio.save_ark(str(ark), codes, scp=str(tmp_path / "dump" / "codes.en.scp"), write_function="numpy")
    return tmp_path


def test_manifest_and_codes_read_back(one_set):
    write_manifest(one_set / "dump/manifest.jsonl", build_manifest(one_set / "data", one_set / "dump"))
    a, b = load_manifest(one_set / "dump/manifest.jsonl")
    assert (a.id, a.speaker, b.text, b.codes["en"].frames) == ("a", "v1", {"en": "two words"}, 5)
    assert read_codes(a.codes["en"]).tolist() == [[0, 1], [2, 3], [4, 5]]


def test_other_codes_of_the_same_lengths_are_another_manifest(one_set):
    """A codec trained again at the same path, recordings denoised in place: what was made from the old codes is out of
    date.
    """

    def digest() -> str:
        made = CodesDigest()
        write_manifest(
            one_set / "dump/manifest.jsonl", build_manifest(one_set / "data", one_set / "dump", None, made), made
        )
        return file_digest(one_set / "dump/manifest.jsonl")

    before, text = digest(), (one_set / "dump/manifest.jsonl").read_bytes()
    assert digest() == before
    codes = {"a": np.arange(6, dtype=np.int32).reshape(3, 2)[::-1], "b": np.ones((5, 2), np.int32)}
    scp = str(one_set / "dump/codes.en.scp")
    kaldiio.save_ark(str(one_set / "dump/codes.en.0.ark"), codes, scp=scp, write_function="numpy")
    assert digest() != before and (one_set / "dump/manifest.jsonl").read_bytes() == text


def test_text_only_sets_have_no_codes(tmp_path):
    write_data_dir(tmp_path, {"text.es": {"s1": "hola"}, "text.en": {"s1": "hello"}})
    assert list(build_manifest(tmp_path, tmp_path)) == [
        {"id": "s1", "speaker": "", "text": {"en": "hello", "es": "hola"}, "codes": {}}
    ]


def test_prompts_are_utterances_of_the_same_speaker(one_set):
    prompts = one_set / "data/prompts"
    prompts.write_text("a b\n")
    write_manifest(one_set / "dump/manifest.jsonl", build_manifest(one_set / "data", one_set / "dump"))
    assert [record.prompt for record in load_manifest(one_set / "dump/manifest.jsonl")] == ["b", ""]
    prompts.write_text("a c\n")
    with pytest.raises(ValueError, match=r"prompts: 1 ids that are not utterances of the set \(c\)"):
        build_manifest(one_set / "data", one_set / "dump")
    prompts.write_text("a b\n")
    (one_set / "data/utt2spk").write_text("a v1\nb v2\n")
    with pytest.raises(ValueError, match=r"1 utterances have a prompt of another speaker \(a\)"):
        build_manifest(one_set / "data", one_set / "dump")


def test_missing_codes_are_named(one_set):
    scp = one_set / "dump/codes.en.scp"
    scp.write_text(scp.read_text().splitlines()[0] + "\n")
    with pytest.raises(ValueError, match=r"1 of 2 utterances missing \(b\).*extract_codes"):
        build_manifest(one_set / "data", one_set / "dump")
    scp.unlink()
    with pytest.raises(ValueError, match="no codes.en.scp.*extract_codes"):
        build_manifest(one_set / "data", one_set / "dump")


def test_damaged_manifests_and_archives_are_refused(one_set):
    path = one_set / "dump/manifest.jsonl"
    with pytest.raises(ValueError, match="no such file"):
        load_manifest(path)
    for line in ('{"id": "a"}', "[1]", '{"id":"a","speaker":"","text":{},"codes":{"en":["../x.ark:0",1]}}'):
        path.write_text(line + "\n")
        with pytest.raises(ValueError, match="manifest.jsonl:1"):
            load_manifest(path)
    write_manifest(path, build_manifest(one_set / "data", one_set / "dump"))
    ref = load_manifest(path)[0].codes["en"]
    ref.ark.write_bytes(ref.ark.read_bytes()[: ref.offset] + b"PKL" + pickle.dumps(1))
    with pytest.raises(ValueError, match="neither a numpy nor a binary Kaldi matrix"):
        read_codes(ref)


def test_a_manifest_written_by_other_means_is_indexed_and_damaged_indexes_are_made_again(one_set):
    path = one_set / "dump/manifest.jsonl"
    write_manifest(path, build_manifest(one_set / "data", one_set / "dump"))
    index = path.with_name("manifest.jsonl.index")
    written, ids = index.read_bytes(), [record.id for record in load_manifest(path)]
    assert file_digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    for damage in (
        index.unlink,
        lambda: index.write_bytes(b"x"),
        lambda: index.write_bytes(written[:-1]),
        lambda: index.write_bytes(written[:-64] + b"\1" * 64),
    ):
        damage()
        assert [record.id for record in load_manifest(path)] == ids and index.read_bytes() == written
    path.write_text(path.read_text().splitlines()[1] + "\n")
    assert [record.id for record in load_manifest(path)] == ids[1:]
    assert file_digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_id_twice_is_refused(one_set):
    path = one_set / "dump/manifest.jsonl"
    lines = list(build_manifest(one_set / "data", one_set / "dump"))
    with pytest.raises(ValueError, match="manifest.jsonl: an id occurs twice"):
        write_manifest(path, lines + lines[:1])
    assert not path.exists()
    path.write_text("".join(json.dumps(line) + "\n" for line in lines + lines[:1]))
    with pytest.raises(ValueError, match="manifest.jsonl: an id occurs twice"):
        load_manifest(path)


def test_a_list_of_prompts_is_of_other_utterances_or_of_beginnings_to_be_continued(one_set):
    prompts = one_set / "data/prompts"
    prompts.write_text("a a\nb a\n")
    with pytest.raises(ValueError, match="1 of 2 utterances are their own prompt.*Split them into two sets"):
        build_manifest(one_set / "data", one_set / "dump")
    for listed in ("a a\nb b\n", "a b\nb a\n"):
        prompts.write_text(listed)
        assert len(list(build_manifest(one_set / "data", one_set / "dump"))) == 2
