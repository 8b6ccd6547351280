"""Files that the settings name: what is missing is told before the first step."""

import pytest
from conftest import snakemake

from xinstruct_utils.config import needs
from xinstruct_utils.config.load import load_profile
from xinstruct_utils.config.profile import Profile
from xinstruct_utils.core.errors import InputError


def test_every_missing_file_is_named_once_for_each_language(tmp_path):
    for name in ("seed.jsonl", "corpus.jsonl", "vicuna.jsonl"):
        (tmp_path / name).write_text("")
    given = {"source": "files", "languages": ["fi", "sw"], "seed_path": f"{tmp_path}/seed.jsonl",
             "corpus_path": f"{tmp_path}/corpus.jsonl",
             "benchmarks": [f"{tmp_path}/vicuna.jsonl", f"{tmp_path}/koala_{{lang}}.jsonl"],
             "opponent": f"{tmp_path}/answers.jsonl",
             "baselines": ["rated", f"Alpaca-MT={tmp_path}/mt.jsonl"]}
    found = needs.missing(Profile(**given))
    assert found == [f"benchmarks: {tmp_path}/koala_fi.jsonl",
                     f"benchmarks: {tmp_path}/koala_sw.jsonl",
                     f"opponent: {tmp_path}/answers.jsonl",
                     f"baselines, Alpaca-MT: {tmp_path}/mt.jsonl"]
    with pytest.raises(InputError, match=r"koala_fi[^$]*answers[^$]*mt\.jsonl"):
        needs.check(Profile(**given))


def test_a_run_in_the_atlas_needs_no_file_and_the_hub_none_of_a_corpus():
    assert needs.missing(load_profile("atlas")) == []
    paper = needs.missing(load_profile("paper", languages=["sw"]))
    assert not any("corpus_path" in line for line in paper)
    assert sum(line.startswith("benchmarks") for line in paper) == 4
    assert any("Alpaca-MT" in line for line in paper)


def test_a_run_says_what_is_missing_before_its_first_step(tmp_path):
    child = snakemake(tmp_path, "--config", "profile=paper", "run=p", "langs=sw")
    output, _ = child.communicate()
    assert child.returncode != 0
    assert "benchmarks: " in output and "koala.jsonl" in output and "Traceback" not in output
    assert not list(tmp_path.rglob("manifest.json"))
