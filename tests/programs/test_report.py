# SPDX-License-Identifier: Apache-2.0
"""`unclosed report` and `unclosed explain` as commands: where results go, what is refused, what a failure leaves."""
import json
import os
import re
import resource
import sqlite3

import html5lib
import pytest

from conftest import COMMAND, TESTS, finished

DOCUMENTS = TESTS.parent / "docs"

RULE = """-- id: kept
-- severity: warning
-- title: {noun} kept
-- phrase: kept
-- explain: kept
-- fix: call {close}
SELECT handle.id AS handle FROM open_handle AS handle WHERE standing = 'referenced';
"""


def unclosed(place, *words, **more):
    return finished([COMMAND, *words], cwd=place, **more)


@pytest.fixture
def run(run_unclosed):
    """A run that has lost 10 connections and kept 3; its directory."""
    return run_unclosed("counted").directory


def entries(directory):
    return sorted(entry.name for entry in directory.iterdir())


# --- where results go ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["", "traces"])
def test_results_go_beside_the_traces(run, what):
    (run / "index.html").unlink()
    (run / "report.db").unlink()
    assert unclosed(run.parent, "report", run / what).status == 23
    assert {"index.html", "report.db"} <= set(entries(run)) and not any("html" in name for name in entries(run / "traces"))


def test_or_where_the_user_says(run, tmp_path):
    before = entries(run)
    done = unclosed(tmp_path, "report", "-o", "elsewhere", run)
    assert (done.status, done.stdout, entries(run)) == (23, "", before)
    assert entries(tmp_path / "elsewhere") == ["index.html", "report.db"]
    assert "page   elsewhere/index.html" in done.stderr


def test_a_format_alone_writes_nothing_else(run, tmp_path):
    changed = (run / "index.html").stat().st_mtime_ns
    done = unclosed(tmp_path, "report", "--format=json=-", run)
    assert json.loads(done.stdout)["verdict"] == "error" and done.stderr.startswith("unclosed: FAILED")
    assert (run / "index.html").stat().st_mtime_ns == changed


def test_formats_go_to_files_of_their_own(run, tmp_path):
    unclosed(tmp_path, "report", "--format=text=a.txt", "--format=json=b.json", "--format=html=c.html", run)
    assert (tmp_path / "a.txt").read_text().startswith("unclosed: FAILED")
    assert json.loads((tmp_path / "b.json").read_text())["schema"] == 1
    assert "lost" in (tmp_path / "c.html").read_text() or "never closed" in (tmp_path / "c.html").read_text()


def test_a_run_database_can_be_judged_again(run, tmp_path):
    first = json.loads(unclosed(tmp_path, "report", "--format=json=-", run).stdout)
    again = unclosed(tmp_path, "report", "--format=json=-", run / "report.db")
    assert (again.status, json.loads(again.stdout)) == (23, first)
    assert unclosed(tmp_path, "report", "--format=json=-", "--rule=leaked=note", run / "report.db").status == 0


def test_several_runs_are_one_report(run, run_unclosed, tmp_path):
    other = run_unclosed("counted", name="other").directory
    found = json.loads(unclosed(tmp_path, "report", "--format=json=-", run, other).stdout)
    assert [finding["count"] for finding in found["findings"]] == [20, 6] and len(found["processes"]) == 2


def test_files_get_the_permissions_that_files_get(run, tmp_path):
    unclosed(tmp_path, "report", "-o", "out", run, umask=0o027)
    assert {oct((tmp_path / "out" / name).stat().st_mode & 0o777) for name in ("index.html", "report.db")} == {"0o640"}


# --- what is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words, said", [
    (["report"], "name a trace"),
    (["report", "--format=xml", "."], "unknown format 'xml'; there is text, html, json"),
    (["report", "--format=json=", "."], "names no file"),
    (["report", "--fail-on=fatal", "."], "--fail-on=fatal"),
    (["report", "--exitcode=256", "."], "from 0 to 255"),
    (["report", "--rule=leaked", "."], "ID=off"),
    (["report", "--rule=leeked=off", "."], "no such rule"),
    (["report", "--rules=nowhere", "."], "nowhere"),
    (["report", "--held=soon", "."], "expected seconds"),
    (["explain", "leeked"], "no rule 'leeked'"),
    (["pytest"], "unclosed run -- pytest"),
    ([], "name a command"),
])
def test_wrong_usage_is_2_and_names_the_remedy(tmp_path, words, said):
    done = unclosed(tmp_path, *words)
    assert done.status == 2 and said in done.stderr


def test_a_rule_with_a_mistake_stops_run_before_the_program(tmp_path):
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "mine.sql").write_text("-- id: mine\nSELECT 1")
    done = unclosed(tmp_path, "run", "--rules", "rules", "--", "touch", "it-ran")
    assert done.status == 2 and "rules/mine.sql" in done.stderr and not (tmp_path / "it-ran").exists()


def test_what_is_not_there_is_25(tmp_path):
    done = unclosed(tmp_path, "report", "nowhere.trace")
    assert done.status == 25 and "nowhere.trace" in done.stderr


def test_a_directory_without_traces_is_nothing_to_judge(tmp_path):
    done = unclosed(tmp_path, "report", "--format=json=-", ".")
    assert done.status == 0 and json.loads(done.stdout)["verdict"] == "nothing" and "NOTHING TO JUDGE" in done.stderr
    assert unclosed(tmp_path, "report", "--require=sqlite3", "--format=json=-", ".").status == 24


# --- a result that cannot be written ----------------------------------------------------------------------------------------


def test_a_full_disk_is_said_and_is_25(run, tmp_path):
    done = unclosed(tmp_path, "report", "--fail-on=never", "--format=json=/dev/full", run)
    assert done.status == 25 and "cannot write /dev/full: No space left on device" in done.stderr


def test_findings_come_before_a_full_disk(run, tmp_path):
    assert unclosed(tmp_path, "report", "--format=json=/dev/full", run).status == 23


def test_a_limit_on_file_sizes_leaves_the_old_results(run, tmp_path):
    page, database = (run / "index.html").read_bytes(), (run / "report.db").read_bytes()
    before = entries(run)
    done = unclosed(tmp_path, "report", "--fail-on=never", run,
                    preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048)))
    assert done.status == 25 and "cannot write" in done.stderr
    assert ((run / "index.html").read_bytes(), (run / "report.db").read_bytes(), entries(run)) == (page, database, before)


def test_a_directory_that_cannot_be_made_is_25(run, tmp_path):
    (tmp_path / "file").write_text("")
    done = unclosed(tmp_path, "report", "-o", "file/below", run)
    assert done.status == 25 and "file/below" in done.stderr


# --- options ------------------------------------------------------------------------------------------------------------------


def test_a_users_own_rules(run, tmp_path):
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "kept.sql").write_text(RULE)
    done = unclosed(tmp_path, "report", "--rules=rules", "--rule=open-at-exit=off", "--format=json=-", run)
    assert [(finding["rule"], finding["count"]) for finding in json.loads(done.stdout)["findings"]] == [("leaked", 10), ("kept", 3)]
    assert "kept" in unclosed(tmp_path, "explain", "--rules=rules").stdout


def test_redacted_results_name_neither_host_nor_target(run, tmp_path):
    unclosed(tmp_path, "report", "-o", "out", "--redact", "--format=json", run)
    host = os.uname().nodename
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    assert {process["host"] for process in found["processes"]} == {None}
    assert {finding["target"] for finding in found["findings"]} == {None}
    assert f">{host}<" not in (tmp_path / "out" / "index.html").read_text()
    with sqlite3.connect(tmp_path / "out" / "report.db") as database:
        assert database.execute("SELECT count(*) FROM handle WHERE target IS NOT NULL").fetchone() == (0,)
        assert database.execute("SELECT count(*) FROM process WHERE command IS NOT NULL").fetchone() == (0,)


def test_source_lines_can_be_left_out(run, tmp_path):
    unclosed(tmp_path, "report", "-o", "with", run)
    unclosed(tmp_path, "report", "-o", "without", "--no-source", run)
    assert 'class="source"' in (tmp_path / "with" / "index.html").read_text()
    assert 'class="source"' not in (tmp_path / "without" / "index.html").read_text()


def test_a_label_is_shown(run, tmp_path):
    unclosed(tmp_path, "report", "-o", "out", "--label=v1.42.0", run)
    assert "v1.42.0" in (tmp_path / "out" / "index.html").read_text()


# --- the documents ------------------------------------------------------------------------------------------------------------


def test_the_example_in_the_howto_works(run, tmp_path):
    example = re.search(r"```sql\n(.*?)```", (DOCUMENTS / "HOWTO_ADD_A_RULE.md").read_text(), re.S)[1]
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "held-too-long.sql").write_text(example)
    words = ["report", "--rules=rules", "--rule=leaked=off", "--format=json=-", run]
    [finding] = [each for each in json.loads(unclosed(tmp_path, *words, "--held=0.000001").stdout)["findings"]
                 if each["rule"] == "held-too-long" and each["count"] == 3]
    assert finding["evidence"].startswith("open for ")
    assert "held-too-long" not in unclosed(tmp_path, *words, "--held=100000").stdout


def test_every_table_and_column_is_documented(run):
    document = (DOCUMENTS / "RUN_DATABASE.md").read_text()
    sections = {name: text for name, text in re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", document, re.S | re.M)}
    handle = sections["handle"]
    with sqlite3.connect(run / "report.db") as database:
        for (table,) in database.execute("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')").fetchall():
            there = {name for _, name, *_ in database.execute(f"PRAGMA table_info({table})")}
            told = set(re.findall(r"^\| (\w+) \|", sections[table] + (handle if table == "open_handle" else ""), re.M)) - {"column"}
            assert told == there, table


# --- the page and the rules' pages -----------------------------------------------------------------------------------------


def test_the_page_has_no_parse_error(run):
    parser = html5lib.HTMLParser()
    parser.parse((run / "index.html").read_bytes())
    assert parser.errors == []


def test_names_of_files_and_databases_are_inert(run_unclosed, tmp_path):
    place = tmp_path / "<img src=x onerror=alert(1)> \"'&\u202e\x1b[31m"
    place.mkdir()
    report = run_unclosed("run_database", "lose", "2", options=["--label", "</title><script>\x1b"], cwd=place)
    parser = html5lib.HTMLParser()
    parser.parse((report.directory / "index.html").read_bytes())
    assert parser.errors == [] and "<script" not in (report.directory / "index.html").read_text()
    assert report.json["findings"][0]["count"] == 2 and "\x1b" not in report.stderr


def test_every_rule_is_explained(tmp_path):
    rules = re.findall(r"^(?:error|warning|note) +([a-z-]+) ", unclosed(tmp_path, "explain").stdout, re.M)
    assert len(rules) >= 9
    for rule in rules:
        said = unclosed(tmp_path, "explain", rule).stdout
        assert all(part in said for part in (rule, "fix", "wrong", "right", "misleads")) and "{" not in said.split("wrong")[0]


@pytest.mark.parametrize("words, said", [(["--version"], "unclosed "), (["--help"], "Commands:"), (["report", "--help"], "--format"),
                                         (["run", "--help"], "--fail-on"), (["explain", "--help"], "RULE")])
def test_help(tmp_path, words, said):
    done = unclosed(tmp_path, *words)
    assert done.status == 0 and said in done.stdout
