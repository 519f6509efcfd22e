"""Package metadata. Exact versions of every dependency: tools/requirements.lock."""

from pathlib import Path

from setuptools import find_packages, setup

VERSION = "0.1.0"

REQUIREMENTS = [
    "torch>=2.11,!=2.12.*,<2.15",  # what espnet 202611 allows
    "torchaudio>=2.11,<2.12",  # imported by espnet and encodec; its last release, built for torch 2.11
    "espnet>=202511,<202512 ; python_version < '3.12'",  # the last release for Python 3.11
    "espnet>=202611,<202612 ; python_version >= '3.12'",
    "encodec>=0.1.1,<0.2",
    "transformers>=4.57,<5",
    "sentencepiece>=0.2",
    "numpy>=2",
    "kaldiio",
    "editdistance",  # ESPnet 202611 counts errors with it and does not ask for it
    "jiwer",
    "sacrebleu",
    "whisper-normalizer",
    "soundfile",
    "av",  # FFmpeg's libraries: mp3, WebM, MP4
    "soxr",
    "silero-vad>=6",  # finds the pauses of long recordings; carries its model
    "espeakng-loader",
    # SVOX Pico; no wheel elsewhere: espeak-ng speaks
    "py-nanotts==0.1.1; sys_platform == 'linux' and platform_machine == 'x86_64'",
    "peft",  # LoRA
    "safetensors",
    "pyyaml",
    "requests",
    "ijson",
    "matplotlib",
    "pillow",
    "tensorboard",
    "argcomplete>=3",  # completes the command in a shell
    "setuptools<74 ; python_version < '3.12'",  # dependencies of espnet 202511 import pkg_resources
]
# measures of sound that carry their own models; pesq and webrtcvad are compiled on installation
QUALITY_REQUIREMENTS = [
    "speechmos",
    "onnxruntime",  # speechmos runs on it and doesn't say so
    "resemblyzer",
    "pesq",
    "pystoi",
]
SERVE_REQUIREMENTS = ["fastapi", "uvicorn", "python-multipart"]  # speechlm serve
DEMO_REQUIREMENTS = ["gradio>=5"]  # speechlm demo
LM_EVAL_REQUIREMENTS = ["lm-eval[hf]>=0.4.9"]  # text tasks, for the LLM before and after CPT
# to test the bridges to espnet2.speechlm against the installed release (tests/pythons.sh)
ESPNET_SPEECHLM_REQUIREMENTS = [
    f"{name} ; python_version >= '3.12'" for name in ("liger-kernel", "duckdb", "polars", "lhotse")
]
TEST_REQUIREMENTS = [
    "pytest",
    "pytest-xdist",
    "hypothesis",
    "playwright",
    "ruff",
    "openai",
]  # playwright drives a browser that is installed

FOLDERS = ("assets", "metrics/protocols", "report/page")  # files that are no Python
ASSETS = [
    str(path.relative_to("speechlm"))
    for folder in FOLDERS
    for path in Path("speechlm", folder).rglob("*")
    if path.is_file()
]

setup(
    name="speechlm",
    version=VERSION,
    description="Speech language models on neural codec tokens: one model for ASR, TTS, S2TT and S2ST",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["speechlm", "speechlm.*"]),
    package_data={"speechlm": ASSETS},
    install_requires=REQUIREMENTS,
    extras_require={
        "test": TEST_REQUIREMENTS,
        "parquet": ["pyarrow"],
        "quality": QUALITY_REQUIREMENTS,
        "lm_eval": LM_EVAL_REQUIREMENTS,
        "espnet_speechlm": ESPNET_SPEECHLM_REQUIREMENTS,
        "serve": SERVE_REQUIREMENTS,
        "demo": DEMO_REQUIREMENTS,
    },
    entry_points={"console_scripts": ["speechlm = speechlm.cli:main"]},
)
