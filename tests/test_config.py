"""Profiles, overrides, and the settings that a run remembers."""

import pytest
from conftest import tiny

from xinstruct_utils.config.load import CHECKS, load_profile, parse_overrides
from xinstruct_utils.config.profile import EVALUATION, MACHINE, Profile
from xinstruct_utils.config.runs import load_run, open_run, remove_run, resolve
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_json
from xinstruct_utils.core.paths import REPO, run_dir
from xinstruct_utils.reporting import settings
from xinstruct_utils.workflow import notebooks as sources_of_notebooks

PROFILES = sorted(p.stem for p in (REPO / "profiles").glob("*.yaml"))


def profile_file(tmp_path, text):
    (tmp_path / "p.yaml").write_text(text, encoding="utf-8")
    return tmp_path / "p.yaml"


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_loads_and_names_only_known_keys(name):
    assert load_profile(name).featured


def test_the_profiles_of_the_issue_are_there():
    assert {"smoke", "atlas", "paper", "modern", "local"} <= set(PROFILES)


def test_paper_profile_has_the_papers_numbers():
    paper = load_profile("paper")
    wanted = dict(base_model="meta-llama/Llama-2-7b-hf", templates="released", learning_rate=1e-5,
                  generator_epochs=3,
                  clusters=1000, final_size=32000, d0x_size=2500, min_chars=64, max_chars=2048,
                  iterations=3,
                  temperature=0.7, top_p=0.9)
    assert {k: getattr(paper, k) for k in wanted} == wanted and len(paper.languages) == 10


@pytest.mark.parametrize(("text", "words"), [
    ("learning_rat: 0.1", ["p.yaml", "unknown key 'learning_rat'", "did you mean 'learning_rate'"]),
    ("keep: many", ["p.yaml", "keep", "integer", "'many'"]),
    ("keep: 2.5", ["p.yaml", "keep", "integer", "2.5"]),
    ("bf16: 1", ["p.yaml", "bf16", "boolean"]),
    ("seed_size: 0", ["p.yaml", "seed_size", "greater than 0"]),
    ("languages: sw", ["p.yaml", "languages", "list", "'sw'"]),
    ("languages: [xx]", ["unknown language code 'xx'", "fi"]),
    ("templates: own", ["templates", "'plain' or 'released'", "'own'"]),
    ("source: files", ["p.yaml", "seed_path and corpus_path are needed"]),
    ("1: 2", ["p.yaml"]),
    ("keep: [", ["p.yaml", "not valid YAML"]),
    ("- keep", ["p.yaml", "expected 'key: value' lines", "list"])])
def test_a_bad_profile_is_one_error_that_names_file_and_key(tmp_path, text, words):
    with pytest.raises(InputError) as error:
        load_profile(profile_file(tmp_path, text))
    assert all(word in str(error.value) for word in words), str(error.value)


def test_an_unknown_profile_names_the_known_ones():
    known = "atlas, local, modern, paper, small, smoke, study"
    with pytest.raises(InputError, match=f"no profile 'atlass'.*{known}"):
        load_profile("atlass")


@pytest.mark.parametrize("written", ["1e-5", "1.0e-5", "0.00001"])
def test_a_number_with_an_exponent_is_a_number(tmp_path, written):
    assert load_profile(profile_file(tmp_path, f"learning_rate: {written}")).learning_rate == 1e-5
    assert parse_overrides([f"learning_rate={written}"]) == {"learning_rate": 1e-5}


def test_overrides_take_the_type_of_their_key():
    pairs = ["keep=3", "bf16=false", "temperature=1", "seed_path=007.jsonl", "languages=fi, no",
             "corpus_path=a=b.jsonl"]
    assert parse_overrides(pairs) == {
        "keep": 3, "bf16": False, "temperature": 1, "seed_path": "007.jsonl",
        "languages": ["fi", "no"], "corpus_path": "a=b.jsonl"}
    assert load_profile("smoke", **parse_overrides(["temperature=1"])).temperature == 1.0


def test_an_override_without_a_sign_is_an_error():
    with pytest.raises(InputError, match="expected key=value, but 'keep' came"):
        parse_overrides(["keep"])


def test_languages_of_a_call_bring_their_own_featured_one():
    assert load_profile("atlas", languages=["fi"]).featured == "fi"
    assert load_profile("atlas", languages=["fi", "sw"]).featured == "sw"


def test_paths_become_absolute_so_that_a_run_goes_on_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    made = load_profile("local", seed_path="{lang}/s.jsonl", corpus_path="c.jsonl",
                        base_model="model", learning_rate=1e-5)
    assert made.seed_path == str(tmp_path / "{lang}/s.jsonl")
    assert made.base_model == str(tmp_path / "model")
    assert load_profile("atlas").base_model == "atlas" and "/" in load_profile("paper").base_model


def test_a_setting_that_is_emptied_stays_empty_and_is_not_the_working_folder():
    emptied = load_profile("smoke", **parse_overrides(["tuned_model=", "task_data="]))
    assert emptied.tuned_model == emptied.task_data == ""
    with pytest.raises(InputError, match="seed_path and corpus_path are needed"):
        load_profile("local", seed_path="", corpus_path="c.jsonl")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_no_shipped_profile_has_a_fault_that_only_several_keys_together_have(check):
    assert [name for name in PROFILES if check(load_profile(name))] == []


def test_a_run_remembers_its_settings_and_refuses_others(runs):
    open_run("r", load_profile("smoke"))
    open_run("r", load_profile("smoke"))
    assert load_run("r") == load_profile("smoke")
    assert read_json(runs / "r" / "run.json")["keep"] == 40
    with pytest.raises(InputError,
                       match="keep was 40, now 41.*another --run name.*make clean RUN=r"):
        open_run("r", load_profile("smoke", keep=41))


def test_what_a_run_may_cost_and_how_it_is_evaluated_may_change(runs, capsys):
    open_run("r", load_profile("smoke"))
    changed = dict(max_cost_usd=5.0, threads=8, token_budget=99, judge_concurrency=2,
                   benchmarks=["/b.jsonl"], tasks=[],
                   tuned_model="other")
    open_run("r", load_profile("smoke", **changed))
    assert load_run("r") == load_profile("smoke", **changed)
    told = capsys.readouterr().err  # a forgotten SET= must not tune another model without a word
    assert "tuned_model was '', now 'other'; " in told and "made anew" in told
    assert "max_cost_usd" not in told


def test_what_may_change_are_keys_of_a_profile():
    assert {*MACHINE, *EVALUATION} <= set(load_profile("smoke").model_dump())


def test_evaluation_prompts_are_a_setting_of_the_corpus_only_where_it_is_decontaminated(notebooks):
    notebooks("n", 'lang: str = "sw"\ncleaning: list = []\nbenchmarks: list = []')
    for rules, seen in (["length"], []), (["contamination"], ["/b.jsonl"]):
        profile = load_profile("smoke", cleaning=rules, benchmarks=["/b.jsonl"])
        values = sources_of_notebooks.parameters_of("n", profile, "r", "sw", None)
        assert values["benchmarks"] == seen


def test_a_real_model_is_not_trained_with_a_toys_learning_rate():
    real = {"base_model": "some/model-7b"}
    with pytest.raises(InputError, match="learning_rate is 0.001.*would ruin some/model-7b.*1e-5"):
        load_profile("local", **real)
    assert load_profile("local", **real, learning_rate=1e-5).learning_rate == 1e-5
    assert load_profile("local", **real, lora_rank=16).lora_rank == 16
    assert load_profile("local").base_model == "atlas"


@pytest.mark.parametrize("named", ["x.jsonl", "seed=x.jsonl", "a/b=x.jsonl", "x=", "rated=x.jsonl",
                                   "rate"])
def test_a_bad_baseline_is_one_error(named):
    with pytest.raises(InputError, match="baselines: expected rated, .*or name=file.jsonl.* came"):
        load_profile("smoke", baselines=[named])


def test_baselines_may_bear_the_papers_names_or_be_made_by_the_run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    named = ["rated", "translated", "distilled", "Bactrian-M 13B=/b.jsonl"]
    assert load_profile("smoke", baselines=named).baselines == named
    with pytest.raises(InputError, match="expected rated or name=file.jsonl.*translated came"):
        load_profile("local", baselines=["rated", "translated"])


@pytest.mark.parametrize("named", ["joint", "joint=rated", "seed=distilled", "distilled=distilled",
                                   "a/b=distilled", "x=distilled,x=distilled"])
def test_a_bad_joint_baseline_is_one_error(named):
    with pytest.raises(InputError, match="joint_baselines: expected name=baseline or name=file"):
        load_profile("smoke", baselines=["distilled"], joint_baselines=named.split(","))


def test_a_joint_baseline_learns_a_baselines_rows_or_a_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = ["distilled_joint=distilled", "Bactrian-X=x.jsonl"]
    made = load_profile("smoke", baselines=["distilled"], joint_baselines=named)
    assert made.joint_baselines == [named[0], f"Bactrian-X={tmp_path}/x.jsonl"]


def test_files_of_baselines_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = load_profile("smoke", **parse_overrides(["baselines=alpaca-mt=mt_{lang}.jsonl"]))
    assert given.baselines == [f"alpaca-mt={tmp_path}/mt_{{lang}}.jsonl"]


def test_a_run_can_grow_by_a_language(runs):
    open_run("r", load_profile("smoke"))
    open_run("r", load_profile("smoke", languages=["fi"]))
    assert load_run("r").languages == ["sw", "fi"] and load_run("r").featured == "sw"


def test_planning_a_run_notes_nothing(runs):
    open_run("r", load_profile("smoke"), note=False)
    assert not runs.exists()


def test_the_profile_of_a_run_is_the_named_one_or_its_own_or_that_of_its_name(runs):
    assert resolve("smoke") == load_profile("smoke")
    open_run("r", load_profile("smoke", keep=7))
    assert resolve("r").keep == 7 and resolve("r", "atlas") == load_profile("atlas")
    assert resolve("r", overrides={"keep": 8}).keep == 8
    with pytest.raises(InputError, match="unknown key 'kep'.*'keep'"):
        resolve("r", overrides={"kep": 8})


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".hidden", "published", "-r", "a b"])
def test_no_run_has_a_name_that_is_no_plain_folder(runs, name):
    (runs / "r").mkdir(parents=True)
    with pytest.raises(InputError, match="needs a plain name"):
        remove_run(name)
    assert (runs / "r").exists()


def test_a_run_is_removed_by_its_name_only(runs):
    for name in ("r", "s"):
        open_run(name, load_profile("smoke"))
    remove_run("r")
    assert [p.name for p in runs.iterdir()] == ["s"]
    with pytest.raises(InputError, match="no run 'r'"):
        remove_run("r")


def test_a_run_with_labels_of_people_is_not_removed(runs):
    open_run("r", load_profile("smoke"))
    labels = run_dir("r") / "labels" / "sw" / "quality.jsonl"
    labels.parent.mkdir(parents=True)
    labels.write_text('{"annotator": "amina"}\n')
    with pytest.raises(InputError, match="what people have labelled"):
        remove_run("r")
    labels.write_text("")
    remove_run("r")
    assert not run_dir("r").exists()


def parameters(cell, iteration=None, lang="sw"):
    return sources_of_notebooks.parameters_of("n", load_profile("smoke"), "r", lang, iteration)


@pytest.mark.parametrize(("cell", "more", "words"), [
    ('lang: str = "sw"\nkep: int = 3', {}, "declares kep, which no profile has"),
    ('lang: str = "sw"\niteration: int = 1', {}, "needs --iteration"),
    ('lang: str = "sw"', {"iteration": 1}, "has no --iteration"),
    ('lang: str = "sw"\niteration: int = 1', {"iteration": 3}, "round from 1 to 2.*3 came"),
    ('lang: str = "sw"\niteration: int = 1', {"iteration": 0}, "round from 1 to 2.*0 came"),
    ('lang: str = "sw"', {"lang": "all"}, "one language"), ('lang: str = "all"', {}, "--lang all"),
    ("keep = 3", {}, "typed literals"), ("keep: int = 3 * size", {}, "typed literals")])
def test_a_notebook_asks_for_what_a_profile_has(tmp_path, notebooks, cell, more, words):
    tiny(tmp_path / "notebooks", "n", cell)
    with pytest.raises(InputError, match=words):
        parameters(cell, **more)


def test_parameters_are_the_declared_ones_with_the_profiles_values(notebooks):
    notebooks("n", 'run: str = "atlas"\nlang: str = "sw"\n'
                   "keep: int = 3  # best\nlearning_rate: float = 1.0")
    assert parameters("") == {"run": "r", "lang": "sw", "keep": 40, "learning_rate": 0.001}


def test_an_unknown_notebook_names_the_known_ones(notebooks):
    notebooks("01_x", "")
    with pytest.raises(InputError, match="no notebook '02_x': expected one of 01_x"):
        sources_of_notebooks.read_notebook("02_x")


def test_the_page_of_settings_says_what_every_key_means():
    told = settings.meanings()
    assert list(told) == list(Profile.model_fields)
    assert all(isinstance(text, str) and 8 < len(text) < 110 for text in told.values())
    page = settings.keys()
    assert page.count("<tr") == len(told) + 1 and "paper: 32000" in page
