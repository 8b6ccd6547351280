"""Verb-noun pairs of instructions with benepar (paper 4.3, Figure 3).

The packaged parser was trained by `python -m xinstruct_utils.parser` on `parser/treebank.txt`, which was written for this
project; benchmarks/syntax.py measures it on other people's sentences and writes `parser/results.json`.
"""

import math
import warnings
from collections import Counter
from pathlib import Path

from . import plots
from .artifacts import InputError, read_json

HOME = Path(__file__).parent / "parser"
LAYERS = 5               # of the encoder that are used; the last of them is tuned, and shipped with the parser
SHAPE = dict(use_chars_lstm=False, use_pretrained=True, use_encoder=True, d_model=256, encoder_max_len=256, num_heads=4, d_kv=32,
             d_ff=512, num_layers=2, d_label_hidden=128, d_tag_hidden=128, predict_tags=True, tag_loss_scale=5.0,
             force_root_constituent=True, relu_dropout=0.2, residual_dropout=0.2, attention_dropout=0.2, morpho_emb_dropout=0.2)
VERBS = ("VB", "VBP", "VBZ", "VBD", "VBN", "VBG")
NOUNS = ("NN", "NNS", "NNP", "NNPS")
HELPERS = set("do does did be is are was were have has had would will can could should may might plz please".split())  # noqa: SIM905
PERSONS = set("me us you him her it them myself yourself himself herself itself ourselves yourselves themselves".split())  # noqa: SIM905


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

    from .cluster import encoder_path

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
    from benepar import parse_chart
    from safetensors.torch import load_file

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="torch_struct")   # lacks a declaration that torch asks for; harmless
    if name != "builtin":
        if not (Path(name) / "benepar_model.bin").exists():
            raise InputError(f"parser {name!r}: expected 'builtin', or a folder with benepar_model.bin, such as an unpacked "
                             "benepar_en3")
        chart_parser({"UNK": 0}, {"": 0, "S": 1})              # for its shim
        return parse_chart.ChartParser.from_trained(name).eval()  # torch.load opens weights only: no pickled code runs
    config = read_json(HOME / "config.json")
    parser = chart_parser(config["tags"], config["labels"])
    weights = {k: v.float() if v.is_floating_point() else v for k, v in load_file(HOME / "model.safetensors").items()}
    left_out = parser.load_state_dict(weights, strict=False)
    assert not left_out.unexpected_keys and set(shipped(parser)) == set(weights)
    return parser.eval()


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


def _kids(tree):
    return [child for child in tree if not isinstance(child, str)]


def _leaf(tree):
    return isinstance(tree[0], str)


def _noun(phrase):
    """The head noun of a noun phrase: the last noun of its first phrase."""
    kids = _kids(phrase)
    inner = [k for k in kids if k.label() == "NP" and not any(x.label() == "POS" for x in _kids(k))]
    if inner and not any(k.label() in NOUNS for k in kids[kids.index(inner[0]) + 1:]):
        return _noun(inner[0])
    leaves = [k for k in kids if _leaf(k) and k.label() not in (",", ":", "CC")]
    return ([k[0] for k in leaves if k.label() in NOUNS] or [k[0] for k in leaves] or [None])[-1]


def _objects(verb_phrase):
    """The noun phrases that follow the verb; bare words count, and "me a story" is two."""
    import nltk

    kids, found = _kids(verb_phrase), []
    at = next((i for i, k in enumerate(kids) if k.label() in VERBS), len(kids))
    for kid in kids[at + 1:]:
        parts = _kids(kid)
        if kid.label() == "NP" and len(parts) > 1 and parts[0].leaves()[0].lower() in PERSONS and len(parts[0].leaves()) == 1:
            found += [nltk.Tree("NP", [parts[0]]), nltk.Tree("NP", parts[1:])]
        elif kid.label() == "NP":
            found.append(kid)
        elif _leaf(kid) and kid.label() in (*NOUNS, "PRP", "PRP$", "DT", "CD", "JJ", "VBN", "VBG"):
            if found and found[-1].label() == "words":
                found[-1].append(kid)
            else:
                found.append(nltk.Tree("words", [kid]))
        elif kid.label() not in ("PRT", "RP", "ADVP", "RB", "INTJ", "UH"):
            clause = next((k for k in parts if k.label() == "VP"), None) if kid.label() == "S" else None
            subject = [k for k in parts if k.label() == "NP"] if kid.label() == "S" else []
            if clause is not None and not subject and _kids(clause)[0].label() == "VBN":
                subject = _objects(clause)       # "find attached a copy"
            return found or subject[:1]
    return found


def _of_phrase(phrase):
    kids = _kids(phrase)
    inner, verb = [k for k in kids if k.label() == "VP"], next((k[0] for k in kids if k.label() in VERBS and _leaf(k)), None)
    if verb is None or inner and verb.lower() in HELPERS:
        return [pair for k in inner for pair in _of_phrase(k)]
    found = _objects(phrase)
    if len(found) > 1 and found[0].leaves()[0].lower() in PERSONS and len(found[0].leaves()) == 1:
        found = found[1:]                        # "give me a tip" asks for a tip
    return [(verb, _noun(found[0]) if found else None)]


def pairs(tree):
    """(verb, noun or None) of each main verb phrase: coordinated ones, and those behind "please" or "can you", among them."""
    skip = ("SBAR", "PP", "NP", "ADVP", "WHNP", "WHADVP", "INTJ", "PRN")
    if _leaf(tree) or tree.label() in skip:
        return []
    if tree.label() == "VP":
        return _of_phrase(tree)
    kids = _kids(tree)
    if not any(k.label() in ("VP", "S") for k in kids) and any(k.label() == "VB" for k in kids):
        return _of_phrase(tree)                  # a request whose verb phrase the parser left out
    if any(k.label() == "VP" for k in kids):     # "using these words, write ...": the clause in front is not the request
        kids = [k for k in kids if k.label() != "S"]
    return [pair for k in kids for pair in pairs(k)]


def first_child_pairs(tree):
    """The reading of the code that the literature copies: down the first child only, to the first verb phrase."""
    while not _leaf(tree) and tree.label() != "VP":
        tree = _kids(tree)[0]
    return [] if _leaf(tree) else _of_phrase(tree)[:1]


def of_instructions(parser, texts, reading=pairs):
    """For each text the first (verb, noun) of its sentences, lower case; None where it has none. Unique texts are parsed once."""
    unique = sorted(set(texts))
    rows = [(text, row) for text in unique for row in sentences(text)]
    found = {}
    for (text, _), tree in zip(rows, parse(parser, [row for _, row in rows]), strict=True):
        whole = [(v.lower(), n.lower()) for v, n in reading(tree) if n]
        found.setdefault(text, whole[0]) if whole else None
    return [found.get(text) for text in texts]


def top_pairs(counted, verbs=16, nouns=4):
    """{verb: {noun: count}} of the most frequent verbs with their most frequent nouns, most frequent first."""
    of_verb = Counter()
    for (verb, _), n in counted.items():
        of_verb[verb] += n
    return {verb: dict(Counter({noun: n for (v, noun), n in counted.items() if v == verb}).most_common(nouns))
            for verb, _ in of_verb.most_common(verbs)}


@plots._figure
def sunburst(counted, texts):
    """Figure 3: the 16 most frequent verbs, their four most frequent nouns around them.

    counted: Counter of (verb, noun); texts: how many instructions were read. The share that has a pair stands below.
    """
    top, total = top_pairs(counted), sum(counted.values())
    if not total:
        return plots._nothing("verb-noun pairs")
    figure, axis = plots._axes(6.4)
    outer = [(v, noun, n) for v, nouns in top.items() for noun, n in nouns.items()]
    colour = {v: plots.COLOURS[k % 6] for k, v in enumerate(top)}
    look = {"startangle": 90, "counterclock": False}
    edge = {"edgecolor": "white", "linewidth": 0.8, "width": 0.42}
    inner = [sum(n.values()) for n in top.values()]
    wedges = {0.62: axis.pie(inner, radius=0.62, colors=list(colour.values()), wedgeprops=edge, **look)[0],
              1.04: axis.pie([n for *_, n in outer], radius=1.04, colors=[colour[v] for v, *_ in outer],
                             wedgeprops=edge | {"alpha": 0.55}, **look)[0]}
    for (radius, made), words in zip(wedges.items(), (list(top), [noun for _, noun, _ in outer]), strict=True):
        for wedge, word in zip(made, words, strict=True):
            middle, span = (wedge.theta1 + wedge.theta2) / 2, wedge.theta2 - wedge.theta1
            turn = middle if math.cos(math.radians(middle)) >= 0 else middle + 180
            if span >= 2.2:                      # a narrower one could not be read
                axis.text((radius - 0.21) * math.cos(math.radians(middle)), (radius - 0.21) * math.sin(math.radians(middle)),
                          word[:14], ha="center", va="center", rotation=turn, fontsize=min(9, 4.5 + span / 3),
                          color="white" if radius < 1 and colour[word] in plots.COLOURS[:3] else plots.INK)
    axis.set_title(f"{total:,} of {texts:,} instructions ({total / texts:.0%}) have a pair")
    return figure
