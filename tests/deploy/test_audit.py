"""What the audit makes of pip-audit's report; who asks PyPI is `make release-check`."""

from __future__ import annotations

import json

import pytest

from deploy.audit import verdict

SOUND = {"name": "numpy", "version": "2.0", "vulns": []}
SKIPPED = {"name": "redis", "skip_reason": "Dependency not found on PyPI and could not be audited: redis (8.1)"}
KNOWN = {"name": "jinja2", "version": "2.4.1", "vulns": [{"id": "PYSEC-2014-8", "fix_versions": ["2.7.2"]}]}


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([SOUND], 0, "No advisories are known for the 1 packages."),
        ([SOUND, SKIPPED, KNOWN], 1, "jinja2 2.4.1: PYSEC-2014-8, mended in 2.7.2"),
        ([SOUND, SKIPPED], 2, "Not audited: no advisories could be had for 1 of 2 packages."),
        ([], 2, "Not audited: no advisories could be had for any of the packages."),
    ],
)
def test_only_what_was_asked_about_counts_as_audited(packages: list[dict[str, object]], code: int, said: str) -> None:
    assert verdict(json.dumps({"dependencies": packages, "fixes": []})) == (code, said)


def test_no_report_is_no_audit() -> None:
    assert verdict("")[0] == 2
