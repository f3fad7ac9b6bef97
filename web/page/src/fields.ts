// The settings of a run: train.toml's keys, under transformers' names, with what they mean.

import type { Settings } from "../../package/src/api";

export interface Field {
  key: keyof Settings;
  /** Its label; without one it is called by its key. */
  name?: string;
  help: string;
  kind: "number" | "text" | "switch" | string[];
  /** What the tool takes where nothing is said. */
  usual: string;
  /** For one method only. */
  only?: "lora" | "full";
}

/** Those that matter. */
export const MAIN: Field[] = [
  {
    key: "learning-rate",
    name: "Learning rate",
    help: "How far a step goes. Too high: the loss jumps; too low: little is learnt.",
    kind: "number",
    usual: "2e-4 for LoRA, 2e-5 for all weights",
  },
  { key: "num-train-epochs", name: "Epochs", help: "How often every row is seen.", kind: "number", usual: "3" },
  { key: "batch-size", name: "Batch size", help: "Rows per step. Memory is not affected.", kind: "number", usual: "8" },
  {
    key: "max-length",
    name: "Max length",
    help: "Most tokens of a row.",
    kind: "number",
    usual: "1024, or the model’s context",
  },
];

export const MORE: { title: string; fields: Field[] }[] = [
  {
    title: "Adapter",
    fields: [
      { key: "lora-r", help: "Rank of the adapter.", kind: "number", usual: "16", only: "lora" },
      {
        key: "lora-alpha",
        help: "The adapter is scaled by alpha / r.",
        kind: "number",
        usual: "32",
        only: "lora",
      },
      {
        key: "lora-dropout",
        help: "Share of an adapted layer’s inputs that is dropped.",
        kind: "number",
        usual: "0",
        only: "lora",
      },
      {
        key: "lora-target-modules",
        help: "all-linear, or some of q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj.",
        kind: "text",
        usual: "all-linear",
        only: "lora",
      },
    ],
  },
  {
    title: "Rows",
    fields: [
      {
        key: "overlong",
        help: "What to do with rows longer than max length. Split is for rows of text alone.",
        kind: ["error", "drop", "truncate", "split"],
        usual: "error",
      },
      {
        key: "train-on",
        help: "What conversations teach: the assistant’s turns, the last of them, or everything.",
        kind: ["assistant", "last", "all"],
        usual: "assistant",
      },
      {
        key: "columns",
        help: "Columns that are not named as fields are: prompt=question,completion=answer.",
        kind: "text",
        usual: "as they are",
      },
      {
        key: "shape",
        help: "The shape of the rows, where their keys fit several.",
        kind: [
          "alpaca",
          "dolly",
          "prompt-completion",
          "prompt-completion-messages",
          "messages",
          "sharegpt",
          "text",
          "segments",
          "tokens",
        ],
        usual: "told by their keys",
      },
      {
        key: "alpaca-style",
        help: "Instructions as Stanford’s text, or through the chat template.",
        kind: ["alpaca", "alpaca-chat"],
        usual: "alpaca-chat if the model has a template",
      },
      {
        key: "skip-bad-rows",
        help: "Leave rows out that cannot be used.",
        kind: "switch",
        usual: "no",
      },
      {
        key: "mix",
        help: "Shares of the tasks in an epoch.",
        kind: ["proportional", "sqrt", "balanced"],
        usual: "proportional",
      },
      {
        key: "no-shuffle",
        help: "Take the rows in the file’s order.",
        kind: "switch",
        usual: "no",
      },
    ],
  },
  {
    title: "Optimizer",
    fields: [
      {
        key: "lr-scheduler-type",
        help: "How the learning rate falls.",
        kind: ["linear", "cosine", "constant", "constant_with_warmup"],
        usual: "cosine",
      },
      {
        key: "warmup-steps",
        help: "Steps of warm-up, or below 1 their share of all steps.",
        kind: "number",
        usual: "0",
      },
      {
        key: "weight-decay",
        help: "Of matrices; norms and biases never decay.",
        kind: "number",
        usual: "0",
      },
      { key: "adam-beta1", help: "Memory of the gradient’s mean.", kind: "number", usual: "0.9" },
      {
        key: "adam-beta2",
        help: "Memory of the gradient’s square.",
        kind: "number",
        usual: "0.999",
      },
      { key: "adam-epsilon", help: "Added where AdamW divides.", kind: "number", usual: "1e-8" },
      {
        key: "max-grad-norm",
        help: "Clip the gradient’s norm to this; 0: never.",
        kind: "number",
        usual: "1",
      },
    ],
  },
  {
    title: "Steps",
    fields: [
      {
        key: "max-steps",
        help: "Optimizer steps; overrides the epochs.",
        kind: "number",
        usual: "by the epochs",
      },
      {
        key: "gradient-accumulation-steps",
        help: "Multiplies the batch size.",
        kind: "number",
        usual: "1",
      },
      {
        key: "seed",
        help: "What order, dropout and fresh adapters are drawn from.",
        kind: "number",
        usual: "42",
      },
      {
        key: "logging-steps",
        help: "Steps between lines of the log.",
        kind: "number",
        usual: "10",
      },
      {
        key: "eval-steps",
        help: "Steps between evaluations.",
        kind: "number",
        usual: "one at the end",
      },
      {
        key: "save-steps",
        help: "Steps between checkpoints: what a closed tab loses at most.",
        kind: "number",
        usual: "500",
      },
    ],
  },
  {
    title: "Best evaluation",
    fields: [
      {
        key: "load-best-model-at-end",
        help: "Keep the weights of the best evaluation, not the last step’s.",
        kind: "switch",
        usual: "no",
      },
      {
        key: "metric-for-best-model",
        help: "What the best is told by: eval_loss, or eval_SUITE_MEASURE.",
        kind: "text",
        usual: "the first there is",
      },
      {
        key: "early-stopping-patience",
        help: "Stop after so many evaluations in a row without a gain.",
        kind: "number",
        usual: "never",
      },
      {
        key: "early-stopping-threshold",
        help: "How much a gain must be.",
        kind: "number",
        usual: "0",
      },
    ],
  },
  {
    title: "Memory",
    fields: [
      {
        key: "dtype",
        help: "How frozen weights are stored.",
        kind: ["f32", "f16", "bf16"],
        usual: "as in the file; f32 if quantised",
        only: "lora",
      },
      {
        key: "activations",
        help: "How activations are kept for the backward pass.",
        kind: ["f32", "f16", "bf16"],
        usual: "f32",
      },
      {
        key: "recompute",
        help: "Compute activations twice instead of keeping them.",
        kind: ["auto", "off", "on"],
        usual: "auto: where memory is short",
      },
      {
        key: "memory-limit",
        help: "Most memory to use on the device, such as 2GiB.",
        kind: "text",
        usual: "what the device gives",
      },
      {
        key: "micro-batch-tokens",
        help: "Tokens computed at once.",
        kind: "number",
        usual: "what the step needs and memory allows",
      },
      {
        key: "save-dtype",
        help: "How the tuned weights are stored.",
        kind: ["f32", "f16", "bf16"],
        usual: "as the model’s",
        only: "full",
      },
    ],
  },
];

/** train.toml of these settings. */
export function toToml(heading: string, names: Record<string, string | string[]>, settings: Settings): string {
  const value = (x: unknown): string => {
    if (Array.isArray(x)) return `[${x.map(value).join(", ")}]`;
    // A whole number is none to a field that wants a fraction.
    return typeof x === "string" ? JSON.stringify(x) : String(x);
  };
  const whole = new Set([
    "num-train-epochs",
    "learning-rate",
    "lora-alpha",
    "lora-dropout",
    "warmup-steps",
    "weight-decay",
    "max-grad-norm",
    "adam-beta1",
    "adam-beta2",
    "adam-epsilon",
    "early-stopping-threshold",
  ]);
  const number = (key: string, x: unknown) =>
    typeof x === "number" && whole.has(key) && Number.isInteger(x) ? x.toFixed(1) : value(x);
  const lines = Object.entries({ ...names, ...settings }).filter(([, x]) => x !== undefined);
  return [`# ${heading}`, ...lines.map(([key, x]) => `${key} = ${number(key, x)}`), ""].join("\n");
}
