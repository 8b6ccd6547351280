"""Training in a real subprocess: packing keeps rows apart, EOS is learned."""

import json

import pytest
import torch

from xinstruct_utils.config.profile import Profile
from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_json, write_json, write_jsonl
from xinstruct_utils.inference.local import generate, likelihood
from xinstruct_utils.models.loading import load
from xinstruct_utils.training import trainer as trainer_module
from xinstruct_utils.training.sft import encode
from xinstruct_utils.training.trainer import attend_by_row, labelled_loss
from xinstruct_utils.workflow import launch

SETTINGS = Profile().group("training") | dict(
    epochs=25, learning_rate=2e-3, batch_tokens=512, max_length=256, bf16=False
)
ROWS = [{"prompt": f"Nchi {k}:", "completion": f"Mji wa {k} ni Nairobi"} for k in range(24)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    home = tmp_path_factory.mktemp("train")
    write_jsonl(home / "rows.jsonl", ROWS)
    launch.run("training.sft", SETTINGS | {"input": str(home / "rows.jsonl")}, home / "model")
    return home


def test_training_lowers_the_loss_and_reports_its_cost(trained):
    log, done = (
        json.loads((trained / "model" / f).read_text()) for f in ("train.json", "done.json")
    )
    assert log["rows"] == 24 and log["too_long"] == 0 and done["cost"]["wall_s"] > 0
    assert (trained / "model" / "model.safetensors").exists() and not list(
        (trained / "model").glob("*.bin")
    )


def test_the_model_learned_to_stop(trained):
    model, tokenizer = load(str(trained / "model"))
    made = generate(model.eval(), tokenizer, [r["prompt"] for r in ROWS], 1000, 40)
    assert sum(m["finish_reason"] == "stop" for m in made) >= 20


def test_a_finished_job_is_not_run_again(trained, capsys):
    before = (trained / "model" / "model.safetensors").stat().st_mtime_ns
    launch.run("training.sft", SETTINGS | {"input": str(trained / "rows.jsonl")}, trained / "model")
    assert "already done" in capsys.readouterr().out
    assert (trained / "model" / "model.safetensors").stat().st_mtime_ns == before


def first_loss(model, tokenizer, folder, packing, ours=False):
    """Loss of one batch with all of eight rows, packed or padded, TRL's or ours, and the gradient
    of one weight.
    """
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    encoded, _ = encode(ROWS[:8], tokenizer, 256)
    config = SFTConfig(
        output_dir=str(folder),
        packing=packing,
        packing_strategy="bfd",
        max_length=256,
        report_to="none",
        per_device_train_batch_size=1 if packing else 8,
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        model=model,
        args=config,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(encoded),
    )
    batch = next(iter(trainer.get_train_dataloader()))
    model.zero_grad()
    loss = labelled_loss(model.eval(), batch) if ours else trainer.compute_loss(model.eval(), batch)
    loss.backward()
    return loss.item(), model.model.layers[1].self_attn.q_proj.weight.grad.clone()


def test_packed_rows_have_the_loss_of_separate_rows(tmp_path):
    """Rows that share a packed sequence must not see each other (TRL issue 3910 measured what it
    costs if they do).
    """
    model, tokenizer = load("atlas")
    assert (
        abs(
            first_loss(model, tokenizer, tmp_path, True)[0]
            - first_loss(model, tokenizer, tmp_path, False)[0]
        )
        < 1e-4
    )


@pytest.mark.parametrize("kv_heads", [3, 1])
def test_the_fast_path_without_a_gpu_changes_neither_loss_nor_gradient(tmp_path, kv_heads):
    from transformers import LlamaForCausalLM

    model, tokenizer = load("atlas")
    if kv_heads == 1:
        torch.manual_seed(0)
        model.config.num_key_value_heads = 1
        model = LlamaForCausalLM(model.config)
    loss, gradient = first_loss(model, tokenizer, tmp_path, True)
    attend_by_row(model)
    fast_loss, fast_gradient = first_loss(model, tokenizer, tmp_path, True, ours=True)
    assert model.config._attn_implementation == "by_row"
    assert abs(loss - fast_loss) < 1e-4 and torch.allclose(gradient, fast_gradient, atol=1e-5)


def test_a_row_over_the_limit_is_dropped_and_counted_and_no_other_is_cut(tmp_path):
    tokenizer = load("atlas")[1]
    long = {"prompt": "Nchi:", "completion": "Nairobi na Mombasa " * 60}
    limit = max(len(e["input_ids"]) for e in encode(ROWS, tokenizer, 10_000)[0])
    assert (
        encode([long], tokenizer, 10_000)[1] == 0
        and len(encode([long], tokenizer, 10_000)[0][0]["input_ids"]) > limit
    )
    encoded, too_long = encode([*ROWS[:5], long, *ROWS[5:]], tokenizer, limit)
    assert too_long == 1 and encoded == encode(ROWS, tokenizer, 10_000)[0]
    for row, e in zip(ROWS, encoded, strict=True):
        ids = [i for i in e["labels"] if i != -100]
        assert ids[-1] == tokenizer.eos_token_id and tokenizer.decode(ids[:-1]) == row["completion"]
    write_jsonl(tmp_path / "rows.jsonl", [*ROWS[:5], long, *ROWS[5:]])
    given = SETTINGS | {
        "input": str(tmp_path / "rows.jsonl"),
        "epochs": 1,
        "max_length": limit,
        "batch_tokens": limit,
    }
    launch.run("training.sft", given, tmp_path / "model")
    told = json.loads((tmp_path / "model" / "train.json").read_text())
    assert (told["rows"], told["too_long"]) == (25, 1) and told["tokens"] == sum(
        len(e["input_ids"]) for e in encoded
    )


def test_a_failing_job_shows_the_end_of_its_log(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", ROWS)
    with pytest.raises(RuntimeError, match="the whole log is"):
        launch.run(
            "training.sft",
            SETTINGS | {"input": str(tmp_path / "rows.jsonl"), "base_model": "/nowhere"},
            tmp_path / "model",
        )
    assert not (tmp_path / "model" / "done.json").exists()


UNEVEN = [
    {"prompt": f"Nchi {k}:", "completion": f"Mji wa {k} ni Nairobi" + " na Mombasa" * (3 * k)}
    for k in range(8)
]


@pytest.fixture
def one_step(tmp_path):
    """A function: loss and gradient norm of one optimiser step over all of eight rows, with further
    settings.
    """

    def step(**more):
        s = SETTINGS | dict(epochs=1, batch_tokens=4096, logging_steps=1) | more
        encoded, _ = encode(UNEVEN, load("atlas")[1], s["max_length"])
        state = trainer_module.fit(s, encoded, tmp_path / str(len(list(tmp_path.iterdir()))))
        assert state.global_step == 1
        return state.log_history[0]["loss"], state.log_history[0]["grad_norm"]

    return step


def test_a_step_is_the_same_however_its_rows_are_shared_out(one_step):
    """Each token counts once: rows one by one (eight accumulated), side by side, all at once, or
    packed by tokens.

    A mean over batches of means, which trainers made for years, would weigh the tokens of short
    rows more.
    """
    made = [
        one_step(batch_rows=8),
        one_step(batch_rows=8, device_rows=2),
        one_step(batch_rows=8, device_rows=8),
        one_step(),
        one_step(batch_rows=8, gradient_checkpointing=True),
    ]
    for loss, norm in made[1:]:
        assert loss == pytest.approx(made[0][0], rel=1e-4) and norm == pytest.approx(
            made[0][1], rel=1e-3
        )


@pytest.mark.parametrize(
    "s, rows, ranks, device, accumulated",
    [
        (
            dict(batch_rows=32, batch_rows_under_3k=8, device_rows=4),
            32000,
            8,
            4,
            1,
        ),  # the paper's, on its eight GPUs
        (dict(batch_rows=32, batch_rows_under_3k=8, device_rows=4), 2999, 8, 1, 1),
        (dict(batch_rows=32, batch_rows_under_3k=8, device_rows=4), 3000, 1, 4, 8),
        (dict(batch_rows=32, device_rows=3), 100, 2, 2, 8),  # 16 rows are not shared out by threes
        (dict(), 100, 2, 1, 4),
        (dict(), 100, 64, 1, 1),
    ],
)
def test_a_batch_has_the_rows_or_tokens_it_should(s, rows, ranks, device, accumulated):
    made = trainer_module.batch_settings(
        SETTINGS | s | dict(batch_tokens=4096, max_length=512), rows, ranks
    )
    assert (made["per_device_train_batch_size"], made["gradient_accumulation_steps"]) == (
        device,
        accumulated,
    )
    assert made["packing"] == ("batch_rows" not in s) and made.get("padding_free", False) == (
        "batch_rows" in s and device > 1
    )


def test_a_batch_that_cannot_be_shared_out_is_refused():
    with pytest.raises(
        InputError, match="8 rows cannot be shared out to 16 processes.*multiple of 16"
    ):
        trainer_module.batch_settings(
            SETTINGS | dict(batch_rows=32, batch_rows_under_3k=8), 100, 16
        )


def test_only_a_checkpoint_that_all_ranks_finished_is_resumed(tmp_path):
    assert trainer_module.last_checkpoint(tmp_path / "none", 2) is None
    for step, told in ((5, {"ranks": 2}), (10, {"ranks": 2}), (15, {"ranks": 8}), (20, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if told:  # 20 was being written when the power went
            write_json(tmp_path / f"checkpoint-{step}" / "complete.json", told)
    assert trainer_module.last_checkpoint(tmp_path, 2) == str(tmp_path / "checkpoint-10")
    assert trainer_module.last_checkpoint(tmp_path, 1) is None


def test_a_job_killed_after_its_model_was_saved_does_not_train_again(trained):
    before = (trained / "model" / "model.safetensors").stat().st_mtime_ns
    (trained / "model" / "done.json").unlink()
    launch.run("training.sft", SETTINGS | {"input": str(trained / "rows.jsonl")}, trained / "model")
    assert (trained / "model" / "model.safetensors").stat().st_mtime_ns == before


def test_adapters_are_merged_so_that_inference_needs_no_peft(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", ROWS)
    given = SETTINGS | dict(
        input=str(tmp_path / "rows.jsonl"),
        lora_rank=8,
        learning_rate=1e-2,
        epochs=8,
        logging_steps=1,
    )
    launch.run("training.sft", given, tmp_path / "model")
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == sorted(
        [
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
            "train.json",
            "done.json",
        ]
    )
    pairs = [(r["prompt"], r["completion"]) for r in ROWS]
    (base, tokenizer), (tuned, _) = load("atlas"), load(str(tmp_path / "model"))
    assert base.state_dict().keys() == tuned.state_dict().keys()
    before, after = (
        sum(likelihood(m.eval(), tokenizer, pairs, 2048)) / len(pairs) for m in (base, tuned)
    )
    final = read_json(tmp_path / "model" / "train.json")["losses"][-1]
    assert after > before + 1 and -after == pytest.approx(
        final, abs=0.5
    )  # the merged model has what the adapters learned
