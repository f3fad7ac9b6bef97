"""What PyTorch says: models and adapters loaded as a user loads them, computed in f32."""

import json
import subprocess
import warnings
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, get_cosine_schedule_with_warmup

IGNORE = -100


def load(path, dtype="auto"):
    """A model as transformers loads it, then in f32; a tensor missing or left over is an error."""
    path = Path(path)
    if path.suffix == ".gguf":
        return AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    model, info = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        assert not info.get(kind), f"{path}: {kind}: {info[kind]}"
    return model.float().eval()


def load_adapter(base, folder, is_trainable=False):
    """An adapter as PEFT loads it; PEFT only warns of keys it does not find, so a warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", FutureWarning)
        return PeftModel.from_pretrained(base, folder, is_trainable=is_trainable).eval()


@torch.no_grad()
def evaluate(model, rows):
    """Mean loss and accuracy over the targets of rows of `input_ids` and `labels`; sums in f64."""
    total, right, targets = 0.0, 0, 0
    for row in rows:
        logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1].float()
        labels = torch.tensor(row["labels"][1:])
        kept = labels != IGNORE
        logits, labels = logits[kept], labels[kept]
        logp = torch.log_softmax(logits, -1).gather(1, labels[:, None])
        total -= logp.double().sum().item()
        right += (logits.argmax(-1) == labels).sum().item()
        targets += len(labels)
    return {"loss": total / targets, "token_accuracy": right / targets, "targets": targets}


def train(model, steps, rate, warmup, weight_decay, max_grad_norm):
    """PyTorch's AdamW on what requires a gradient, under transformers' cosine schedule: loss, gradient norm and rate of every step."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [{"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
              {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=rate)
    schedule = get_cosine_schedule_with_warmup(optimizer, warmup, len(steps))
    log = []
    for rows in steps:
        targets = sum(label != IGNORE for row in rows for label in row["labels"][1:])
        total = 0.0
        for row in rows:
            logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1]
            labels = torch.tensor(row["labels"][1:])
            loss = torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum") / targets
            loss.backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm).item()
        log.append((total, norm, schedule.get_last_lr()[0]))
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return log


@torch.no_grad()
def greedy(model, tokenizer, messages, new_tokens):
    """The greedy answer under the model's own generation_config: its text, and whether a terminator ended it."""
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    out = model.generate(**inputs, do_sample=False, max_new_tokens=new_tokens)
    answer = out[0, inputs["input_ids"].shape[1] :]
    ended = model.generation_config.eos_token_id
    ended = ended if isinstance(ended, list) else [ended]
    return tokenizer.decode(answer, skip_special_tokens=True), answer[-1].item() in ended


def tokenise(tokenizer, messages):
    """Chat rows as tokens, every assistant turn with its terminator supervised, found from the rendered text."""
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    labels = [IGNORE] * len(encoded["input_ids"])
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        start = len(tokenizer.apply_chat_template(messages[:i], tokenize=False, add_generation_prompt=True))
        end = start + len(message["content"]) + len(tokenizer.eos_token)
        assert text[start:end] == message["content"] + tokenizer.eos_token
        for j, (a, b) in enumerate(encoded["offset_mapping"]):
            if start <= a and b <= end:
                labels[j] = encoded["input_ids"][j]
    return {"input_ids": encoded["input_ids"], "labels": labels}


class Tool:
    """The binary under test."""

    def __init__(self, binary):
        self.binary = str(Path(binary).resolve())

    def run(self, *args):
        return subprocess.run([self.binary, *map(str, args)], capture_output=True, text=True)

    def __call__(self, *args):
        done = self.run(*args)
        if done.returncode != 0:
            command = " ".join(map(str, args))
            raise AssertionError(f"wgpu-sft {command}: exit {done.returncode}: {done.stderr.strip() or done.stdout[-500:]}")
        return done.stdout

    def evaluate(self, model, data, adapter=None):
        extra = ["--adapter", adapter] if adapter else []
        return json.loads(self("eval", "--model", model, "--data", data, "--json", *extra))

    def generate(self, model, messages, new_tokens, adapter=None):
        extra = ["--adapter", adapter] if adapter else []
        system, user = (message["content"] for message in messages)
        out = self("generate", "--model", model, "--system", system, "--prompt", user, "--max-new-tokens", new_tokens, *extra)
        assert out.endswith("\n")
        return out[:-1]
