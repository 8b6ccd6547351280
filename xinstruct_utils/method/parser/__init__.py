"""The packaged parser: its treebank, weights and measured results (see `syntax`)."""
