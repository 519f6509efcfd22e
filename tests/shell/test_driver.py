"""egs/TEMPLATE/speechlm.sh: its options, and the commands that its stages run."""

import json
import re
import shlex
import subprocess
import sys

import pytest
from shell import ROOT, run, write_script

DRIVER = ROOT / "egs/TEMPLATE/speechlm.sh"
RECIPES = sorted(path.parent.name for path in ROOT.glob("egs/*/run.sh") if "speechlm.sh" in path.read_text())
ASKED = f"""case ${{2-}} in speechlm.bin.tasks | speechlm.bin.layers) exec {sys.executable} "$@" ;; esac
"""
RECORD = f"""{ASKED}echo "$(printf '%q ' "$@")" >> calls
[ "${{3-}}" != "$FAIL" ]
"""


# One process for all, so that torch and espnet are imported once.
HELP_OF_ALL = """
import contextlib, io, json, runpy, sys
helps = {}
for module in sys.argv[1:]:
    sys.argv, text = [module, "--help"], io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        runpy.run_module(module, run_name="__main__")
    helps[module] = text.getvalue()
print(json.dumps(helps))
"""


@pytest.fixture
def recipe(tmp_path):
    """A recipe folder whose Python only writes down how it is called; FAIL names an argument that makes it fail."""
    write_script(tmp_path / "bin/python", RECORD)
    write_script(tmp_path / "local/data.sh", 'echo "data $*" >> calls\n')
    (tmp_path / "conf/tiny").mkdir(parents=True)
    for name in ("llm_model", "llm", "cpt", "sft_asr", "sft_tts", "sft_s2tt", "sft_s2st", "decode"):
        (tmp_path / f"conf/{name}.yaml").touch()
    write_script(tmp_path / "bin/nvidia-smi", "for i in 0 1 2 3; do echo GPU $i; done\n")
    return tmp_path


def drive(recipe, *options, fail="nothing"):
    done = run([DRIVER, "--python", recipe / "bin/python", "--task_nj", "1", *options], recipe, FAIL=fail)
    path = recipe / "calls"
    calls = [shlex.split(line) for line in path.read_text().splitlines()] if path.exists() else []
    path.unlink(missing_ok=True)
    return done, calls


def names(calls):
    return [call[1].removeprefix("speechlm.bin.") if call[0] == "-m" else call[0] for call in calls]


def option(call, name):
    return call[call.index(name) + 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--expdr", "x"], "there is no option --expdr. Nearest: --expdir."),
        (["--stage", "one"], "--stage takes a whole number"),
        (["--skip_cpt", "1"], "--skip_cpt takes true or false"),
        (["--stage", "4", "--stop_stage", "3"], "--stage 4 comes after --stop_stage 3"),
        (["train"], "'train' is not an option"),
    ],
)
def test_mistakes_are_refused_before_anything_runs(recipe, options, message):
    done, calls = drive(recipe, *options)
    assert done.returncode == 2 and message in done.stderr
    assert not calls and not (recipe / "exp").exists()


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_pass_valid_options_and_let_the_user_override(name, tmp_path):
    done = run([ROOT / f"egs/{name}/run.sh", "--tasks", "mine", "--help"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "[mine]" in done.stdout


def test_stages_run_in_order_and_tell_their_time(recipe):
    done, calls = drive(recipe, "--tasks", "asr tts")
    assert done.returncode == 0, done.stdout
    assert [line.split(" ", 2)[2] for line in done.stdout.splitlines() if ": start" in line] == [
        f"stage {i} ({name}): start"
        for i, name in enumerate("data codes text llm preflight cpt sft decode score results".split(), start=1)
    ]
    assert done.stdout.count(": done in ") == 10
    in_order = list(dict.fromkeys(names(calls)))
    expected = "data extract_codes manifest text_tokenizer tokens train check_scoring preflight decode ceiling score"
    assert in_order == [*expected.split(), "results", "report"]
    assert "stage 10 (results): done" in (recipe / "exp/run.log").read_text()


def test_only_the_stages_asked_for_run(recipe):
    _, calls = drive(recipe, "--stage", "5", "--stop_stage", "6")
    assert names(calls) == ["preflight", "train"]


def test_a_failing_stage_stops_and_says_how_to_go_on(recipe):
    done, calls = drive(recipe, "--stage", "5", "--tasks", "asr", fail="--config")
    assert done.returncode == 1 and names(calls) == ["check_scoring", "preflight"]
    assert re.search(r"stage 5 \(preflight\): failed after \d+ s", done.stdout)
    assert "go on with --stage 5" in done.stdout


def test_tasks_run_side_by_side_and_one_that_fails_does_not_take_the_others_along(recipe):
    done, calls = drive(recipe, "--stage", "7", "--tasks", "asr tts s2tt", "--task_nj", "2", "--stop_stage", "7")
    assert done.returncode == 0 and names(calls).count("train") == 3
    write_script(
        recipe / "bin/python",
        ASKED + """case $* in *sft_asr*) echo out of memory; exit 3;; esac; sleep 0.2; touch "made_$#_$RANDOM" """,
    )
    done, _ = drive(recipe, "--stage", "7", "--tasks", "asr tts s2tt", "--task_nj", "2")
    assert done.returncode == 1 and "asr: out of memory" in done.stdout and "failed: asr" in done.stdout
    assert len(list(recipe.glob("made_*"))) == 2, "tts and s2tt went on"
    assert "go on with --stage 7" in done.stdout


def test_a_missing_config_is_named_and_nothing_runs(recipe):
    write_script(recipe / "bin/python", RECORD.replace("speechlm.bin.tasks | ", ""))  # to which a new task is known
    done, calls = drive(recipe, "--stage", "7", "--tasks", "new")
    assert done.returncode == 1 and names(calls) == ["tasks"]
    assert "no sft_new.yaml in " in done.stdout and "--sft_config" in done.stdout


def layers(call):
    """The YAML files of a training, as the driver names them: template/ is egs/TEMPLATE/conf."""
    files = [option(call, "--config"), *call[call.index("--overlay") + 1 : call.index("--output_dir")]]
    return [file.replace(f"{DRIVER.parent}/conf/", "template/") for file in files]


def test_a_preset_is_an_overlay_with_data_of_its_own(recipe):
    (recipe / "conf/tiny/cpt.yaml").touch()
    (recipe / "conf/tiny/options").write_text("# small\n--nj 3 --seed 5\n--local_data_opts '--pairs 3'\n")
    first = ("--nj", "1", "--preset", "tiny", "--seed", "6", "--stop_stage", "1")
    assert drive(recipe, *first)[1] == [["data", "--datadir", "data/tiny", "--nj", "3", "--pairs", "3"]]
    assert drive(recipe, *first, "--local_data_opts", "--pairs 4")[1][0][-1] == "4", "what follows counts more"
    _, calls = drive(recipe, "--preset", "tiny", "--stage", "6", "--stop_stage", "6")
    assert layers(calls[0]) == ["template/train.yaml", "template/cpt.yaml", "conf/cpt.yaml", "conf/tiny/cpt.yaml"]
    assert option(calls[0], "--output_dir") == "exp/tiny/cpt" and option(calls[0], "--seed") == "5"


def test_settings_are_layers_of_the_template_the_recipe_and_the_overlays(recipe):
    (recipe / "conf/mine").mkdir()
    (recipe / "conf/mine/cpt.yaml").touch()
    _, calls = drive(recipe, "--stage", "6", "--stop_stage", "7", "--tasks", "asr", "--overlay", "paper mine")
    cpt = ["template/train.yaml", "template/cpt.yaml", "conf/cpt.yaml", "template/paper/cpt.yaml", "conf/mine/cpt.yaml"]
    sft = [
        "template/train.yaml",
        "template/sft.yaml",
        "template/sft_asr.yaml",
        "conf/sft_asr.yaml",
        "template/paper/sft.yaml",
    ]
    assert [layers(call) for call in calls] == [cpt, sft]
    _, calls = drive(recipe, "--stage", "6", "--stop_stage", "6", "--cpt_config", "my.yaml", "--overlay", "paper")
    assert layers(calls[0]) == ["my.yaml", "template/paper/cpt.yaml"]
    _, calls = drive(recipe, "--stage", "8", "--stop_stage", "8", "--tasks", "asr", "--overlay", "paper mine")
    files = calls[0][calls[0].index("--config") + 1 : calls[0].index("--ngpu")]
    template = f"{DRIVER.parent}/conf"
    assert files == [f"{template}/decode.yaml", "conf/decode.yaml", f"{template}/paper/decode.yaml"]
    done, calls = drive(recipe, "--stage", "6", "--overlay", "pepar")
    assert done.returncode == 2 and not calls and "--overlay pepar: found no folder conf/pepar" in done.stderr


def test_a_dry_run_plans_every_training_and_leaves_nothing_behind(recipe):
    done, calls = drive(recipe, "--dry_run", "true", "--tasks", "asr tts", "--gpu", "A100", "--overlay", "paper")
    assert done.returncode == 0 and not (recipe / "exp").exists()
    assert [layers(call)[-1] for call in calls] == ["conf/llm.yaml", "template/paper/cpt.yaml"] + [
        "template/paper/sft.yaml"
    ] * 2
    assert all(
        option(c, "--dry_run") == "true"
        and option(c, "--gpu") == "A100"
        and option(c, "--llm_model_config") == f"{DRIVER.parent}/conf/llm_model.yaml"
        for c in calls
    )
    done, calls = drive(
        recipe, "--dry_run", "true", "--tasks", "", "--train_sets", "", "--dev_set", "", "--llm", "hub/name"
    )
    assert done.returncode == 0 and names(calls) == ["train"] and "--dev_set" not in calls[0]
    _, calls = drive(recipe, "--dry_run", "true", "--tasks", "asr", "--llm", "hub/name", "--skip_cpt", "true")
    assert [option(call, "--llm") for call in calls] == ["hub/name"]


def test_sets_of_other_recipes_are_used_where_they_are(recipe):
    sets = ["--train_sets", "mine '../an other/dump/codec/train'", "--dev_set", "dev '../an other/dump/codec/dev'"]
    done, calls = drive(recipe, *sets, "--stage", "2", "--stop_stage", "6")
    assert done.returncode == 0, done.stdout
    other = (recipe / "../an other/dump/codec").resolve()
    [extract], [tokenizer], train = [
        [c for c in calls if f"speechlm.bin.{name}" in c] for name in ("extract_codes", "text_tokenizer", "train")
    ]
    assert extract[extract.index("--train_sets") :][:5] == ["--train_sets", "mine", "--test_sets", "dev", "test"]
    assert [option(c, "--data") for c in calls if "speechlm.bin.manifest" in c] == [
        "data/mine",
        "data/dev",
        "data/test",
    ]
    assert f"{other}/train/manifest.jsonl" in tokenizer
    for call in train:
        at = call.index("--train_sets")
        assert call[at + 1 : at + 3] == ["mine", f"{other}/train"]
        assert call[call.index("--dev_set") + 1 :][:2] == ["dev", f"{other}/dev"]


def test_nothing_spoken_needs_no_ceiling(recipe):
    _, calls = drive(recipe, "--stage", "9", "--stop_stage", "9", "--tasks", "asr s2tt")
    assert "ceiling" not in names(calls)


def test_a_task_starts_from_another_task_when_that_is_done(recipe):
    stage = ["--stage", "7", "--stop_stage", "7", "--tasks", "s2st asr tts"]
    _, calls = drive(recipe, *stage, "--sft_from", "s2st=tts", "--tag", "b")
    assert [option(call, "--output_dir") for call in calls] == [f"exp/sft_b_{task}" for task in ("asr", "tts", "s2st")]
    assert [option(call, "--init_from") for call in calls] == ["exp/cpt_b", "exp/cpt_b", "exp/sft_b_tts"]
    _, calls = drive(recipe, *stage, "--sft_from", "none")
    assert {option(call, "--init_from") for call in calls} == {"exp/cpt"}


def test_fine_tuning_starts_from_cpt_or_from_a_given_model_or_from_the_llm(recipe):
    stages = ["--stage", "6", "--stop_stage", "7", "--tasks", "asr"]
    _, calls = drive(recipe, *stages)
    assert option(calls[1], "--init_from") == option(calls[0], "--output_dir") == "exp/cpt"
    _, calls = drive(recipe, *stages, "--cpt_exp", "given")
    assert names(calls) == ["train"] and option(calls[0], "--init_from") == "given"
    _, calls = drive(recipe, *stages, "--skip_cpt", "true", "--tag", "no_cpt")
    assert names(calls) == ["train"] and option(calls[0], "--llm") == "exp/llm/llm"
    assert option(calls[0], "--output_dir") == "exp/sft_no_cpt_asr"


def test_with_a_given_cpt_model_no_llm_is_trained(recipe):
    """Tokenizer and preflight are those of the LLM within it; what text ability was before its CPT is not known."""
    text = ["--text_test_set", "text", "--lm_eval_tasks", "x", "--tasks", "asr"]
    done, calls = drive(recipe, "--stage", "3", "--cpt_exp", "given", *text)
    assert done.returncode == 0 and "No LLM is trained: fine-tuning starts from --init_from given\n" in done.stdout
    assert "text_tokenizer" not in names(calls)
    assert [option(c, "--output_dir") for c in calls if "--output_dir" in c] == ["exp/preflight", "exp/sft_asr"]
    assert {option(c, "--llm") for c in calls if "--llm" in c} == {"given/llm"}
    assert [option(c, "--out") for c in calls if c[1][13:] in ("perplexity", "lm_eval")] == [
        "exp/perplexity/given/score.json",
        "exp/lm_eval/given/score.json",
    ]
    _, calls = drive(recipe, "--dry_run", "true", "--tasks", "asr", "--cpt_exp", "given")
    assert [(option(c, "--output_dir"), option(c, "--llm")) for c in calls] == [("exp/sft_asr", "given/llm")]


def test_a_given_llm_is_not_trained_and_brings_its_tokenizer(recipe):
    _, calls = drive(recipe, "--stage", "3", "--stop_stage", "6", "--llm", "hub/name")
    assert names(calls) == ["manifest"] * 3 + ["tokens", "preflight", "train"]
    assert [option(c, "--llm") for c in calls if "--llm" in c] == ["hub/name"] * 3


def test_the_small_llm_is_trained_from_its_architecture_unless_random_init(recipe):
    _, calls = drive(recipe, "--stage", "4", "--stop_stage", "6")
    assert [option(c, "--output_dir") for c in calls] == ["exp/llm", "exp/preflight", "exp/cpt"]
    assert option(calls[0], "--llm") == "exp/text_tokenizer" and option(calls[0], "--llm_random") == "true"
    assert option(calls[2], "--llm") == "exp/llm/llm" and "--init_from" not in calls[2]
    arm = ["--random_init", "true", "--skip_cpt", "true", "--tag", "no_init", "--tasks", "asr"]
    _, calls = drive(recipe, "--stage", "6", "--stop_stage", "7", *arm)
    assert names(calls) == ["train"] and option(calls[0], "--output_dir") == "exp/sft_no_init_asr"
    assert option(calls[0], "--llm") == "exp/text_tokenizer" and option(calls[0], "--llm_random") == "true"


def test_each_task_is_decoded_and_scored_in_its_languages(recipe):
    corpus = ["--langs", "es en", "--src_lang", "es", "--tgt_lang", "en", "--test_sets", "test test_unheard"]
    done, calls = drive(
        recipe, *corpus, "--stage", "8", "--stop_stage", "9", "--tasks", "asr tts s2st", "--zero_shot_tasks", "s2st"
    )
    assert done.returncode == 0, done.stdout
    decodings = [c for c in calls if "speechlm.bin.decode" in c]
    assert len(decodings) == 4  # all sets and languages of a model's task in one process
    decoded = [out for c in decodings for out in c[c.index("--out") + 1 : c.index("--lang")]]
    assert decoded == [
        f"exp/{exp}/decode_{task}_{name}_{lang}"
        for exp, task, langs in [
            ("sft_asr", "asr", ("es", "en")), ("sft_tts", "tts", ("en",)), ("sft_s2st", "s2st", ("es",)), ("cpt",
            "s2st", ("es",)),
        ]
        for name in ("test", "test_unheard")
        for lang in langs
    ]  # fmt: skip
    scored = [c for c in calls if "speechlm.bin.score" in c]
    assert [c[c.index("--hyp") + 1 : c.index("--ref")] for c in scored[:2]] == [decoded[0:2], decoded[2:4]]
    assert [option(c, "--hyp") for c in scored[2:]] == decoded[4:]
    assert {(option(c, "--task"), option(c, "--src_lang"), option(c, "--tgt_lang")) for c in scored} == {
        ("asr", "es+en", "es+en"), ("tts", "en", "en"), ("s2st", "es", "en"),
    }  # fmt: skip
    assert option(scored[-1], "--model") == "cpt" and option(scored[0], "--test_set") == "test"
    _, calls = drive(
        recipe,
        *corpus,
        "--stage",
        "8",
        "--stop_stage",
        "9",
        "--tasks",
        "",
        "--zero_shot_tasks",
        "s2st",
        "--cpt_exp",
        "/theirs/cpt",
    )
    assert {option(c, "--out").split("/")[1] for c in calls if "ceiling" not in c[1]} == {"zero_shot"}, (
        "a given model may be a colleague's"
    )
    assert option(calls[0], "--exp") == "/theirs/cpt"


def test_several_gpus_are_asked_for(recipe):
    _, calls = drive(recipe, "--stage", "6", "--stop_stage", "6", "--ngpu", "4")
    assert option(calls[0], "--ngpu") == "4"


def on_slurm(recipe, *options):
    """Run the driver with an srun that writes down its options and runs the command, but fails for `--shard $FAIL`."""
    write_script(
        recipe / "bin/srun",
        'own=() ; while [[ $1 == --* ]]; do own+=("$1"); shift; done ; echo "srun ${own[*]} ${*: -2}" >> calls\n'
        '[ "${*: -1}" != "$FAIL_SHARD" ] || { echo "node down"; exit 7; }\nexec "$@"\n',
    )
    environment = {
        "FAIL": "",
        "FAIL_SHARD": "2/3",
        "SPEECHLM_CMD": "slurm",
        "SPEECHLM_SLURM": "--partition=a",
        "SPEECHLM_SLURM_GPU": "--mem=64G",
    }
    environment["PATH"] = f"{recipe}/bin:/usr/bin:/bin"
    done = run([DRIVER, "--python", recipe / "bin/python", *options], recipe, **environment)
    return done, (recipe / "calls").read_text().splitlines()


def test_jobs_can_go_to_slurm_and_trainings_to_several_nodes(recipe):
    done, calls = on_slurm(recipe, "--stage", "5", "--stop_stage", "6", "--ngpu", "8", "--nodes", "2")
    assert done.returncode == 0, done.stdout
    preflight, training = [call for call in calls if call.startswith("srun")]
    assert preflight.startswith("srun --ntasks=1 --cpus-per-task=32 --partition=a --mem=64G --gpus=8")
    assert training.startswith(
        "srun --nodes=2 --ntasks-per-node=1 --kill-on-bad-exit=1 --cpus-per-task=32 --partition=a --mem=64G"
        " --gpus-per-node=8"
    )
    assert training.endswith("--nodes 2")


def test_several_nodes_need_a_cluster(recipe):
    done, calls = drive(recipe, "--nodes", "2")
    assert done.returncode == 2 and "SPEECHLM_CMD=slurm" in done.stderr and not calls


def test_a_failed_job_of_the_codes_is_named_with_its_log_and_the_others_end(recipe):
    done, calls = on_slurm(recipe, "--stage", "2", "--stop_stage", "3", "--codes_jobs", "3")
    assert (
        done.returncode == 1
        and len([call for call in calls if call.startswith("srun --ntasks=1 --cpus-per-task=2 --partition=a")]) == 3
    )
    assert "1 of 3 jobs failed. Their logs: dump/codec_natural_4/log/codes.2.log." in done.stdout
    assert "node down" in done.stdout
    assert "only what is missing" in done.stdout
    (recipe / "calls").unlink()
    done, calls = drive(recipe, "--stage", "2", "--stop_stage", "2", "--codes_jobs", "2")
    assert done.returncode == 0
    assert sorted(call[call.index("--shard") + 1] if "--shard" in call else "all" for call in calls) == [
        "1/2",
        "2/2",
        "all",
    ]
    assert "--shard" not in calls[-1], "the scp files are written after all jobs"


def test_every_option_that_the_driver_passes_exists_in_the_program(recipe):
    corpus = [
        "--langs",
        "es en",
        "--src_lang",
        "es",
        "--text_train_set",
        "text_train",
        "--text_test_set",
        "text_test",
        "--ngpu",
        "2",
    ]
    _, calls = drive(recipe, *corpus, "--tasks", "asr tts s2tt s2st", "--zero_shot_tasks", "s2st")
    passed = {}
    for call in calls:
        if call[0] == "-m":
            passed.setdefault(call[1], set()).update(word for word in call[2:] if word.startswith("--"))
    done = subprocess.run(
        [sys.executable, "-c", HELP_OF_ALL, *passed], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    helps = json.loads(done.stdout.splitlines()[-1])
    assert {m: sorted(o for o in passed[m] if not re.search(rf"{o}\b", helps[m])) for m in passed} == {
        m: [] for m in passed
    }


def test_values_that_a_shell_would_act_on_stay_as_they_are(recipe):
    odd = "a b;touch hacked;$(touch hacked)`touch hacked`&'\"*[0]"
    done, calls = drive(
        recipe,
        "--stage",
        "6",
        "--stop_stage",
        "7",
        "--tasks",
        "asr",
        "--expdir",
        f"x/{odd}",
        "--llm",
        odd,
        "--codec",
        odd,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert names(calls) == ["train", "train"]
    assert option(calls[0], "--llm") == option(calls[0], "--codec") == odd
    assert option(calls[1], "--init_from") == f"x/{odd}/cpt" and option(calls[1], "--output_dir") == f"x/{odd}/sft_asr"
    done, calls = drive(
        recipe, "--stage", "8", "--stop_stage", "10", "--tasks", "asr tts", "--expdir", f"x/{odd}", "--dumpdir", odd
    )
    assert done.returncode == 0, done.stdout + done.stderr
    decode, score = [next(call for call in calls if name in call[1]) for name in ("decode", "score")]
    assert option(decode, "--out") == option(score, "--hyp") == f"x/{odd}/sft_asr/decode_asr_test_en"
    assert option(decode, "--manifest") == f"{odd}/codec_natural_4/test/manifest.jsonl"
    _, calls = drive(recipe, "--stage", "6", "--stop_stage", "6", "--expdir=--nj", "--train_sets", "*", "--nj", "08")
    assert option(calls[0], "--output_dir") == "./--nj/cpt" and option(calls[0], "--train_sets") == "*"
    local = "--corpus $(touch hacked);touch${IFS}hacked"
    folders = ["--datadir", "a b $(touch hacked)", "--dumpdir", "d;touch hacked"]
    done, calls = drive(recipe, "--stage", "1", "--stop_stage", "1", "--local_data_opts", local, *folders)
    assert done.returncode == 0 and " ".join(calls[0]) == f"data --datadir a b $(touch hacked) --nj 2 {local}"
    done, _ = drive(recipe, "--expdir", "--$(touch hacked)", "--nj", "a[$(touch hacked)]")
    assert done.returncode == 2
    assert not list(recipe.rglob("hacked"))
