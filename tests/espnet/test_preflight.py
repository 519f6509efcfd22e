"""Which trainings and tasks the preflight looks at."""

import pytest
import yaml

from speechlm.espnet.preflight import learned_tasks, parse_trainings


def test_each_training_has_its_own_files_and_the_common_options(tmp_path):
    for name, settings in (
        ("cpt", {"row_length": 128, "rows": 4}),
        ("sft", {"row_length": 256}),
        ("over", {"rows": 2}),
    ):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    cpt, sft, over = (str(tmp_path / f"{name}.yaml") for name in ("cpt", "sft", "over"))
    argv = [
        "--config",
        cpt,
        "--dump",
        "dump",
        "--dev_set",
        "dev",
        "--training",
        sft,
        over,
        "--training",
        cpt,
        "--seed",
        "3",
    ]
    args, [fine_tuning, same] = parse_trainings(argv)
    assert (args.config, args.row_length, args.rows, args.seed) == (cpt, 128, 4, 3)
    assert (fine_tuning.row_length, fine_tuning.rows, fine_tuning.dump, fine_tuning.seed) == (256, 2, "dump", 3)
    assert (same.config, same.row_length, same.rows) == (cpt, 128, 4)


def test_a_model_that_learns_speech_alone_has_only_speech_to_say_again():
    mixture = ["continuation", "asr", "tts", "lm"]
    assert learned_tasks(mixture, learn_text=True) == ["continuation", "asr", "tts"]
    assert learned_tasks(mixture, learn_text=False) == ["continuation", "tts"]
    with pytest.raises(ValueError, match="text_weight 0.*add a task such as tts"):
        learned_tasks(["asr", "lm"], learn_text=False)
