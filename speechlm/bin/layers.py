"""Print the YAML files that a training's settings come from: one per line, later ones override earlier ones. The output
is read by egs/TEMPLATE/speechlm.sh.

`python -m speechlm.bin.layers sft_tts --folders ../TEMPLATE/conf conf --overlays conf/tiny` prints

    ../TEMPLATE/conf/train.yaml
    ../TEMPLATE/conf/sft.yaml
    conf/sft_tts.yaml
    conf/tiny/sft.yaml
"""

import argparse
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.data.layers import find_layers, layers_in


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("training", help="llm, cpt or sft_<task>")
    parser.add_argument(
        "--folders", type=Path, nargs="+", required=True, help="settings folders of the template and the recipe"
    )
    parser.add_argument("--overlays", type=Path, nargs="*", default=[], help="settings folders that override those")
    parser.add_argument("--given", default="", help="a file that replaces those of --folders (empty: none)")
    args = parser.parse_args()
    if args.given:
        files = [args.given, *layers_in(args.training, args.overlays)]
    else:
        option = f", or name it with --{args.training.partition('_')[0]}_config"
        files = find_layers(args.training, [*args.folders, *args.overlays], option)
    print(*files, sep="\n")


if __name__ == "__main__":
    run_main(main)
