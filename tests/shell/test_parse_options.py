"""utils/parse_options.sh: declared variables are the only options."""

import pytest
from shell import ROOT, run, write_script

SCRIPT = f"""
# Trains a model.
## Folders
expdir=exp      # where models go
cpt_config=     # settings of CPT
nj=4            # number of jobs
verbose=false   # say more
                # about everything
private=1
                # no help of anything
. {ROOT}/utils/parse_options.sh
echo "expdir=$expdir cpt_config=$cpt_config nj=$nj verbose=$verbose rest=$*"
late=1          # declared too late to be an option
"""


@pytest.fixture
def script(tmp_path):
    return write_script(tmp_path / "train.sh", SCRIPT.lstrip("\n"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "expdir=exp cpt_config= nj=4 verbose=false rest="),
        (["--nj", "8", "--expdir", "a b"], "expdir=a b cpt_config= nj=8 verbose=false rest="),
        (["--nj=8", "--cpt-config", "x=y"], "expdir=exp cpt_config=x=y nj=8 verbose=false rest="),
        (["--nj", "1", "--nj", "2"], "expdir=exp cpt_config= nj=2 verbose=false rest="),
        (["--cpt_config", ""], "expdir=exp cpt_config= nj=4 verbose=false rest="),
        (["--cpt_config", "--lr 3 --x"], "expdir=exp cpt_config=--lr 3 --x nj=4 verbose=false rest="),
        (["--expdir=--nj", "--nj=08"], "expdir=--nj cpt_config= nj=8 verbose=false rest="),
        (["--expdir", "$(touch hacked)`id`;"], "expdir=$(touch hacked)`id`; cpt_config= nj=4 verbose=false rest="),
    ],
)
def test_values(script, arguments, expected):
    done = run([script, *arguments], script.parent)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, expected, "")
    assert not (script.parent / "hacked").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--expdr", "x"], "train.sh: there is no option --expdr. Nearest: --expdir. --help lists all options."),
        (["--config", "x"], "there is no option --config. Nearest: --cpt_config."),
        (["--qqqqqq", "x"], "there is no option --qqqqqq. --help lists all options."),
        (["--private", "2"], "there is no option --private."),
        (["--late", "2"], "there is no option --late."),
        (["--PATH", "x"], "there is no option --PATH."),
        (["--nj"], "--nj needs a value: --nj VALUE (number of jobs)."),
        (["--expdir", "--nj", "3"], "--expdir needs a value"),
        (["--nj", "two"], "--nj takes a whole number, found 'two'."),
        (["--verbose", "yes"], "--verbose takes true or false, found 'yes'."),
        (["-n", "2"], "'-n' is not an option"),
        (["--verbose", "true", "a", "--nj", "5"], "'a' is not an option"),
        (["--a;b", "2"], "'--a;b' is not an option"),
    ],
)
def test_mistakes_are_refused(script, arguments, message):
    done = run([script, *arguments], script.parent)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_help_shows_purpose_options_and_values(script):
    done = run([script, "--nj", "7", "--help"], script.parent)
    assert done.returncode == 0
    assert done.stdout.startswith("Trains a model.\n")
    assert "\nFolders\n  --expdir               where models go [exp]\n" in done.stdout
    assert "number of jobs [7]" in done.stdout
    assert "say more about everything [false]" in done.stdout and "no help" not in done.stdout
    assert "private" not in done.stdout and "late" not in done.stdout
