// Rows, checked and tokenised by the wasm module, against what was recorded natively (fixtures/browser.json) and by the reference build
// of tokenizers (fixtures/chat/expected.json).
import { RowChecker, RowReader } from "/module/wgpu_sft_web.js";

const bytes = async (path) => {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
};
const json = async (path) => JSON.parse(new TextDecoder().decode(await bytes(path)));
const encoded = (value) => new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));

// FNV-1a of 64 bits, in two halves.
function digest(bytes) {
  let [high, low] = [0xcbf29ce4, 0x84222325];
  for (const byte of bytes) {
    low = (low ^ byte) >>> 0;
    const product = low * 0x1b3;
    high = (Math.imul(high, 0x1b3) + Math.floor(product / 2 ** 32) + (low << 8)) >>> 0;
    low = product >>> 0;
  }
  return [high, low].map((half) => half.toString(16).padStart(8, "0")).join("");
}

// A megabyte each, as fixtures/chat/record.py makes them.
const fill = (piece) => piece.repeat(Math.floor(2 ** 20 / encoded(piece).length));
const long = {
  spaces: () => fill(" "),
  "a letter": () => fill("a"),
  emoji: () => fill("🌍"),
  scripts: () =>
    fill("Größe 北京 и мир العربية हिन्दी e\u0301 it's 12345 don't!?\r\n  \n x\t\u00a0y 🏳\ufe0f\u200d🌈"),
};

// Calls `each` with the name of every comparison and what is wrong, or nothing.
export async function compareData(each) {
  const recorded = await json("/tests/fixtures/browser.json");
  const checker = new RowChecker();
  for (const [name, heldOut] of recorded.checked) checker.add(name, await bytes(`/tests/${name}`), heldOut);
  const [got, want] = [JSON.parse(checker.finish()), recorded.report].map((report) => JSON.stringify(report));
  each("data: the report of a check", got === want ? "" : `${got}\n    instead of\n    ${want}`);

  const tokenizer = await bytes("/tests/fixtures/chat/tokenizer.json");
  const { templates, now } = await json("/tests/fixtures/chat/renderings.json");
  for (const [name, { bos, eos }] of Object.entries(templates)) {
    const config = encoded({ bos_token: bos, eos_token: eos, pad_token: "<|endoftext|>" });
    const source = new TextDecoder().decode(await bytes(`/tests/fixtures/chat/templates/${name}.jinja`));
    const reader = new RowReader(tokenizer, config, source, now);
    const pages = Object.entries(recorded.rows).map(([title, row]) => {
      try {
        return reader.preview(title, encoded(row));
      } catch (error) {
        return error.message;
      }
    });
    reader.free();
    const [got, want] = [digest(encoded(pages.join("\n"))), recorded.previews[name]];
    each(`data: ids and masks through ${name}`, got === want ? "" : `${got}, not ${want}`);
  }

  const { words, long: expected } = await json("/tests/fixtures/chat/expected.json");
  const small = JSON.parse(new TextDecoder().decode(tokenizer));
  const readers = new Map();
  for (const name of new Set(expected.map((wanted) => wanted.words))) {
    // The small vocabulary with another model's way to cut words.
    const file = { ...small, pre_tokenizer: words[name], normalizer: name === "qwen" ? { type: "NFC" } : null };
    const given = words[name] ? encoded(file) : await bytes("/tests/fixtures/chat/sentencepiece.json");
    readers.set(name, new RowReader(given, encoded(words[name] ? {} : { bos_token: "<s>", eos_token: "</s>" })));
  }
  for (const wanted of expected.filter((wanted) => wanted.text in long)) {
    const ids = readers.get(wanted.words).encode(long[wanted.text]());
    const got = [ids.length, digest(new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength))].join(", ");
    const want = [wanted.count, wanted.digest].join(", ");
    each(`data: a megabyte of ${wanted.text}, words of ${wanted.words}`, got === want ? "" : `${got}, not ${want}`);
  }
}
