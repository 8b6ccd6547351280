"""The settings of a run: what each key of a profile holds."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

# Keys that say where, how fast and for how much money a run goes on: they may change at any time,
# and no finished step is made anew. (What is sampled depends on `token_budget` and `engine`, which
# say what stands in a batch: a step that is half finished goes on with the new ones, and would not
# give the same bytes again.)
MACHINE = (
    "accelerate_config", "train_processes", "device_rows", "threads", "save_steps",
    "gradient_checkpointing", "engine", "inference_processes", "inference_nodes", "token_budget",
    "server_urls", "server_concurrency", "server_command", "server_wait_s", "max_cost_usd",
    "judge_base_url", "judge_concurrency", "judge_batch", "judge_price_in", "judge_price_out",
    "opponent_base_url", "opponent_price_in", "opponent_price_out", "translator_base_url",
    "translator_price_in", "translator_price_out", "gpu_tflops")
# Keys of tuning and evaluation: they may change too, and the chapters that read them are made anew.
EVALUATION = (
    "tuned_model", "larger_model", "baselines", "joint_baselines", "benchmarks", "opponent",
    "others", "judge_greedy", "judge_by", "judge_model", "judge_max_tokens", "translator_model",
    "human_labels", "tasks", "task_data", "task_limit", "answer_tag", "review_items",
    "review_annotators", "preference_items", "preference_annotators", "translations_path",
    "compared_candidates", "planted_flaws", "planted_path", "experiments", "data_experiments",
    "experiment_seeds", "experiment_base", "experiment_base_rate",
    "experiment_base_epochs", "experiment_factors")

# Rules of cleaning, in the order in which they work; `data.cleaning` says what each does.
CleaningRule = Literal["encoding", "control", "navigation", "error_pages", "contacts", "length",
                       "language", "contamination", "duplicates", "near_duplicates"]


# Base models that come with the package.
ATLAS_MODELS = ("atlas", "atlas-large")
# What stands in ChatGPT's place there.
ATLAS_OPPONENT = "atlas-opponent"


class Profile(BaseModel):
    """All settings of a run.

    Notebooks declare the ones they use as parameters of the same names, or take a group of them.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    # sources
    source: Literal["atlas", "files"] = "atlas"
    languages: list[str] = ["sw", "fi", "ur"]
    featured: str = "sw"
    seed_path: str | None = None
    corpus_path: str | None = None
    seed_size: int = Field(590, gt=0)
    corpus_size: int = Field(1000, gt=0)
    prompt_count: int = Field(300, gt=0)
    seed: int = 0
    # models and prompts
    base_model: str = "atlas"
    # what chapter 8 tunes where that is not base_model (the paper's 7B makes the data, its 13B
    # learns from them too)
    tuned_model: str = ""
    # a second model for the data set, tuned beside it and judged in the same contests: the paper's
    # 13B where 7B is the first
    larger_model: str = ""
    # further models tuned there, as name=file.jsonl of instructions and outputs in the language
    # ({lang} is replaced): Alpaca-MT, Bactrian-M. Three are made by the run: "rated" is tuned on
    # what the evaluator would choose where `ranking` is another rater; in the Atlas "translated"
    # and "distilled" stand in the places of Alpaca-MT and Bactrian-M
    baselines: list[str] = []
    # models that learn from all languages together, as NAME=BASELINE, one of the above, or
    # NAME=file.jsonl with rows of every language: Bactrian-X
    joint_baselines: list[str] = []
    templates: Literal["plain", "released"] = "plain"
    encoder: str = "minilm"
    # corpus: where from, a commit of the hub's data set, texts to sample and to look at (0: all),
    # rules of cleaning
    corpus_source: Literal["files", "culturax", "fineweb2"] = "files"
    corpus_revision: str = ""
    corpus_sample: int = Field(0, ge=0)
    corpus_scan: int = Field(0, ge=0)
    cleaning: list[CleaningRule] = ["length", "duplicates"]
    # data
    min_chars: int = Field(64, gt=0)
    max_chars: int = Field(2048, gt=0)
    d0x_size: int = Field(360, gt=0)
    # of the seed pairs, set aside: no model of the run learns from them, chapter 16 measures by
    # them
    test_pairs: int = Field(0, ge=0)
    # training
    learning_rate: float = Field(0.001, gt=0)
    batch_tokens: int = Field(512, gt=0)
    max_length: int = Field(512, gt=0)
    generator_epochs: int = Field(5, gt=0)
    follower_epochs: int = Field(3, gt=0)
    evaluator_epochs: int = Field(3, gt=0)
    bf16: bool = True
    threads: int = Field(1, gt=0)
    train_processes: int = Field(1, gt=0)
    # training at scale
    accelerate_config: str = ""
    batch_rows: int = Field(0, ge=0)
    batch_rows_under_3k: int = Field(0, ge=0)
    device_rows: int = Field(1, gt=0)
    gradient_checkpointing: bool = False
    lora_rank: int = Field(0, ge=0)
    save_steps: int = Field(0, ge=0)
    warmup_steps: float = Field(0.03, ge=0)      # below 1: a share of the steps
    lr_scheduler_type: str = "cosine"
    logging_steps: int = Field(5, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    # sampling
    temperature: float = Field(0.7, ge=0)
    answer_tag: Literal["web", "seed", "both"] = "web"
    top_p: float = Field(0.9, gt=0, le=1)
    max_new_tokens_instruction: int = Field(32, gt=0)
    max_new_tokens_output: int = Field(128, gt=0)
    token_budget: int = Field(8192, gt=0)
    shard_size: int = Field(250, gt=0)
    # refinement and diversification
    iterations: int = Field(3, gt=0)
    keep: int = Field(300, gt=0)
    # by which rater of `method.raters` candidates are kept; the paper's is p2
    ranking: Literal["p2", "expected", "likelihood", "gain", "contrast", "agreement", "length",
                     "random"] = "likelihood"
    damaged_per_pair: int = Field(2, ge=0)
    follower_per_pair: int = Field(1, ge=0)
    mismatched_per_pair: int = Field(1, ge=0)
    true_per_pair: int = Field(2, gt=0)
    follower_temperature: float = Field(1.2, ge=0)
    evaluators: int = Field(1, gt=0)
    # of D0r, whose pseudo-ratings test the evaluators; a quarter of D0r at the most
    held_out_pairs: int = Field(30, ge=0)
    # experiments with the evaluator, each so many times
    experiments: bool = False
    # models of choices that differ in one thing: round, size, rating, clusters (chapter 17)
    data_experiments: bool = False
    experiment_seeds: int = Field(3, gt=0)
    # a further base model to teach as evaluator, its learning rate and epochs (0: as the others),
    # and the factors to be tried (all where none is named)
    experiment_base: str = ""
    experiment_base_rate: float = Field(0.0001, gt=0)
    experiment_base_epochs: int = Field(0, ge=0)
    experiment_factors: list[str] = []
    # by how many candidates the raters are compared, and of how many flawed copies are made
    compared_candidates: int = Field(5000, gt=0)
    planted_flaws: int = Field(150, gt=0)
    # further texts to plant as flaws, rows {"kind", "text", "place": before, after or instead}
    planted_path: str = ""
    clusters: int = Field(40, gt=0)
    final_size: int = Field(280, gt=0)
    cluster_map: Literal["pca", "umap"] = "pca"
    parser: str = "builtin"
    # people: items drawn for the two forms, labels by different people that each should get, texts
    # already translated
    review_items: int = Field(100, gt=0)
    review_annotators: int = Field(5, gt=0)
    preference_items: int = Field(40, gt=0)
    preference_annotators: int = Field(3, gt=0)
    translations_path: str | None = None
    # tasks
    tasks: list[str] = ["xnli", "xcopa", "xstorycloze"]
    task_data: str = ""
    task_limit: int = Field(0, ge=0)
    # judging: prices in USD for a million tokens; max_cost_usd is for each language. The opponent
    # has the judge's address and prices unless it has its own; others: name=answers.jsonl;
    # translator_model, of the prompts: as seed_translator below
    judge_by: Literal["oracle", "openai"] = "oracle"
    judge_model: str = "gpt-4-0613"
    judge_base_url: str | None = None
    judge_concurrency: int = Field(8, gt=0)
    judge_max_tokens: int = Field(256, gt=0)
    judge_batch: bool = False
    judge_greedy: bool = False
    judge_price_in: float = Field(0.0, ge=0)
    judge_price_out: float = Field(0.0, ge=0)
    max_cost_usd: float = Field(0.0, ge=0)
    benchmarks: list[str] = []
    opponent: str = "unrefined"
    opponent_base_url: str | None = None
    opponent_price_in: float | None = Field(None, ge=0)
    opponent_price_out: float | None = Field(None, ge=0)
    others: list[str] = []
    translator_model: str | None = None
    human_labels: str | None = None
    # sustained TFLOP/s of one device for `make plan`; 0: as measured by benchmarks/gpu.py, or
    # assumed
    gpu_tflops: float = Field(0.0, ge=0)
    # inference: a node's processes (0: as many as training has) on so many nodes of a Slurm
    # allocation, or servers that speak OpenAI's API (vLLM, SGLang). server_command, run once for
    # each of server_urls with {model}, {port}, {index} filled in, starts what a step needs.
    engine: Literal["local", "server"] = "local"
    inference_processes: int = Field(0, ge=0)
    inference_nodes: int = Field(1, gt=0)
    server_urls: list[str] = []
    server_concurrency: int = Field(64, gt=0)
    server_command: str | None = None
    server_wait_s: int = Field(900, gt=0)
    # seed data of others: all native pairs and `seed_size` English ones; translator: google,
    # openai:MODEL, nllb:HUB_ID_OR_FOLDER
    seed_format: Literal["files", "oasst", "aya", "alpaca", "dolly"] = "files"
    # (of its server, where it is not OpenAI's: `translator_base_url`)
    seed_translator: str = ""
    # server of openai:MODEL and its prices; without an address OpenAI's own, at the judge's prices
    translator_base_url: str | None = None
    translator_price_in: float = Field(0.0, ge=0)
    translator_price_out: float = Field(0.0, ge=0)

    def group(self, name: str) -> dict[str, Any]:
        """The settings of a group of `GROUPS`."""
        return {key: getattr(self, key) for key in GROUPS[name]}


# Settings that a job gets together (`Step.settings`), by group.
GROUPS = {
    "training": ("base_model", "learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay",
                 "batch_tokens", "batch_rows", "batch_rows_under_3k", "device_rows", "max_length",
                 "bf16", "gradient_checkpointing", "lora_rank", "save_steps", "logging_steps",
                 "accelerate_config", "threads", "seed"),
    "inference": ("token_budget", "shard_size", "bf16", "threads", "seed"),
}
