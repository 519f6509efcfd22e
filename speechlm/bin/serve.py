"""Serve a model over HTTP, with OpenAI's audio endpoints: /v1/audio/transcriptions, translations and speech;
/v1/models, /health, /metrics.

Requests that wait at the same time are decoded together. If the environment variable SPEECHLM_KEY is set, clients must
send that key.
"""

import argparse
import os
import sys

from speechlm.bin.command import run_main
from speechlm.bin.using import LOCAL_NAMES, add_model_options, is_local, load, require_extra


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s, visible to this machine only)"
    )
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--name", default="speechlm", help="the model's name for clients (default: %(default)s)")
    parser.add_argument("--max_mb", type=float, default=25.0, help="largest request, in MB (default: %(default)g)")
    parser.add_argument(
        "--max_active",
        type=int,
        default=64,
        help="requests that may wait at the same time; others are told to try again (429)",
    )
    parser.add_argument("--max_batch", type=int, default=16, help="requests decoded together (default: %(default)s)")
    add_model_options(parser)
    args = parser.parse_args()
    require_extra("serve", "fastapi", "uvicorn", "python_multipart")
    import uvicorn

    from speechlm.server.app import Limits, make_app

    key, local = os.environ.get("SPEECHLM_KEY"), is_local(args.host)
    if not local and not key:
        print(
            f"warning: anyone who can reach {args.host} may use this server. Set SPEECHLM_KEY to a secret to"
            " require it.",
            file=sys.stderr,
        )
    lm = load(args)
    for task in lm.tasks:
        lm.load(task)
    app = make_app(
        lm,
        args.name,
        Limits(args.max_active, args.max_batch, int(args.max_mb * 1e6)),
        key,
        LOCAL_NAMES if local else None,
    )
    print(f"model {args.name} at http://{args.host}:{args.port}/v1: {', '.join(lm.tasks)}", flush=True)
    uvicorn.run(app, host=args.host, port=args.port, log_level="warning", timeout_graceful_shutdown=30)


if __name__ == "__main__":
    run_main(main)
