"""Package metadata. Exact versions of every dependency: tools/requirements.lock."""

from pathlib import Path

from setuptools import find_packages, setup

VERSION = "0.1.0"

REQUIREMENTS = [
    "torch==2.11.0",
    "torchaudio==2.11.0",  # imported by espnet and encodec; must match torch
    "espnet==202511",
    "encodec==0.1.1",
    "transformers>=4.57,<5",
    "sentencepiece==0.2.0",  # the version that espnet asks for
    "numpy>=2",
    "kaldiio",
    "jiwer",
    "sacrebleu",
    "whisper-normalizer",
    "soundfile",
    "soxr",
    "espeakng-loader",
    "py-nanotts==0.1.1; sys_platform == 'linux' and platform_machine == 'x86_64'",  # SVOX Pico; no wheel elsewhere: espeak-ng speaks
    "safetensors",
    "pyyaml",
    "requests",
    "ijson",
    "matplotlib",
    "pillow",
    "tensorboard",
    "setuptools<74",  # espnet's dependencies still import pkg_resources
]
QUALITY_REQUIREMENTS = [  # measures of sound that carry their own models; pesq and webrtcvad are compiled on installation
    "speechmos",
    "onnxruntime",  # speechmos runs on it and doesn't say so
    "resemblyzer",
    "pesq",
    "pystoi",
]
LM_EVAL_REQUIREMENTS = ["lm-eval[hf]>=0.4.9"]  # text tasks, for the LLM before and after CPT
TEST_REQUIREMENTS = ["pytest", "pytest-xdist", "hypothesis", "playwright", "ruff"]  # playwright drives a browser that is installed

FOLDERS = ("assets", "metrics/protocols", "report/page")  # files that are no Python
ASSETS = [str(path.relative_to("speechlm")) for folder in FOLDERS for path in Path("speechlm", folder).rglob("*") if path.is_file()]

setup(
    name="speechlm",
    version=VERSION,
    description="Speech language models on neural codec tokens: one model for ASR, TTS, S2TT and S2ST",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["speechlm", "speechlm.*"]),
    package_data={"speechlm": ASSETS},
    install_requires=REQUIREMENTS,
    extras_require={"test": TEST_REQUIREMENTS, "parquet": ["pyarrow"], "quality": QUALITY_REQUIREMENTS, "lm_eval": LM_EVAL_REQUIREMENTS},
)
