"""Every Python block of README, CONTRIBUTING and docs runs, page by page, in an empty folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def _blocks(page: Path) -> list[tuple[str, int]]:
    text = page.read_text(encoding="utf-8")
    return [(match[1], text[: match.start()].count("\n") + 1) for match in BLOCK.finditer(text)]


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if _blocks(page)],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_the_examples_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "example"}

    for code, line in _blocks(page):
        program = compile("\n" * line + code, str(page), "exec")
        exec(program, names)  # the project's own pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_signup_example_of_the_readme_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "example"}
    exec(_blocks(ROOT / "README.md")[0][0], names)  # the project's own page

    with TestClient(names["app"]) as client:  # type: ignore[arg-type]  # the example's FastAPI
        task_id = client.post("/signup", params={"address": "user@example.com"}).json()["task_id"]
        task = client.get(f"/tasks/{task_id}").json()

    lines = (tmp_path / "tasks.log").read_text().splitlines()
    assert (task["status"], task["tags"]) == ("success", {"kind": "welcome"})
    assert [line[len("[6f1ab2c3] [send_email] 2026-01-01T12:00:00 ") :] for line in lines] == [
        "-- RUNNING",
        "Sending to user@example.com",
        "-- SUCCESS",
    ]
