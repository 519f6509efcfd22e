"""Open a page to try out a model: record or upload speech, read the transcript and the translation, hear the result."""

import argparse
import sys
from pathlib import Path

from speechlm.bin.command import run_main
from speechlm.bin.using import LOCAL_NAMES, add_model_options, is_local, load, require_extra


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s, visible to this machine only)"
    )
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument(
        "--examples", type=Path, help="a set whose first recordings are offered as examples, such as data/test"
    )
    parser.add_argument("--max_mb", type=float, default=25.0, help="largest upload, in MB (default: %(default)g)")
    add_model_options(parser)
    args = parser.parse_args()
    require_extra("demo", "gradio")
    import uvicorn

    if not is_local(args.host):
        print(f"warning: anyone who can reach {args.host} may use this page.", file=sys.stderr)
    lm = load(args)
    from speechlm.demo.page import make_app, make_page, read_examples

    langs = list(dict.fromkeys(src for task, pairs in lm.tasks.items() if task != "tts" for src, _ in pairs))
    examples = read_examples(args.examples, langs)
    app = make_app(make_page(lm, examples), examples, args.max_mb, LOCAL_NAMES if is_local(args.host) else None)
    print(f"the page is at http://{args.host}:{args.port}", flush=True)
    uvicorn.run(app, host=args.host, port=args.port, log_level="warning", timeout_graceful_shutdown=5)


if __name__ == "__main__":
    run_main(main)
