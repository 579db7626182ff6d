"""Run the command line as `python -m ranker`."""

from ranker.cli import main

if __name__ == "__main__":
    main(prog_name="ranker")
