"""A run's data set and model as others load them: Parquet, cards, and no upload unless asked for.
"""

import json

import pytest

from xinstruct_utils.__main__ import main
from xinstruct_utils.config.load import load_profile
from xinstruct_utils.config.runs import open_run
from xinstruct_utils.core.files import content_id, file_hash, read_jsonl, write_json, write_jsonl
from xinstruct_utils.core.paths import step_dir
from xinstruct_utils.models.loading import load
from xinstruct_utils.reporting import licences, pages, publish
from xinstruct_utils.reporting.display import show_rows

HOSTILE = '<script>alert("x")</script> | `code`'


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run with a data set of 400 rows in two languages, as step 05 leaves it."""
    monkeypatch.setenv("XINSTRUCT_RUNS", str(tmp_path))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    profile = load_profile("atlas", languages=["sw", "ur"], parser=HOSTILE.split("/")[0])
    open_run("mine", profile)
    for lang in ("sw", "ur"):
        home = step_dir("mine", lang, "05_diversification")
        rows = [
            {
                "id": content_id(lang, f"text {i}"),
                "language": lang,
                "instruction": f"Ask {i}.",
                "output": f"Jibu {i}:\n«{HOSTILE}» ہے 🌍",
                "p0": 0.1,
                "p1": 0.2,
                "p2": 0.7,
                "rating": 2,
                "round": 3,
                "cluster": i % 7,
                **({"source_id": f"<urn:{i}>", "url": f"https://a.example/{i}"} if i % 2 else {}),
            }
            for i in range(400)
        ]
        write_jsonl(home / "x_instruction.jsonl", rows)
        write_json(
            home / "manifest.json",
            {
                "notebook": "05_diversification",
                "counts": [
                    {
                        "stage": "sampled",
                        "in": 500,
                        "out": 400,
                        "dropped": {f"over <b>quota</b> {HOSTILE}": 100},
                    }
                ],
                "outputs": {"x_instruction.jsonl": file_hash(home / "x_instruction.jsonl")},
                "code_digest": "c" * 64,
            },
        )
    return tmp_path / "mine"


def test_datasets_loads_the_folder_with_every_row_as_it_was(run, capsys):
    import datasets

    assert main(["publish-dataset", "mine"]) == 0
    folder = capsys.readouterr().out.splitlines()[-1]
    for lang in ("sw", "ur"):
        loaded = datasets.load_dataset(folder, lang)
        assert (
            set(loaded) == {"train", "validation"}
            and len(loaded["validation"]) < len(loaded["train"]) / 10
        )
        want = {
            r["id"]: r
            for r in read_jsonl(run / lang / "05_diversification" / "x_instruction.jsonl")
        }
        rows = [*loaded["train"], *loaded["validation"]]
        assert not {r["instruction"] for r in loaded["train"]} & {
            r["instruction"] for r in loaded["validation"]
        }
        assert {r["id"] for r in rows} == set(want) and len(rows) == len(want)
        for row in rows:
            assert {
                k: row[k]
                for k in ("instruction", "output", "rating", "p2", "round", "cluster", "language")
            } == {
                k: want[row["id"]][k]
                for k in ("instruction", "output", "rating", "p2", "round", "cluster", "language")
            }
            assert row["source"] == "atlas"
            assert (row["source_id"], row["url"]) == (
                want[row["id"]].get("source_id"),
                want[row["id"]].get("url"),
            )
            assert [m["role"] for m in row["messages"]] == ["user", "assistant"]
            assert (
                row["messages"][1]["content"] == row["output"]
                and row["instruction"] in row["messages"][0]["content"]
            )


def test_the_same_run_gives_the_same_bytes(run):
    first = file_hash(publish.dataset("mine"))
    assert file_hash(publish.dataset("mine")) == first
    assert not list(run.glob(".tmp-*"))
    assert file_hash(publish.dataset("mine", ["sw"])) != first
    assert not (run / "dataset" / "data" / "ur").exists()


def test_trl_trains_on_the_messages(run, tmp_path):
    import datasets
    import torch
    from trl import SFTConfig, SFTTrainer

    rows = datasets.load_dataset(str(publish.dataset("mine")), "sw", split="train").select(range(4))
    model, tokenizer = load("atlas")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    torch.set_num_threads(1)
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=rows.select_columns(["messages"]),
        args=SFTConfig(
            output_dir=str(tmp_path / "sft"),
            max_steps=1,
            per_device_train_batch_size=2,
            use_cpu=True,
            bf16=False,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        ),
    )
    assert trainer.train().training_loss > 0


def test_the_card_tells_of_the_run_and_holds_no_markup_of_others(run):
    card = (publish.dataset("mine") / "README.md").read_text(encoding="utf-8")
    front = card.split("---\n")[1]
    assert "license: apache-2.0" in front and "config_name: ur" in front
    assert "<script" not in card and "<b>" not in card and "&lt;script&gt;" in card
    assert "| 500 | 400 |" in card and "c" * 12 in card and "A toy" in card
    cells = next(line for line in card.splitlines() if "&lt;b&gt;" in line).strip("| ").split(" | ")
    assert len(cells) == 6      # a bar in a reason made no column


def test_no_setting_that_tells_of_the_machine_or_holds_a_key_is_in_a_card():
    """Whatever a profile may hold as text, present keys and future ones: folders and addresses are
    not shown.
    """
    secret = {
        "server_command": "env VLLM_API_KEY=secret vllm serve {model}",
        "server_urls": ["http://10.0.0.7/v1"],
        "judge_base_url": "https://user:secret@judge.example",
        "seed_translator": "google:https://secret.example",
    }
    for place in ("/home/ada/x.bin", "~/x.bin", "../ada/x.bin"):
        profile = load_profile("modern")
        texts = {
            k: place
            for k, v in profile
            if isinstance(v, str | None)
            and k not in ("source", "corpus_source")
            and "price" not in k
        }
        lists = {
            k: [f"name={place}"]
            for k, v in profile
            if isinstance(v, list) and k not in ("languages", "cleaning", "tasks")
        }
        told = publish._settings(profile.model_copy(update=texts | secret | lists))
        assert not any(word in told for word in ("secret", "ada/", "10.0.0.7", "~")), told
        assert (
            "base_model: x.bin" in told and "learning_rate" in told and "server_command" not in told
        )
    told = publish._settings(load_profile("modern", seed_translator="nllb:/home/ada/nllb"))
    assert "base_model: Qwen/Qwen3-4B-Base" in told and "seed_translator: nllb:nllb\n" in told


@pytest.mark.parametrize(
    "source, licence", [("culturax", "odc-by"), ("fineweb2", "odc-by"), ("files", "other")]
)
def test_the_licence_follows_the_texts(run, source, licence, monkeypatch):
    monkeypatch.setattr(publish, "source_of", lambda profile: source)
    card = (publish.dataset("mine") / "README.md").read_text(encoding="utf-8")
    assert f"license: {licence}" in card and licences.TEXTS[source][1] in card


@pytest.mark.parametrize(
    "name, identifier, told",
    [
        ("paper", "llama2", "improve any large language model"),
        ("modern", "apache-2.0", "NLLB, whose licence, CC-BY-NC 4.0"),
    ],
)
def test_terms_of_base_model_and_seed_translator_stand_in_the_cards(name, identifier, told):
    profile = load_profile(name)
    found, text = licences.of_model(profile.base_model, profile)
    assert found == identifier and "Open Assistant, Apache-2.0" in text
    assert told in licences.of_dataset(profile.corpus_source, profile)[1]
    card = publish.model_card("mine", "sw", profile, {}, {"losses": [1.0]})
    assert (
        f"license: {identifier}" in card
        and f"base_model: {profile.base_model}" in card
        and text in card
    )
    local = publish.model_card(
        "mine", "sw", profile.model_copy(update={"base_model": "/home/ada/own"}), {}, {}
    )
    assert "license: other" in local and "base_model:" not in local and "/home" not in local


def test_a_missing_or_altered_data_set_is_one_error_and_leaves_the_old_one(run, capsys):
    folder = publish.dataset("mine")
    before = file_hash(folder)
    path = run / "ur" / "05_diversification" / "x_instruction.jsonl"
    path.write_text(path.read_text(encoding="utf-8") + "{}\n", encoding="utf-8")
    assert main(["publish-dataset", "mine"]) == 2
    assert "run the step again" in capsys.readouterr().err
    (path.parent / "manifest.json").unlink()
    assert main(["publish-dataset", "mine", "--langs", "ur"]) == 2
    assert "make run RUN=mine LANGS=ur" in capsys.readouterr().err
    assert main(["publish-dataset", "mine", "--langs", "xx"]) == 2
    assert file_hash(folder) == before and not list(run.glob(".tmp-*"))


def test_nothing_leaves_the_machine_unless_asked(run, monkeypatch, capsys):
    import socket

    import huggingface_hub

    calls = []

    class Hub:
        """The two calls that an upload may make."""

        def create_repo(self, name, **more):
            calls.append(("create", name, more))

        def upload_folder(self, **more):
            calls.append(("upload", more))

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(
        socket.socket, "connect", lambda *args: pytest.fail("something connected to a network")
    )
    assert main(["publish-dataset", "mine"]) == 0 and not calls
    assert main(["publish-dataset", "mine", "--upload", "me/x"]) == 0
    assert [c[0] for c in calls] == ["create", "upload"] and calls[0][2]["private"] is True
    assert calls[1][1]["repo_id"] == "me/x" and calls[1][1]["folder_path"] == str(run / "dataset")
    assert capsys.readouterr().out.splitlines()[-1] == str(run / "dataset")


def test_a_tuned_model_gets_a_card_and_loads(run, capsys):
    home = step_dir("mine", "sw", "08_instruction_tuning")
    model, tokenizer = load("atlas")
    model.save_pretrained(home / "models" / "refined")
    tokenizer.chat_template = "{{ messages }}"
    tokenizer.save_pretrained(home / "models" / "refined")
    (home / "models" / "refined" / "optimizer.pt").write_bytes(b"a pickle")
    assert main(["publish-model", "mine", "--langs", "sw"]) == 2  # the step is not finished
    write_json(
        home / "models" / "refined" / "train.json", {"rows": 9, "too_long": 1, "losses": [2.0, 1.5]}
    )
    write_json(home / "manifest.json", {"code_digest": "d" * 64})
    assert main(["publish-model", "mine"]) == 2
    capsys.readouterr()
    assert main(["publish-model", "mine", "--langs", "sw"]) == 0
    folder = capsys.readouterr().out.splitlines()[-1]
    load(folder)
    card = (run / "model-sw" / "README.md").read_text(encoding="utf-8")
    assert "Answer in Swahili. As a web page." in card and "| 9 | 1 |" in card
    assert json.loads((run / "model-sw" / "config.json").read_text())["model_type"] == "llama"
    assert {"chat_template.jinja"} <= {p.name for p in (run / "model-sw").iterdir()}
    assert not {"train.json", "optimizer.pt"} & {p.name for p in (run / "model-sw").iterdir()}


def test_rows_of_other_peoples_texts_are_cut_when_they_are_published():
    from nbformat import v4

    long, thai = "maneno " * 60, "ก" * 400
    shown = show_rows([{"a": f"<b>{long}</b>", "b": thai, "c": "short"}], 1, 0, ["a", "b", "c"],
                      "th").data
    output = v4.new_output("display_data", data={"text/html": shown})
    other = v4.new_output("display_data", data={"text/html": f"<table><td>{long}</td></table>"})
    made = pages.excerpts(v4.new_notebook(cells=[v4.new_code_cell("x", outputs=[output, other])]))
    text = made.cells[0].outputs[0].data["text/html"]
    assert "short" in text and text.count(" ...") == 2
    assert "<b>" not in text and "&lt;b&gt;maneno" in text
    assert text.count("ก") == pages.EXCERPT
    assert long in made.cells[0].outputs[1].data["text/html"]
