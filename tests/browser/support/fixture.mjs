// A model small enough for a software GPU (180,544 random weights), with the base model's tokenizer and chat template, and rows for it.
// Its weights are f32, so that nothing is rounded where they are stored.
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { native, root, scratch } from "./harness.mjs";

const config = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  vocab_size: 2048,
  hidden_size: 64,
  intermediate_size: 64,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 32,
  max_position_embeddings: 256,
  rms_norm_eps: 1e-5,
  initializer_range: 0.05,
  tie_word_embeddings: true,
  eos_token_id: 0,
  pad_token_id: 0,
};

// Makes it in the scratch folder: paths of the model's folder and of row files, and the model's files as addresses.
export async function fixture() {
  const at = (name) => join(scratch, name);
  await writeFile(at("config.json"), JSON.stringify(config));
  await native("init", "--config", at("config.json"), "--output-dir", at("model"), "--tokenizer", "base/model");
  // Of all tasks: they come in the file one after another.
  const all = (await readFile(join(root, "base/data/train.jsonl"), "utf8")).trim().split("\n");
  const every = (start) => all.filter((_, n) => n % 12 === start).map((row) => `${row}\n`).join("");
  await writeFile(at("rows.jsonl"), every(0));
  await writeFile(at("heldout.jsonl"), every(5));
  const files = await readdir(at("model"));
  return {
    model: at("model"),
    rows: at("rows.jsonl"),
    heldOut: at("heldout.jsonl"),
    paths: files.map((name) => join(at("model"), name)),
    urls: files.map((name) => `/scratch/model/${name}`),
  };
}

// Flags of the binary for settings of a job.
export const flags = (settings) =>
  Object.entries(settings).flatMap(([key, value]) => (value === true ? [`--${key}`] : [`--${key}`, String(value)]));
