"""Decoding of test sets: what of a test set is decoded, and what is not is listed."""

import numpy as np
import pytest

from speechlm.data.codes import write_archive
from speechlm.data.manifest import write_manifest
from speechlm.model.decoding import list_test, not_ended, require_prompt_frames, say_unprompted, usual_limit
from speechlm.model.generate import Generated
from speechlm.tasks import get_task


def test_what_has_no_voice_prompt_is_left_out_and_listed_or_all_are_without(tmp_path, capsys):
    """The settings, which the scores' signature carries, say which of the two it is."""
    [(_, offset)] = write_archive(tmp_path / "codes.ark", {"x": np.ones((3, 2), np.int32)}).items()
    found = {}
    for name, speakers in {"some": "aab", "none": "abc", "all": "aaa"}.items():
        codes = {"en": [f"codes.ark:{offset}", 3]}
        lines = [{"id": f"u{i}", "speaker": s, "text": {"en": "x"}, "codes": codes} for i, s in enumerate(speakers)]
        write_manifest(tmp_path / name / "manifest.jsonl", lines)
        manifest = tmp_path / name / "manifest.jsonl"
        test = list_test(get_task("tts"), manifest, "en", "en")
        say_unprompted(test, "tts", manifest, tmp_path / name)
        found[name] = ([item.record.id for item in test.items], test.settings)
        assert list_test(get_task("asr"), manifest, "en", "en").settings == {}
    assert found == {
        "some": (["u0", "u1"], {"without_voice_prompt": "1 left out"}),
        "none": (["u0", "u1", "u2"], {"voice_prompt": "none"}),
        "all": (["u0", "u1", "u2"], {}),
    }
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2 and said[0].startswith("tts: 1 of 3 utterances left out: no other recording of their speaker")
    assert said[1].startswith("tts: all 3 utterances are synthesised without a voice prompt")
    assert (tmp_path / "some/left_out.tsv").read_text().startswith("u2\tno voice prompt\t") and not (
        tmp_path / "all/left_out.tsv"
    ).exists()


def test_a_voice_prompt_is_as_long_as_in_training_and_outputs_as_long_as_targets(tmp_path):
    """What a model was trained with stands beside it; another length of prompt in decoding is no longer taken without a
    word.
    """
    (tmp_path / "settings.json").write_text('{"format": 2, "settings": {"prompt_frames": 16}}')
    (tmp_path / "examples_train.json").write_text('{"longest_target": {"asr": 138, "tts": 150}}')
    assert (
        require_prompt_frames(tmp_path, None, "decode.yaml")
        == require_prompt_frames(tmp_path / "steps/5", 16, "decode.yaml")
        == 16
    )
    with pytest.raises(
        ValueError, match="decode.yaml: prompt_frames is 8, .* was trained with 16. Leave prompt_frames out"
    ):
        require_prompt_frames(tmp_path, 8, "decode.yaml")
    assert [usual_limit(tmp_path, task) for task in ("asr", "s2tt", "s2st")] == [215, 215, 233]
    with pytest.raises(ValueError, match="no prompt_frames"):
        require_prompt_frames(tmp_path / "a/b/c", None, "decode.yaml")


def test_what_the_model_did_not_end_is_told(capsys):
    cut = Generated([1] * 4, ended=False)
    found = {"b": cut, "a": cut, "c": Generated([1] * 3, ended=True), "d": Generated([], ended=True)}
    assert not_ended(found, 4, "asr") == ["a", "b"]
    assert "asr: 2 of 4 outputs did not end by themselves: cut at max_rows 4" in capsys.readouterr().out
