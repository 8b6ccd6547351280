"""Training in a real subprocess: packing keeps rows apart, EOS is learned."""

import json

import pytest
import torch

from xinstruct_utils import artifacts, launch
from xinstruct_utils.train import encode, load
from xinstruct_utils.trainer import speed_up_cpu

SETTINGS = dict(base_model="atlas", epochs=25, learning_rate=2e-3, batch_tokens=512, max_tokens=256, bf16=False, seed=0,
                threads=1)
ROWS = [{"prompt": f"Nchi {k}:", "completion": f"Mji wa {k} ni Nairobi"} for k in range(24)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    home = tmp_path_factory.mktemp("train")
    artifacts.write_jsonl(home / "rows.jsonl", ROWS)
    launch.run("train", SETTINGS | {"input": str(home / "rows.jsonl")}, home / "model")
    return home


def test_training_lowers_the_loss_and_reports_its_cost(trained):
    log, done = (json.loads((trained / "model" / f).read_text()) for f in ("train.json", "done.json"))
    assert log["rows"] == 24 and log["too_long"] == 0 and done["cost"]["wall_s"] > 0
    assert (trained / "model" / "model.safetensors").exists() and not list((trained / "model").glob("*.bin"))


def test_the_model_learned_to_stop(trained):
    from xinstruct_utils.inference import generate

    model, tokenizer = load(str(trained / "model"))
    made = generate(model.eval(), tokenizer, [r["prompt"] for r in ROWS], 1000, 40)
    assert sum(m["finish_reason"] == "stop" for m in made) >= 20


def test_a_finished_job_is_not_run_again(trained, capsys):
    before = (trained / "model" / "model.safetensors").stat().st_mtime_ns
    launch.run("train", SETTINGS | {"input": str(trained / "rows.jsonl")}, trained / "model")
    assert "already done" in capsys.readouterr().out
    assert (trained / "model" / "model.safetensors").stat().st_mtime_ns == before


def first_loss(model, tokenizer, folder, packing):
    """Loss of one batch with all of eight rows, packed or padded, and the gradient of one weight."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    encoded, _ = encode(ROWS[:8], tokenizer, 256)
    config = SFTConfig(output_dir=str(folder), packing=packing, packing_strategy="bfd", max_length=256, report_to="none",
                       per_device_train_batch_size=1 if packing else 8, use_cpu=True, bf16=False, disable_tqdm=True)
    trainer = SFTTrainer(model=model, args=config, processing_class=tokenizer, train_dataset=Dataset.from_list(encoded))
    batch = next(iter(trainer.get_train_dataloader()))
    model.zero_grad()
    loss = trainer.compute_loss(model.eval(), batch)
    loss.backward()
    return loss.item(), model.model.layers[1].self_attn.q_proj.weight.grad.clone()


def test_packed_rows_have_the_loss_of_separate_rows(tmp_path):
    """Rows that share a packed sequence must not see each other (TRL issue 3910 measured what it costs if they do)."""
    model, tokenizer = load("atlas")
    assert abs(first_loss(model, tokenizer, tmp_path, True)[0] - first_loss(model, tokenizer, tmp_path, False)[0]) < 1e-4


@pytest.mark.parametrize("kv_heads", [3, 1])
def test_the_fast_path_without_a_gpu_changes_neither_loss_nor_gradient(tmp_path, monkeypatch, kv_heads):
    """It patches a private name of TRL: gone or renamed in another version, it would be slow or wrong without a word."""
    import trl.trainer.utils
    from transformers import LlamaForCausalLM

    monkeypatch.setattr(trl.trainer.utils, "_use_triton", trl.trainer.utils._use_triton)  # undone after the test
    model, tokenizer = load("atlas")
    if kv_heads == 1:
        torch.manual_seed(0)
        model.config.num_key_value_heads = 1
        model = LlamaForCausalLM(model.config)
    loss, gradient = first_loss(model, tokenizer, tmp_path, True)
    speed_up_cpu(model)
    fast_loss, fast_gradient = first_loss(model, tokenizer, tmp_path, True)
    assert model.config._attn_implementation == "by_row"
    assert abs(loss - fast_loss) < 1e-4 and torch.allclose(gradient, fast_gradient, atol=1e-5)


def test_a_failing_job_shows_the_end_of_its_log(tmp_path):
    artifacts.write_jsonl(tmp_path / "rows.jsonl", ROWS)
    with pytest.raises(RuntimeError, match="the whole log is"):
        launch.run("train", SETTINGS | {"input": str(tmp_path / "rows.jsonl"), "base_model": "/nowhere"}, tmp_path / "model")
    assert not (tmp_path / "model" / "done.json").exists()
