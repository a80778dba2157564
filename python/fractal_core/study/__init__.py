"""Whether momentum that follows the spectrum of gradients helps: small tasks, tuned peers, controls, one verdict.

`digits`, `text`, `copying` and `quadratic` are the tasks, `contenders` the optimizers, `controls` what FAM is held
against, `training` the one loop, `protocol` runs all of them, `results` judges and `page` writes docs/fam-results.md.
"""
