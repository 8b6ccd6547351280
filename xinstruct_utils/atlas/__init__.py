"""The Atlas: a small world of real CLDR facts whose truth is known.

`world` holds the facts, with their `names` in every language; `pages` writes them down with the
sentences in `texts/`; `web` has what the method reads, `prompt_sets` what models are asked, `build`
writes both to files and the truth apart from them. `base` trains the base models, `oracle` scores
answers against the truth, `tasks` makes two benchmarks of it. The method itself never reads the
truth.
"""

from pathlib import Path

HOME = Path(__file__).parent
BASE_MODEL = HOME / "base_model"
BASE_MODELS = {"small": BASE_MODEL, "large": HOME / "base_model_large"}
OPPONENT = HOME / "opponent"
