"""Runs in the other interpreter, inside a checkout of the original pipeline; sent there as text (see reference.py).

Needs nothing of this project. Reads one JSON request a line, answers with one JSON line.
"""

import importlib.machinery
import importlib.util
import json
import os
import re
import sys
import time
import types

answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # what libraries print must not mix with the answers
sys.path.insert(0, os.getcwd())


def stand_in(name):
    """A module that can be imported and is never used: the scripts import it, the pipeline does not need it."""
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    sys.modules[name] = module
    return module


import torch  # noqa: E402

if importlib.util.find_spec("torchvision") is None:
    stand_in("torchvision").transforms = stand_in("torchvision.transforms")

import src.pipeline as published  # noqa: E402
from diffusers import VQModel  # noqa: E402
from src.pipeline import Pipeline  # noqa: E402
from src.scheduler import Scheduler  # noqa: E402
from src.transformer import Transformer2DModel  # noqa: E402
from transformers import CLIPTextModelWithProjection, CLIPTokenizer  # noqa: E402

pipe, device = None, torch.device("cpu")


def synchronize():
    if device.type == "cuda":
        torch.cuda.synchronize()


def high_water():
    with open("/proc/self/status") as file:
        return 1024 * int(re.search(r"VmHWM:\s*(\d+)", file.read()).group(1))


def reset_peak():
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        return high_water()
    except OSError:
        return None


def peak_since(before):
    if before is None:
        return None
    return max(0, (torch.cuda.max_memory_allocated() if device.type == "cuda" else high_water()) - before)


def load(request):
    global pipe, device
    torch.set_num_threads(request["threads"])
    device, dtype = torch.device(request["device"]), getattr(torch, request["dtype"])
    folder = request["bundle"]
    pipe = Pipeline(
        VQModel.from_pretrained(folder, subfolder="vqvae"),
        tokenizer=CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer"),
        text_encoder=CLIPTextModelWithProjection.from_pretrained(folder, subfolder="text_encoder", torch_dtype=dtype),
        transformer=Transformer2DModel.from_pretrained(folder, subfolder="transformer", torch_dtype=dtype),
        scheduler=Scheduler.from_pretrained(folder, subfolder="scheduler"),
    ).to(device)
    pipe.set_progress_bar_config(disable=True)
    return {"torch": torch.__version__, "threads": torch.get_num_threads()}


def logits(request):
    """The network's output for a state: tokens [h, w] of one prompt -> [V, h, w] written as a tensor file."""
    from safetensors.torch import load_file, save_file

    tokens = load_file(request["tokens"])["tokens"].to(device)
    ids = pipe.tokenizer(
        [request["prompt"]], return_tensors="pt", padding="max_length", truncation=True, max_length=77
    ).input_ids.to(device)
    h, w = tokens.shape[-2] // 2, tokens.shape[-1] // 2
    with torch.no_grad():
        text = pipe.text_encoder(ids, return_dict=True, output_hidden_states=True)
        hidden = text.hidden_states[-2]
        rows = torch.arange(h)[:, None].expand(h, w)
        columns = torch.arange(w)[None].expand(h, w)
        places = torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3).to(device)
        side = request["size"]
        out = pipe.transformer(
            hidden_states=tokens,
            micro_conds=torch.tensor([[side, side, 0, 0, 6]], device=device, dtype=hidden.dtype),
            pooled_projections=text.text_embeds,
            encoder_hidden_states=hidden,
            img_ids=places,
            txt_ids=torch.zeros(hidden.shape[1], 3, device=device, dtype=hidden.dtype),
            timestep=torch.tensor([request["timestep"]], device=device),
        )
    save_file({"logits": out.float().contiguous().cpu()}, request["answer"])
    return {}


def run(request):
    """A whole run, with its parts timed from outside."""
    laps, calls = {"text": 0.0, "transformer": 0.0, "decode": 0.0}, []

    def timed(name, work):
        def call(*args, **kwargs):
            synchronize()
            started = time.perf_counter()
            result = work(*args, **kwargs)
            synchronize()
            laps[name] += time.perf_counter() - started
            calls.append(name)
            return result

        return call

    parts = {
        "text": (pipe.text_encoder, "forward"),
        "transformer": (pipe.transformer, "forward"),
        "decode": (pipe.vqvae, "decode"),
    }
    for name, (owner, method) in parts.items():
        setattr(owner, method, timed(name, getattr(owner, method)))
    places = published._prepare_latent_image_ids
    if pipe.transformer.config.downsample and request["size"] != 1024:
        # The pipeline knows the layout that halves the grid by its 1024 pixels only, and else doubles the grid.
        published._prepare_latent_image_ids = lambda b, h, w, *rest: places(b, h // 2, w // 2, *rest)
    torch.manual_seed(request["seed"])
    before = reset_peak()
    synchronize()
    started = time.perf_counter()
    try:
        pipe(
            prompt=request["prompts"],
            negative_prompt=[request["negative"]] * len(request["prompts"]),
            height=request["size"],
            width=request["size"],
            num_inference_steps=request["steps"],
            guidance_scale=request["cfg"],
            temperature=tuple(request["temperature"]),
            output_type="pt",
        )
        synchronize()
        total = time.perf_counter() - started
    finally:
        published._prepare_latent_image_ids = places
        for owner, method in parts.values():
            delattr(owner, method)
    return {"total": total, **laps, "calls": calls.count("transformer"), "peak": peak_since(before)}


OPERATIONS = {"load": load, "logits": logits, "run": run}

for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = OPERATIONS[request.pop("do")](request)
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    answers.write(json.dumps(answer) + "\n")
