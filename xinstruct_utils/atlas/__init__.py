"""The Atlas: a small world of real CLDR facts whose truth is known.

`world` holds the facts, `pages` writes the mini web from the sentences in `texts/`, `base` trains
the base model on it, `oracle` scores answers against the truth, `tasks` makes two benchmarks of it.
The method itself never reads the truth.
"""

from pathlib import Path

HOME = Path(__file__).parent
BASE_MODEL = HOME / "base_model"
