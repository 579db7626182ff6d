"""Ask PyPI whether advisories are known for what an image installs: requirements/serve.txt.

`python -m deploy.audit`. Exit code 0: none are known; 1: some are; 2: not every package could be asked about, of which
pip-audit itself says "No known vulnerabilities found".
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).parent.parent / "requirements" / "serve.txt"
TIMEOUT_S = 300


def verdict(report: str) -> tuple[int, str]:
    """Read what pip-audit reports as JSON; return the exit code and what to say."""
    packages = json.loads(report)["dependencies"] if report else []
    known = [
        f"{package['name']} {package['version']}: {advisory['id']}, mended in {', '.join(advisory['fix_versions'])}"
        for package in packages
        for advisory in package.get("vulns", ())
    ]
    if known:
        return 1, "\n".join(known)
    skipped = sum("skip_reason" in package for package in packages)
    if skipped or not packages:
        return (
            2,
            f"Not audited: no advisories could be had for {skipped or 'any'} of {len(packages) or 'the'} packages.",
        )
    return 0, f"No advisories are known for the {len(packages)} packages."


def main() -> int:
    """Ask, and say what is known."""
    command = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip", "--progress-spinner", "off"]
    asked = subprocess.run(
        [*command, "--format", "json", "-r", str(REQUIREMENTS)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    code, sentence = verdict(asked.stdout)
    print(sentence)
    if not asked.stdout:
        print(asked.stderr.strip().rpartition("\n")[2])
    return code


if __name__ == "__main__":
    sys.exit(main())
