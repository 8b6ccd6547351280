"""Verb-noun pairs of instructions with benepar (paper 4.3, Figure 3).

The packaged parser was trained by `python -m xinstruct_utils train-parser` on `parser/treebank.txt`, which was written for this
project; benchmarks/syntax.py measures it on other people's sentences and writes `parser/results.json`. What is read from a
tree is in `parser/reading.py`.
"""

import warnings
from collections import Counter
from pathlib import Path

from xinstruct_utils.core.errors import InputError
from xinstruct_utils.core.files import read_json
from xinstruct_utils.method.parser.reading import noun_pairs
from xinstruct_utils.models.loading import encoder_path

HOME = Path(__file__).parent / "parser"
LAYERS = 5               # of the encoder that are used; the last of them is tuned, and shipped with the parser
SHAPE = dict(use_chars_lstm=False, use_pretrained=True, use_encoder=True, d_model=256, encoder_max_len=256, num_heads=4, d_kv=32,
             d_ff=512, num_layers=2, d_label_hidden=128, d_tag_hidden=128, predict_tags=True, tag_loss_scale=5.0,
             force_root_constituent=True, relu_dropout=0.2, residual_dropout=0.2, attention_dropout=0.2, morpho_emb_dropout=0.2)


class Sentence:
    """A tokenised sentence as benepar takes it: words, whether a blank follows each, and the gold tree where there is one."""

    def __init__(self, words, space_after=None, tree=None):
        joined = [b not in ".,?!;:n't" for b in [*words[1:], "."]]
        self.words, self.space_after, self.tree = list(words), list(space_after or joined), tree

    def leaves(self):
        return self.words

    def pos(self):
        return self.tree.pos() if self.tree is not None else [(word, "UNK") for word in self.words]


def chart_parser(tags, labels):
    """An untrained benepar parser over the packaged encoder; all but the encoder's last layer is frozen there."""
    from benepar import nkutil, parse_chart
    from transformers import PreTrainedTokenizerBase
    from transformers.utils import logging

    def with_special_tokens(tokenizer, ids):
        start, *end = tokenizer("")["input_ids"]
        return [start, *ids, *end]

    PreTrainedTokenizerBase.build_inputs_with_special_tokens = with_special_tokens  # benepar 0.2 asks, transformers 5 has none
    logging.disable_progress_bar()
    shape = nkutil.HParams(**SHAPE, pretrained_model=encoder_path("minilm"))
    parser = parse_chart.ChartParser(tags, labels, None, shape)
    encoder = parser.pretrained_model.encoder
    encoder.layer = encoder.layer[:LAYERS]
    parser.pretrained_model.requires_grad_(False)
    encoder.layer[-1].requires_grad_(True)
    return parser


def shipped(parser):
    """The parser's weights that are not the packaged encoder's own."""
    last = f"pretrained_model.encoder.layer.{LAYERS - 1}."
    return {k: v for k, v in parser.state_dict().items() if not k.startswith("pretrained_model.") or k.startswith(last)}


def load(name="builtin"):
    """A parser: "builtin" is the packaged one; else the folder of a model from benepar's site, such as benepar_en3."""
    import torch
    from safetensors.torch import load_file

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="torch_struct")   # lacks a declaration that torch asks for; harmless
    if name != "builtin":
        if not (Path(name) / "benepar_model.bin").exists():
            raise InputError(f"parser {name!r}: expected 'builtin', or a folder with benepar_model.bin, such as an unpacked "
                             "benepar_en3")
        return _from_folder(name).eval()
    config = read_json(HOME / "config.json")
    parser = chart_parser(config["tags"], config["labels"])
    weights = {k: v.float() if v.is_floating_point() else v for k, v in load_file(HOME / "model.safetensors").items()}
    left_out = parser.load_state_dict(weights, strict=False)
    assert not left_out.unexpected_keys and set(shipped(parser)) == set(weights)
    return parser.eval()


def _from_folder(name):
    """A parser in benepar's own format, which holds a pickle: only its weights are read, so that no code in it can run.

    benepar's `from_trained` leaves that to the default of torch, which a variable of the environment can turn off.
    """
    import pickle

    import torch
    from benepar import nkutil, parse_chart
    from transformers import AutoConfig

    try:
        weights = torch.load(Path(name) / "benepar_model.bin", map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise InputError(f"parser {name!r}: benepar_model.bin is no file of weights only: {str(error)[:200]}") from None
    chart_parser({"UNK": 0}, {"": 0, "S": 1})                  # for its shim
    config = dict(AutoConfig.from_pretrained(name).benepar)
    config["hparams"] = nkutil.HParams(**{"force_root_constituent": True} | config["hparams"])
    parser = parse_chart.ChartParser(**config, pretrained_model_path=name)
    parser.load_state_dict(weights)
    return parser


def sentences(text):
    """The Sentences of a text, split and tokenised by spaCy's rules (nothing is downloaded); empty lines are left out."""
    import spacy

    if not hasattr(sentences, "nlp"):
        sentences.nlp = spacy.blank("en")
        sentences.nlp.add_pipe("sentencizer")
    made = [[t for t in s if not t.is_space][:200] for s in sentences.nlp(text[:4000]).sents]
    return [Sentence([t.text for t in s], [bool(t.whitespace_) for t in s]) for s in made if s]


def parse(parser, rows, batch=32):
    """Trees (nltk) of Sentences, in their order; like lengths are parsed together."""
    out, order = [None] * len(rows), sorted(range(len(rows)), key=lambda i: len(rows[i].words))
    for k in range(0, len(order), batch):
        some = order[k:k + batch]
        for i, tree in zip(some, parser.parse([rows[i] for i in some], subbatch_max_tokens=4000), strict=True):
            out[i] = tree
    return out


def parse_texts(parser, texts):
    """{text: trees of its sentences}; each text is parsed once, however often it stands there."""
    unique = sorted(set(texts))
    rows, found = [(text, row) for text in unique for row in sentences(text)], {text: [] for text in unique}
    for (text, _), tree in zip(rows, parse(parser, [row for _, row in rows]), strict=True):
        found[text].append(tree)
    return found


def of_instructions(trees, texts, reading=noun_pairs):
    """For each text the different (verb, noun) of its sentences, lower case, in their order; trees: of `parse_texts`."""
    lower = {text: [(v.lower(), n.lower()) for tree in made for v, n in reading(tree)] for text, made in trees.items()}
    return [list(dict.fromkeys(lower[text])) for text in texts]


def top_pairs(counted, verbs=16, nouns=4):
    """{verb: {noun: count}} of the most frequent verbs with their most frequent nouns, most frequent first."""
    of_verb = Counter()
    for (verb, _), n in counted.items():
        of_verb[verb] += n
    return {verb: dict(Counter({noun: n for (v, noun), n in counted.items() if v == verb}).most_common(nouns))
            for verb, _ in of_verb.most_common(verbs)}
