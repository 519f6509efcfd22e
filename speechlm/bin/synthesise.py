"""Synthesise texts: each FILE holds one text per line, as `name<tab>text` or the text alone, and each text becomes a
sound file; `-` reads standard input.
"""

import argparse
import re
import sys
from pathlib import Path

from speechlm.api.results import FORMATS
from speechlm.bin.command import run_main
from speechlm.bin.using import add_model_options, load, run_all


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", metavar="FILE", help="texts, UTF-8")
    parser.add_argument("--text", help="one text, instead of files")
    parser.add_argument("--lang", help="language of the texts (needed if the model knows several)")
    parser.add_argument("--voice", help="a recording of the speaker, or a voice of the model (default: its first)")
    parser.add_argument(
        "--out", type=Path, default=Path("spoken"), help="folder, or with --text the file to write (default: spoken)"
    )
    parser.add_argument(
        "--format", choices=tuple(FORMATS), default="wav", help="format of the files in a folder (default: wav)"
    )
    add_model_options(parser)
    args = parser.parse_args()
    texts = read_texts(args.files, args.text)
    lm = load(args)
    lm.languages("tts", args.lang, args.lang)
    for name, speech in run_all(
        lm, list(texts), lambda name: lm.prepare("tts", texts[name], args.lang, args.lang, args.voice)
    ):
        one = args.text is not None and args.out.suffix
        print(f"{name}\t{speech.save(args.out if one else args.out / f'{name}.{args.format}')}", flush=True)


def read_texts(files: list[str], text: str | None) -> dict[str, str]:
    """Return {name of the sound file: text}; ValueError for no text, a file that isn't one, or a name twice or with a
    path in it.
    """
    if (text is None) == (not files):
        raise ValueError("give either --text TEXT or files with texts.")
    texts: dict[str, str] = {} if text is None else {"text": text}
    for file in files:
        for number, line in enumerate(_read(file).splitlines(), start=1):
            if not line.strip():
                continue
            name, tab, said = line.partition("\t")
            name, said = (name, said) if tab else (f"{Path(file).stem.strip('-') or 'text'}-{number}", line)
            if not re.fullmatch(r"[\w][\w.-]{0,199}", name) or name in texts:
                raise ValueError(
                    f"{file}:{number}: the name {name[:60]!r}; expected one of letters, digits, _ . -, each once"
                )
            texts[name] = said
    if not texts:
        raise ValueError(f"{', '.join(files)}: no text in it; expected one text per line")
    return texts


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}; expected a file with one text per line") from None
    except ValueError:  # not UTF-8, or a name with a NUL
        raise ValueError(f"{file[:200]!r}: not UTF-8 text; expected one text per line") from None


if __name__ == "__main__":
    run_main(main)
