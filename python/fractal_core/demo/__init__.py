"""The main job: one small language model trained twice on real text, with dense and with fractal attention.

`data` cuts the text, `model` and `train` are the two models and their one training loop, `leak` and `sample` look at a
trained model, `worker` runs one model in a process of its own, `runner` runs the workers in turn, `results` compares
the curves and `report` writes the page. Only `model`, `train`, `leak`, `sample` and `worker` import torch.
"""
