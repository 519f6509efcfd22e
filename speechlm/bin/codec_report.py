"""Measure a codec on a Kaldi directory: `python -m speechlm.bin.codec_report --codec codec_16k --data data/dev`."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch

from speechlm.bin.command import run_main
from speechlm.codecs import load_codec
from speechlm.codecs.clips import read_recordings
from speechlm.codecs.quality import measure
from speechlm.data.audio import load_span
from speechlm.data.files import atomic_write
from speechlm.data.settings import Option, Positive


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--codec",
        default="codec_natural:4",
        help="codec_natural:4, encodec_24khz:6, mimi:8, a folder, ...: see README, Codecs",
    )
    parser.add_argument("--data", required=True, nargs="+", help="Kaldi directories")
    parser.add_argument("--utterances", type=Option(Positive), default=300, help="at most this many, evenly spread")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    codec = load_codec(args.codec)
    spans = [recording.span for data_dir in args.data for recording in read_recordings(data_dir)]
    spans = spans[:: max(1, len(spans) // args.utterances)][: args.utterances]
    report = measure(codec, [load_span(span, codec.sample_rate_hz) for span in spans])
    print(
        f"{codec.name}, {codec.frame_rate_hz:g} Hz, {codec.num_codebooks} codebooks of {codec.codebook_size}:"
        f" {report.to_markdown()}"
    )
    if args.json:
        with atomic_write(args.json) as stream:
            json.dump(asdict(report) | {"codec": codec.fingerprint}, stream, indent=1)


if __name__ == "__main__":
    run_main(main)
