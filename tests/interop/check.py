"""Files that wgpu-sft writes, loaded by transformers and PEFT, and theirs loaded by wgpu-sft: do both compute the same?

    python tests/interop/check.py --binary target/release/wgpu-sft [--smollm2 FILE.gguf] [MODEL ...]

Prints a line per comparison; exit code 1 if one differs. See README.md beside this file.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoTokenizer
from transformers.utils import logging

from reference import IGNORE, Tool, evaluate, greedy, load, load_adapter, tokenise, train

GOLDEN = Path(__file__).resolve().parent.parent / "fixtures" / "golden"
TOLERANCE = 1e-5
NAMES = ["Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gil", "Hal", "Ida", "Jo", "Kai", "Lea"]


class Report:
    """The table, as it grows."""

    def __init__(self):
        self.failures = 0

    def line(self, model, what, ours, theirs, note, ok):
        self.failures += not ok
        cells = [f"{x:.7f}" if isinstance(x, float) else str(x) for x in (ours, theirs)]
        print(f"{'ok  ' if ok else 'FAIL'} {model:15} {what:48} {cells[0]:>12} {cells[1]:>12}  {note}", flush=True)


class Case:
    """One base model: its rows, and how its comparisons are made."""

    def __init__(self, report, tool, model, work):
        self.report, self.tool, self.path = report, tool, Path(model)
        self.gguf = self.path.suffix == ".gguf"
        self.name, self.work = (self.path.stem[:15] if self.gguf else self.path.name), work
        self.random = random.Random(7)
        self.base = load(self.path, torch.float32)
        self.vocab = self.base.config.vocab_size
        source = {"gguf_file": self.path.name} if self.gguf else {}
        folder = self.path.parent if self.gguf else self.path
        has_tokenizer = self.gguf or (folder / "tokenizer.json").exists()
        self.tokenizer = AutoTokenizer.from_pretrained(folder, **source) if has_tokenizer else None
        self.lengths = (12, 24) if self.gguf else (8, 48)
        self.train = self.write("train.jsonl", [self.row() for _ in range(32)])
        self.held_out = [self.row() for _ in range(4 if self.gguf else 12)]
        self.eval_file = self.write("eval.jsonl", self.held_out)

    def write(self, name, rows):
        path = self.work / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    def row(self):
        """Counting upwards in steps of 1 to 3, the start not supervised: a rule that a few steps begin to learn."""
        n, step = self.random.randint(*self.lengths), self.random.randint(1, 3)
        start, masked = self.random.randint(3, 40), self.random.randint(1, 4)
        ids = [3 + (start + step * i) % 60 for i in range(n)]
        return {"input_ids": ids, "labels": [IGNORE] * masked + ids[masked:]}

    def same(self, what, ours, theirs, tolerance=TOLERANCE):
        # Logits of about 20 are rounded by 2e-6 in f32, however small the loss.
        gap = abs(ours - theirs) / max(abs(theirs), 0.1)
        self.report.line(self.name, what, ours, theirs, f"relative difference {gap:.1e}", gap <= tolerance)

    def true(self, what, ok, note=""):
        self.report.line(self.name, what, "", "", note, bool(ok))

    def equal(self, what, ours, theirs):
        self.report.line(self.name, what, "", "", "" if ours == theirs else f"{ours!r} is not {theirs!r}", ours == theirs)

    def compare(self, what, reference, model, adapter=None, probes=3):
        """Loss on held-out rows, and log-probabilities of single tokens, likely or not: the logits, up to their constant."""
        ours, theirs = self.tool.evaluate(model, self.eval_file, adapter), evaluate(reference, self.held_out)
        self.same(f"{what}: loss", ours["loss"], theirs["loss"])
        self.equal(f"{what}: targets, accuracy", [ours["targets"], round(ours["token_accuracy"], 6)],
                   [theirs["targets"], round(theirs["token_accuracy"], 6)])
        for _ in range(probes):
            ids = self.random.choice(self.held_out)["input_ids"]
            at, token = self.random.randrange(1, len(ids)), self.random.randrange(self.vocab)
            row = {"input_ids": ids, "labels": [token if i == at else IGNORE for i in range(len(ids))]}
            ours_one = self.tool.evaluate(model, self.write("probe.jsonl", [row]), adapter)["loss"]
            self.same(f"{what}: -log p({token} | {at} tokens)", ours_one, evaluate(reference, [row])["loss"])
        return theirs["loss"]

    def tune(self, name, *flags, data=None, model=None):
        out = self.work / name
        self.tool("train", "--model", model or self.path, "--data", data or self.train, "--output-dir", out, "--quiet",
                  "--batch-size", 4, *flags)
        return out

    def log(self, out):
        """The lines of metrics.jsonl."""
        return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]

    def trained(self, what, out, loss, tolerance=TOLERANCE):
        """What was written is what was trained: the loss that the run measured before it wrote."""
        measured = [line["eval_loss"] for line in self.log(out) if "eval_loss" in line][-1]
        self.same(f"{what}: eval_loss of its run", measured, loss, tolerance)

    # What is written here.

    def written_adapter(self):
        steps = 4 if self.gguf else 20
        out = self.tune("lora", "--learning-rate", "2e-3" if self.gguf else "2e-2", "--max-steps", steps,
                        "--lora-r", 4, "--lora-alpha", 8, "--eval-data", self.eval_file)
        before = self.compare("base", self.base, self.path)
        tuned = load_adapter(load(self.path, torch.float32), out)
        after = self.compare("adapter in PEFT", tuned, self.path, out)
        self.trained("adapter in PEFT", out, after)
        self.true("adapter in PEFT: it changes the model", abs(after - before) > 0.01 * before, f"loss {before:.4f} -> {after:.4f}")
        if not self.gguf:
            auto = AutoPeftModelForCausalLM.from_pretrained(out).eval()
            self.same("AutoPeftModelForCausalLM finds its base", evaluate(auto, self.held_out)["loss"], after)
        self.merged(out, tuned, after)
        return out

    def merged(self, adapter, tuned, loss):
        out = self.work / "merged"
        self.tool("merge", "--model", self.path, "--adapter", adapter, "--output-dir", out)
        model = load(out)
        merged = self.compare("merged in transformers", model, out)
        # An f16 base rounds once more when it is saved.
        self.same("merged: the adapter's loss", merged, loss, 1e-3 if self.gguf else TOLERANCE)
        theirs = tuned.merge_and_unload().state_dict()
        rounding = 2**-11 if self.gguf else 2**-22
        worst = max(((model.state_dict()[name] - w).abs().max() / w.abs().max()).item() for name, w in theirs.items())
        self.true("merged: PEFT's merge_and_unload()", worst <= 1.01 * rounding, f"largest difference {worst:.1e} of a tensor's maximum")

    def written_model(self):
        for dtype in [None] if self.gguf else [None, "bf16", "f16"]:
            flags = ["--save-dtype", dtype] if dtype else []
            rate = "2e-5" if self.gguf else "1e-2"
            out = self.tune(f"full-{dtype}", "--method", "full", "--learning-rate", rate, "--max-steps", 2 if self.gguf else 10,
                            "--eval-data", self.eval_file, *flags)
            model = load(out)
            what = f"full model, {dtype or 'source dtype'}"
            loss = self.compare(f"{what}", model, out, probes=3 if dtype is None else 1)
            # A run measures its f32 weights, before they are rounded.
            self.trained(what, out, loss, TOLERANCE if dtype is None and not self.gguf else 1e-3)
            if dtype is None:
                base = evaluate(self.base, self.held_out)["loss"]
                self.true(f"{what}: it differs from its base", abs(loss - base) > 0.01 * base, f"loss {base:.4f} -> {loss:.4f}")
                still = [n for n, w in self.base.state_dict().items() if torch.equal(w, model.state_dict()[n])]
                # f16 does not show the small steps of norms.
                still = [n for n in still if not (self.gguf and "norm" in n)]
                self.equal(f"{what}: tensors that did not move", still, [])
            self.described(what, out, {None: "float16" if self.gguf else "float32", "bf16": "bfloat16", "f16": "float16"}[dtype])
        return self.work / "full-None"

    def described(self, what, out, dtype):
        """config.json and the tensors of a folder written here say what they are."""
        config = json.loads((out / "config.json").read_text())
        self.equal(f"{what}: dtype in config.json", config.get("dtype", config.get("torch_dtype")), dtype)
        stored = {str(w.dtype).removeprefix("torch.") for w in load_file(out / "model.safetensors").values()}
        self.equal(f"{what}: dtype of its tensors", stored, {dtype})
        ours, theirs = load(out).config.to_dict(), self.base.config.to_dict()
        ignored = {"dtype", "torch_dtype", "_name_or_path", "transformers_version", "architectures"}
        other = {k: (ours.get(k), v) for k, v in theirs.items() if k not in ignored and ours.get(k) != v}
        # What transformers makes up of a GGUF file: it keeps how that is stored, and 1e-5 as f32 has it.
        made_up = ("quantization_config", "rms_norm_eps", "unk_token_id") if self.gguf else ()
        other = {k: v for k, v in other.items() if k not in made_up}
        self.equal(f"{what}: config.json, as transformers reads it", other, {})

    def trajectory(self):
        """Training itself, beside PyTorch's: the first rate of a warm-up is 0, so the first checkpoint holds what a run began with."""
        for method, rate in (("lora", 1e-2), ("full", 3e-3)):
            out = self.tune(f"trajectory-{method}", "--method", method, "--learning-rate", rate, "--max-steps", 5, "--no-shuffle",
                            "--lr-scheduler-type", "cosine", "--warmup-steps", 2, "--weight-decay", 0.1, "--max-grad-norm", 0.5,
                            "--save-steps", 1, "--logging-steps", 1)
            model = load(self.path, torch.float32)
            file = "model.safetensors"
            if method == "lora":
                model = load_adapter(model, out / "checkpoint-1", is_trainable=True)
                file = "adapter_model.safetensors"
            start, end = (load_file(out / f"checkpoint-{step}" / file) for step in (1, 5))
            rows = [json.loads(line) for line in self.train.read_text().splitlines()]
            theirs = train(model, [rows[i * 4 : i * 4 + 4] for i in range(5)], rate, warmup=2, weight_decay=0.1, max_grad_norm=0.5)
            lines = [line for line in self.log(out) if "loss" in line]
            self.equal(f"{method} steps: logged", len(lines), 5)
            for line, (loss, norm, used) in zip(lines, theirs):
                self.same(f"{method} step {line['step']}: loss", line["loss"], loss)
                self.same(f"{method} step {line['step']}: grad_norm", line["grad_norm"], norm, 1e-4)
                self.same(f"{method} step {line['step']}: learning_rate / {rate}", line["learning_rate"] / rate, used / rate)
            final = {name.replace(".default", ""): w.detach() for name, w in model.named_parameters()}
            moved = sum((end[n] - w).double().square().sum() for n, w in start.items()).sqrt().item()
            apart = sum((end[n] - final[n]).double().square().sum() for n in start).sqrt().item()
            self.true(f"{method} steps: weights", apart < 1e-3 * moved, f"{apart / moved:.1e} of the way gone apart")

    # Talking.

    def conversation(self, i):
        greeting, name = self.random.choice(["hi", "yo"]), NAMES[i % len(NAMES)]
        return [{"role": "system", "content": "Be kind."}, {"role": "user", "content": f"{greeting}, {name}"},
                {"role": "assistant", "content": f"{greeting} you"}]

    def talk(self):
        rows = [self.conversation(i) for i in range(16)]
        data = self.write("chat.jsonl", [{"messages": row} for row in rows])
        reference = [tokenise(self.tokenizer, row) for row in rows]
        if self.gguf:
            adapter = self.tune("chat-lora", "--learning-rate", "5e-4", "--max-steps", 3, data=data)
            full = self.tune("chat-full", "--method", "full", "--max-steps", 1, data=data)
        else:
            adapter = self.tune("chat-lora", "--learning-rate", "5e-3", "--max-steps", 100, "--lora-dropout", 0.05, data=data)
            full = self.tune("chat-full", "--method", "full", "--learning-rate", "5e-3", "--max-steps", 60, data=data)
        tokenizer = AutoTokenizer.from_pretrained(full)
        for row in rows[:4]:
            for prompt in (False, True):
                text = tokenizer.apply_chat_template(row, tokenize=False, add_generation_prompt=prompt)
                if text != (wanted := self.tokenizer.apply_chat_template(row, tokenize=False, add_generation_prompt=prompt)):
                    self.equal("chat template of the full model", text, wanted)
        self.equal("tokenizer of the full model", [tokenise(tokenizer, row) for row in rows], reference)
        end = tokenizer.convert_tokens_to_ids(tokenizer.eos_token)
        saved = json.loads((full / "generation_config.json").read_text())["eos_token_id"]
        self.true("generation_config: the terminator", end in (saved if isinstance(saved, list) else [saved]), f"eos_token_id {saved}")
        if self.gguf:
            cases = json.loads((GOLDEN / "smollm2" / "tok_cases_expected.json").read_text())
            self.tokenizer_cases(tokenizer, cases)
        base = load(self.path, torch.float32)
        for what, model, path, extra in [("adapter", load_adapter(base, adapter), self.path, adapter), ("full model", load(full), full, None)]:
            ours, theirs = self.tool.evaluate(path, data, extra), evaluate(model, reference)
            self.same(f"chat rows, {what}: loss", ours["loss"], theirs["loss"])
            self.equal(f"chat rows, {what}: targets", ours["targets"], theirs["targets"])
            self.answers(what, model, path, extra, tokenizer)

    def tokenizer_cases(self, tokenizer, cases):
        cases = cases["cases"] if isinstance(cases, dict) else cases
        wrong = [c for c in cases if tokenizer(c["text"], add_special_tokens=False)["input_ids"] != c["ids"]]
        self.equal(f"tokenizer of the full model: {len(cases)} cases", wrong[:3], [])

    def answers(self, what, model, path, adapter, tokenizer):
        for i in range(2 if self.gguf else 3):
            messages = self.conversation(i)[:2]
            theirs, ended = greedy(model, tokenizer, messages, 12)
            ours = self.tool.generate(path, messages, 12, adapter)
            self.equal(f"{what}: greedy answer{' (ended by a terminator)' if ended else ''}", ours, theirs)

    def other_terminator(self):
        """A base whose eos_token_id is not what ends a turn of its template, as base models have it."""
        folder = self.work / "base-eos"
        shutil.copytree(self.path, folder)
        for name in ("config.json", "generation_config.json"):
            fields = json.loads((folder / name).read_text())
            fields["eos_token_id"] = 0
            (folder / name).write_text(json.dumps(fields))
        out = self.tune("eos", "--method", "full", "--max-steps", 1, model=folder)
        end = self.tokenizer.convert_tokens_to_ids(self.tokenizer.eos_token)
        ids = load(out).generation_config.eos_token_id
        self.equal("generation_config: <|endoftext|> and the terminator", ids, [0, end])

    # What others write.

    def their_adapters(self):
        seven = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        settings = {
            "default settings": {},
            "all-linear, r 4": {"target_modules": "all-linear", "r": 4, "lora_alpha": 16},
            "rslora": {"use_rslora": True, "r": 4, "target_modules": seven},
            "gaussian, dropout": {"init_lora_weights": "gaussian", "lora_dropout": 0.1, "target_modules": ["o_proj", "down_proj"]},
            "one layer by its path": {"target_modules": ["layers.1.self_attn.q_proj", "layers.0.mlp.up_proj"]},
            "bf16 matrices": {"target_modules": seven},
        }
        base_loss = evaluate(self.base, self.held_out)["loss"]
        for what, fields in settings.items():
            torch.manual_seed(3)
            model = get_peft_model(load(self.path, torch.float32), LoraConfig(task_type="CAUSAL_LM", **fields))
            for name, weight in model.named_parameters():
                if "lora_B" in name:
                    torch.nn.init.normal_(weight, std=0.2)
                if "lora_" in name and what == "bf16 matrices":
                    weight.data = weight.data.to(torch.bfloat16)
            out = self.work / f"peft-{what.split(',')[0].replace(' ', '-')}"
            model.save_pretrained(out)
            loaded = load_adapter(load(self.path, torch.float32), out)
            loss = self.compare(f"PEFT's adapter, {what}", loaded, self.path, out, probes=1)
            self.true(f"PEFT's adapter, {what}: it changes the model", abs(loss - base_loss) > 1e-3 * base_loss, f"loss {base_loss:.4f} -> {loss:.4f}")
        self.refused({
            "use_dora": {"use_dora": True},
            "modules_to_save": {"modules_to_save": ["embed_tokens"]},
            "layers_to_transform": {"layers_to_transform": [1], "target_modules": ["q_proj"]},
            "rank_pattern": {"rank_pattern": {"q_proj": 2}},
            "bias": {"bias": "all"},
        })

    def refused(self, settings):
        """Adapters of kinds that are not supported: exit code 2, naming the field."""
        for field, fields in settings.items():
            out = self.work / f"refused-{field}"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of PEFT, that these settings have their traps
                get_peft_model(load(self.path, torch.float32), LoraConfig(task_type="CAUSAL_LM", **fields)).save_pretrained(out)
            done = self.tool.run("eval", "--model", self.path, "--data", self.eval_file, "--adapter", out)
            self.true(f"PEFT's adapter with {field}: refused", done.returncode == 2 and field in done.stderr, done.stderr.strip().splitlines()[-1])

    def their_models(self):
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            out = self.work / f"saved-{dtype}"
            load(self.path, torch.float32).to(dtype).save_pretrained(out, max_shard_size="20KB")
            if self.tokenizer:
                self.tokenizer.save_pretrained(out)
            shards = len(list(out.glob("model-*.safetensors")))
            what = f"transformers' model, {str(dtype).removeprefix('torch.')}"
            self.true(f"{what}: is sharded", shards > 1, f"{shards} files")
            model = load(out)
            self.compare(what, model, out, probes=1)
            adapter = self.tune(f"lora-on-{dtype}", "--learning-rate", "2e-2", "--max-steps", 5, model=out)
            self.compare(f"{what}: adapter trained on it", load_adapter(model, adapter), out, adapter, probes=1)
            if self.tokenizer:
                self.answers(what, load(out), out, None, AutoTokenizer.from_pretrained(out))

    def all(self):
        steps = [self.written_adapter, self.written_model] + ([] if self.gguf else [self.trajectory])
        steps += [self.talk] if self.tokenizer else []
        steps += [] if self.gguf else [self.their_adapters, self.their_models]
        steps += [self.other_terminator] if self.tokenizer and not self.gguf else []
        for step in steps:
            try:
                step()
            except Exception as error:  # the other comparisons still tell something
                traceback.print_exc()
                self.true(step.__name__.replace("_", " "), False, str(error).splitlines()[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path, help="model folders with f32 weights [default: the golden ones]")
    parser.add_argument("--binary", default="target/release/wgpu-sft", help="the wgpu-sft to try")
    parser.add_argument("--smollm2", type=Path, help="also SmolLM2-135M-Instruct, from this GGUF file (minutes)")
    parser.add_argument("--keep", type=Path, help="folder to leave all files in")
    args = parser.parse_args()
    logging.set_verbosity_error()
    warnings.simplefilter("ignore", FutureWarning)
    logging.disable_progress_bar()
    models = args.models or [GOLDEN / name for name in ("llama_tied_gqa", "qwen2_bias", "qwen3_qknorm", "granite_multipliers")]
    models += [args.smollm2] if args.smollm2 else []
    report, tool, start = Report(), Tool(args.binary), time.time()
    with tempfile.TemporaryDirectory() as temporary:
        for model in models:
            work = (args.keep or Path(temporary)) / model.name
            work.mkdir(parents=True)
            Case(report, tool, model, work).all()
    print(f"{report.failures} differences, {time.time() - start:.0f} s")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
