"""Verb-noun pairs of instructions with benepar (paper 4.3, Figure 3).

The packaged parser was trained by `python -m xinstruct_utils train-parser` on
`parser/treebank.txt`, which was written for this project; benchmarks/syntax.py measures it on
other people's sentences and writes `parser/results.json`. What is read from a tree is in
`parser/reading.py`.
"""

import functools
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_json
from xinstruct_utils.method.parser.reading import Pair, noun_pairs
from xinstruct_utils.models.loading import encoder_path

if TYPE_CHECKING:
    import nltk
    import torch
    from spacy.language import Language

HOME = Path(__file__).parent / "parser"
LAYERS = 5     # of the encoder that are used; the last of them is tuned, and shipped
SHAPE = {
    "use_chars_lstm": False, "use_pretrained": True, "use_encoder": True, "encoder_max_len": 256,
    "d_model": 256, "num_heads": 4, "d_kv": 32, "d_ff": 512, "num_layers": 2,
    "d_label_hidden": 128, "d_tag_hidden": 128, "predict_tags": True, "tag_loss_scale": 5.0,
    "force_root_constituent": True, "relu_dropout": 0.2, "residual_dropout": 0.2,
    "attention_dropout": 0.2, "morpho_emb_dropout": 0.2,
}
MAX_TOKENS = 200         # of a sentence that are parsed
MAX_CHARACTERS = 4000    # of a text that are read


class Sentence:
    """A tokenised sentence as benepar takes it.

    words; space_after: whether a blank follows each; tree: the gold tree where there is one.
    """

    def __init__(self, words: Sequence[str], space_after: Sequence[bool] | None = None,
                 tree: "nltk.Tree | None" = None) -> None:
        self.words = list(words)
        self.tree = tree
        followed = [word not in ".,?!;:n't" for word in [*words[1:], "."]]
        self.space_after = list(space_after or followed)

    def leaves(self) -> list[str]:
        return self.words

    def pos(self) -> list[tuple[str, str]]:
        if self.tree is not None:
            return self.tree.pos()
        return [(word, "UNK") for word in self.words]


def _with_special_tokens(tokenizer: Any, ids: list[int]) -> list[int]:
    start, *end = tokenizer("")["input_ids"]
    return [start, *ids, *end]


def _prepare_transformers() -> None:
    """Give tokenizers the method that benepar 0.2 asks for and transformers 5 has not.

    And no progress bar.
    """
    from transformers import PreTrainedTokenizerBase
    from transformers.utils import logging

    logging.disable_progress_bar()
    added = "build_inputs_with_special_tokens"
    setattr(PreTrainedTokenizerBase, added, _with_special_tokens)


def chart_parser(tags: Mapping[str, int], labels: Mapping[str, int]) -> "torch.nn.Module":
    """An untrained benepar parser over the packaged encoder.

    All but the encoder's last layer is frozen there.
    """
    from benepar import nkutil, parse_chart

    _prepare_transformers()
    shape = nkutil.HParams(**SHAPE, pretrained_model=encoder_path("minilm"))
    parser = parse_chart.ChartParser(tags, labels, None, shape)
    encoder = parser.pretrained_model.encoder
    encoder.layer = encoder.layer[:LAYERS]
    parser.pretrained_model.requires_grad_(False)
    encoder.layer[-1].requires_grad_(True)
    return parser


def shipped(parser: "torch.nn.Module") -> dict[str, "torch.Tensor"]:
    """The parser's weights that are not the packaged encoder's own."""
    last = f"pretrained_model.encoder.layer.{LAYERS - 1}."
    return {name: weight for name, weight in parser.state_dict().items()
            if not name.startswith("pretrained_model.") or name.startswith(last)}


def load(name: str = "builtin") -> "torch.nn.Module":
    """A parser: "builtin" is the packaged one; else the folder of a model from benepar's site.

    Such a folder is an unpacked benepar_en3, for one. Raises InputError where it is none.
    """
    import torch

    torch.set_num_threads(1)
    # It lacks a declaration that torch asks for; harmless.
    warnings.filterwarnings("ignore", module="torch_struct")
    if name == "builtin":
        return _builtin().eval()
    if not (Path(name) / "benepar_model.bin").exists():
        raise InputError(f"parser {name!r}: expected 'builtin', or a folder with "
                         "benepar_model.bin, such as an unpacked benepar_en3")
    return _from_folder(name).eval()


def _builtin() -> "torch.nn.Module":
    """The packaged parser."""
    from safetensors.torch import load_file

    config = read_json(HOME / "config.json")
    parser = chart_parser(config["tags"], config["labels"])
    weights = load_file(HOME / "model.safetensors")
    weights = {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}
    left_out = parser.load_state_dict(weights, strict=False)
    assert not left_out.unexpected_keys and set(shipped(parser)) == set(weights), (
        f"{HOME / 'model.safetensors'} is not of this parser's shape: train it again "
        "(python -m xinstruct_utils train-parser)")
    return parser


def _from_folder(name: str) -> "torch.nn.Module":
    """A parser in benepar's own format, which holds a pickle.

    Only its weights are read, so that no code in it can run. benepar's `from_trained` leaves that
    to the default of torch, which a variable of the environment can turn off.
    """
    import pickle

    import torch
    from benepar import nkutil, parse_chart
    from transformers import AutoConfig

    try:
        weights = torch.load(Path(name) / "benepar_model.bin", map_location="cpu",
                             weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise InputError(f"parser {name!r}: benepar_model.bin is no file of weights only: "
                         f"{str(error)[:200]}") from None
    _prepare_transformers()
    config = dict(AutoConfig.from_pretrained(name).benepar)
    config["hparams"] = nkutil.HParams(**{"force_root_constituent": True} | config["hparams"])
    parser = parse_chart.ChartParser(**config, pretrained_model_path=name)
    parser.load_state_dict(weights)
    return parser


@functools.cache
def _splitter() -> "Language":
    """spaCy's rules for English; nothing is downloaded."""
    import spacy

    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    return nlp


def sentences(text: str) -> list[Sentence]:
    """The Sentences of a text, split and tokenised by spaCy's rules; empty lines are left out."""
    split = []
    for sentence in _splitter()(text[:MAX_CHARACTERS]).sents:
        tokens = [token for token in sentence if not token.is_space][:MAX_TOKENS]
        if tokens:
            blanks = [bool(token.whitespace_) for token in tokens]
            split.append(Sentence([token.text for token in tokens], blanks))
    return split


def parse(parser: Any, rows: Sequence[Sentence],
          batch: int = 32) -> list["nltk.Tree"]:
    """Trees of Sentences, in their order; like lengths are parsed together."""
    trees: dict[int, nltk.Tree] = {}
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].words))
    for k in range(0, len(order), batch):
        some = order[k:k + batch]
        parsed = parser.parse([rows[i] for i in some], subbatch_max_tokens=4000)
        trees |= zip(some, parsed, strict=True)
    return [trees[i] for i in range(len(rows))]


def parse_texts(parser: "torch.nn.Module", texts: Sequence[str]) -> dict[str, list["nltk.Tree"]]:
    """{text: trees of its sentences}; each text is parsed once, however often it stands there."""
    unique = sorted(set(texts))
    rows = [(text, sentence) for text in unique for sentence in sentences(text)]
    trees: dict[str, list[nltk.Tree]] = {text: [] for text in unique}
    parsed = parse(parser, [sentence for _, sentence in rows])
    for (text, _), tree in zip(rows, parsed, strict=True):
        trees[text].append(tree)
    return trees


def of_instructions(trees: Mapping[str, Sequence["nltk.Tree"]], texts: Sequence[str],
                    reading: Callable[["nltk.Tree"], list[Pair]] = noun_pairs) -> list[list[Pair]]:
    """For each text the different (verb, noun) of its sentences, lower case, in their order.

    trees: of `parse_texts`.
    """
    pairs = {}
    for text, parsed in trees.items():
        found = [(verb.lower(), noun.lower()) for tree in parsed for verb, noun in reading(tree)]
        pairs[text] = list(dict.fromkeys(found))
    return [list(pairs[text]) for text in texts]


def top_pairs(counted: Mapping[Pair, int], verbs: int = 16,
              nouns: int = 4) -> dict[str, dict[str, int]]:
    """{verb: {noun: count}} of the most frequent verbs with their most frequent nouns.

    Most frequent first.
    """
    of_verb: Counter[str] = Counter()
    nouns_of: dict[str, Counter] = defaultdict(Counter)
    for (verb, noun), n in counted.items():
        of_verb[verb] += n
        nouns_of[verb][noun] = n
    return {verb: dict(nouns_of[verb].most_common(nouns)) for verb, _ in of_verb.most_common(verbs)}
