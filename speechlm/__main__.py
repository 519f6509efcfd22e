"""`python -m speechlm` is the command `speechlm`."""

from speechlm.cli import main

if __name__ == "__main__":
    main()
