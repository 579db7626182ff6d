import os
import pty
import subprocess
import sys

TABLE = """
from ranker.cli.display.output import print_pairs, print_table
print_table(("tag", "rows"), [("shoes:" + 60 * "x", 7), ("[b]日本", "1,000")], right=["rows"])
print_pairs({"Tag": 60 * "y"})
"""


def printed_on_a_terminal(script: str, columns: int) -> list[str]:
    """Run a script on a terminal of so many columns; return its lines without their last spaces."""
    leader, follower = pty.openpty()
    environ = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    subprocess.run([sys.executable, "-c", script], stdout=follower, env=environ, timeout=60, check=True)
    os.close(follower)
    output = b""
    try:
        while part := os.read(leader, 65536):
            output += part
    except OSError:  # what Linux says at the end
        pass
    os.close(leader)
    return output.decode().replace("\r", "").splitlines()


def test_rows_of_a_table_stay_whole_on_a_narrow_terminal() -> None:
    heading, long, wide, pair = printed_on_a_terminal(TABLE, 20)
    assert heading == f"\x1b[1mtag{63 * ' '}   rows\x1b[0m"
    assert long == f"shoes:{60 * 'x'}      7"
    assert wide == f"[b]日本{59 * ' '}  1,000"
    assert pair == f"\x1b[1mTag  \x1b[0m{60 * 'y'}", "the label alone is bold"
