"""The command of all corpora: its options are the fields of the corpus's Options."""

from pathlib import Path

import pytest

from speechlm.bin.prepare_corpus import find_corpus, parse

NAMES = ("aishell", "covost2", "cvss", "gigast", "librispeech", "libritts", "mls", "speechocean762")


@pytest.mark.parametrize("name", NAMES)
def test_every_corpus_says_what_it_is_and_prepares(name):
    corpus = find_corpus(name)
    assert corpus.__doc__ and corpus.Options.__doc__ and callable(corpus.prepare)


def test_values_have_the_types_of_the_fields():
    given = [
        "--version",
        "2",
        "--aishell",
        "",
        "--aishell2",
        "/a b",
        "--downloads",
        "d",
        "--datadir",
        "data",
        "--partial",
        "true",
    ]
    found = parse(find_corpus("aishell").Options, given, "")
    assert (found.version, found.aishell, found.aishell2, found.datadir, found.partial) == (
        2,
        "",
        "/a b",
        Path("data"),
        True,
    )


def test_mistakes_are_named(capsys):
    with pytest.raises(ValueError, match="corpus 'sets' is unknown. Expected one of aishell, covost2"):
        find_corpus("sets")
    with pytest.raises(SystemExit):
        parse(find_corpus("aishell").Options, ["--version", "2"], "")
    assert "the following arguments are required: --aishell" in capsys.readouterr().err
